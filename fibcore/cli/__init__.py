"""The command line: parses, calls the API, prints."""

from __future__ import annotations

import atexit
import gc

from fibcore.cli import add_new_model as add_new_model
from fibcore.cli import add_reference_tests as add_reference_tests
from fibcore.cli import add_solutions as add_solutions
from fibcore.cli import add_workloads as add_workloads
from fibcore.cli import clone_repos as clone_repos
from fibcore.cli import coverage as coverage
from fibcore.cli import diff as diff
from fibcore.cli import explain as explain
from fibcore.cli import extract as extract
from fibcore.cli import import_trace as import_trace
from fibcore.cli import models as models
from fibcore.cli import plugins as plugins
from fibcore.cli import publish as publish
from fibcore.cli import report as report
from fibcore.cli import run as run
from fibcore.cli import survey as survey
from fibcore.cli import validate as validate
from fibcore.cli import verify as verify
from fibcore.cli.group import cli

__all__ = ["cli", "main"]


def main() -> None:
    """Run the command line of this process and exit with its status."""
    # A command makes a million objects that stay until it ends. Walking them in search of garbage
    # would be a fifth of the time of an extraction, at its end and at the process's as well.
    gc.disable()
    atexit.register(gc.freeze)
    cli()
