"""The command group: turns errors, interrupts and closed pipes into messages and exit statuses."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from fibcore import __version__
from fibcore.cli.declared import FibcoreCommand
from fibcore.cli.output import Output, printable
from fibcore.errors import FibcoreError, nearest

COMMANDS = {
    "add-new-model": "add_new_model",
    "add-reference-tests": "add_reference_tests",
    "add-solutions": "add_solutions",
    "add-workloads": "add_workloads",
    "certify": "certify",
    "check": "check",
    "clone-repos": "clone_repos",
    "cost": "cost",
    "coverage": "coverage",
    "diff": "diff",
    "explain": "explain",
    "export": "export",
    "extract-kernel-definitions": "extract",
    "import-trace": "import_trace",
    "import-workloads": "import_workloads",
    "list": "list",
    "models": "models",
    "new-op": "new_op",
    "onboard": "onboard",
    "plugins": "plugins",
    "publish": "publish",
    "report": "report",
    "run": "run",
    "sizes": "sizes",
    "step": "step",
    "survey": "survey",
    "track": "track",
    "validate": "validate",
    "verify": "verify",
}
"""The module of each command, which adds it when it is imported: once the command is asked for."""

SHORT = {"extract": "extract-kernel-definitions", "add-tests": "add-reference-tests"}
"""Short names of commands."""

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class FibcoreGroup(click.Group):
    """A group whose commands return their exit status (None counts as 0)."""

    command_class = FibcoreCommand

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name or short name."""
        name = SHORT.get(cmd_name, cmd_name)
        if name in COMMANDS:
            importlib.import_module(f"fibcore.cli.{COMMANDS[name]}")
        return super().get_command(ctx, name)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """The names of all commands."""
        return sorted(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` begin with; a usage error names the nearest ones."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            known = [*self.list_commands(ctx), *SHORT]
            *others, last = nearest(args[0], known)
            near = f"{', '.join(others)} or {last}" if others else last
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with the whole first sentence of its help."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            assert command is not None
            rows.append((name, command.get_short_help_str(limit=10_000)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line; exits with its status unless `standalone_mode` is off."""
        arguments = list(sys.argv[1:] if args is None else args) or ["--help"]
        status = _run(self, arguments, prog_name or "fibcore", complete_var, extra)
        if standalone_mode:
            sys.exit(status)
        return status


def _run(
    group: click.Group,
    arguments: list[str],
    prog_name: str,
    complete_var: str | None,
    extra: dict[str, Any],
) -> int:
    # Errors in the options themselves come before any option is parsed.
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    out = Output(json_mode="--json" in options)
    debug = "-vv" in options or options.count("-v") + options.count("--verbose") >= 2
    try:
        result = click.Group.main(
            group, arguments, prog_name, complete_var, standalone_mode=False, **extra
        )
        _flush()
        return int(result or 0)
    except FibcoreError as error:
        if debug and not getattr(error, "hook", None):  # that of a hook was shown as it happened
            _print_traceback()
        return _fail(out, str(error), error.to_dict(), error.exit_code)
    except click.UsageError as error:
        hint = f"See {error.ctx.command_path} --help" if error.ctx else ""
        data = {"error": "UsageError", "message": error.format_message()}
        return _fail(out, f"Error: {error.format_message()}", data, error.exit_code, hint)
    except click.ClickException as error:
        data = {"error": type(error).__name__, "message": error.format_message()}
        return _fail(out, f"Error: {error.format_message()}", data, error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        data = {"error": "Interrupted", "message": "interrupted"}
        return _fail(out, "Interrupted.", data, INTERRUPTED)
    except OSError as error:
        if error.errno == errno.EPIPE:  # nobody reads on
            _drop_output()
            return 1
        if debug:
            _print_traceback()
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
        data = {"error": type(error).__name__, "message": message}
        return _fail(out, message, data, 1)
    except Exception as error:  # noqa: BLE001 - a defect: shown whole, and as JSON where asked for
        _print_traceback()
        message = f"{type(error).__name__}: {error}"
        data = {"error": "InternalError", "message": message}
        return _fail(out, f"This is a defect of fibcore or of a plugin: {message}", data, 1)


def _print_traceback() -> None:
    import traceback  # for errors alone

    click.echo(printable(traceback.format_exc()), err=True, nl=False)


def _fail(out: Output, message: str, data: dict[str, Any], status: int, hint: str = "") -> int:
    try:
        out.warn(message)
        if hint:
            out.warn(hint)
        out.document(lambda: {"error": data, "exit_code": status})
        _flush()
    except OSError:  # nobody reads, or the disk behind standard output is full
        _drop_output()
    return status


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _drop_output() -> None:
    # Python would complain once more when it flushes at exit.
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # not a real file: nothing to redirect
            os.dup2(null, stream.fileno())


@click.group(
    cls=FibcoreGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="fibcore")
def cli() -> None:
    """GPU kernel definitions of LLMs, derived from SGLang's source text and config.json.

    Exit status: 0 done, 1 failed or partial (the message says what), 2 wrong usage.
    """
