"""The command line: parses, calls the API, prints."""

from __future__ import annotations

import atexit
import gc

from fibcore.cli.group import cli

__all__ = ["cli", "main"]


def main() -> None:
    """Run the command line of this process and exit with its status."""
    # A command makes a million objects that stay until it ends. Walking them in search of garbage
    # would be a fifth of the time of an extraction, at its end and at the process's as well.
    gc.disable()
    atexit.register(gc.freeze)
    cli()
