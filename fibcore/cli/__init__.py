"""The command line: parses, calls the API, prints."""

from __future__ import annotations

from fibcore.cli.commands import cli

__all__ = ["cli", "main"]


def main() -> None:
    """Run the command line of this process and exit with its status."""
    cli()
