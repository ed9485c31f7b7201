"""The options that commands share, and what turns their text into values."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fibcore.cli.output import Output
from fibcore.errors import UsageError
from fibcore.processes.sizes import parse_size

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic for type checkers since click 8.2

_MAX_DIGITS = 18
DEVICES = ("auto", "cpu", "cuda")

Command = TypeVar("Command", bound=Callable[..., Any])


class PositiveInts(_ParamType):
    """Positive integers with commas between: `1,8`."""

    name = "N[,N...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The integers in `value`; a usage error that names the option where one is none."""
        if isinstance(value, tuple):
            return value
        numbers = []
        for part in str(value).split(","):
            text = part.strip()
            usable = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
            if not usable or int(text) < 1:
                self.fail(
                    f"expected positive integers with commas between, such as 1,8; found {part!r}",
                    param,
                    ctx,
                )
            numbers.append(int(text))
        return tuple(dict.fromkeys(numbers))


class PositiveInt(PositiveInts):
    """One positive integer."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The integer in `value`; a usage error that names the option where there is none."""
        if isinstance(value, int):
            return value
        numbers = super().convert(value, param, ctx)
        if len(numbers) != 1:
            self.fail(f"expected one positive integer; found {value!r}", param, ctx)
        return numbers[0]


class Words(_ParamType):
    """Words out of a fixed set, with commas between: `prefill,decode`."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.name = ",".join(words)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The words in `value`; a usage error where one is unknown."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        for part in parts:
            if part not in self.words:
                self.fail(
                    f"expected {' or '.join(self.words)} (or several with commas between); "
                    f"found {part!r}",
                    param,
                    ctx,
                )
        return tuple(dict.fromkeys(parts))


class Tolerance(_ParamType):
    """A positive number."""

    name = "X"
    example = "1e-2"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """`value` as a float; a usage error where it is no positive finite number."""
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 < number < float("inf"):
            self.fail(
                f"expected a positive number such as {self.example}; found {value!r}", param, ctx
            )
        return number


class Seconds(Tolerance):
    """A time limit."""

    name = "SECONDS"
    example = "600"


class Size(_ParamType):
    """An amount of memory in bytes: `8G`, `512M`, `1.5 GiB`; units are powers of 1024."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bytes that `value` means; a usage error where it means none."""
        try:
            return parse_size(value)
        except UsageError as error:
            self.fail(f"expected {error.expected}; found {error.found}", param, ctx)


all_definitions = click.option(
    "--all", "all_", is_flag=True, help="All definitions of the dataset."
)

device = click.option(
    "--device", type=click.Choice(DEVICES), default="auto", help="Where tests run."
)

evidence = click.option(
    "--evidence",
    "evidence_dir",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Take in evidence that another machine made.",
)


def common(command: Command) -> Command:
    """Add the options of every command; three of them reach it as an `Output`, `out`."""

    @click.option(
        "--target-dir",
        default="./repos",
        show_default=True,
        type=click.Path(file_okay=False),  # text: repos_config.json has it as it was typed
        help="Folder that holds the repositories.",
    )
    @click.option(
        "--dataset",
        type=click.Path(file_okay=False, path_type=Path),
        help="Dataset folder.  [default: the flashinfer-trace repository below the target dir]",
    )
    @click.option(
        "--disable-plugin",
        multiple=True,
        metavar="NAME",
        help="Leave a plugin out (repeatable).",
    )
    @click.option("--json", "json_mode", is_flag=True, help="Print one JSON document.")
    @click.option("-q", "--quiet", is_flag=True, help="Print results and errors only.")
    @click.option("-v", "--verbose", count=True, help="Print more; -vv shows tracebacks.")
    @functools.wraps(command)
    def wrapper(*args: Any, json_mode: bool, quiet: bool, verbose: int, **kwargs: Any) -> Any:
        out = Output(json_mode=json_mode, verbosity=-1 if quiet else verbose)
        click.get_current_context().obj = out
        try:
            with out.at_work(), out.tracebacks():
                return command(*args, out=out, **kwargs)
        except BaseException:
            out.close(broken=True)
            raise
        finally:
            out.close()

    return wrapper  # type: ignore[return-value]


def add(command: Command, *added: Callable[[Command], Command]) -> Command:
    """Add options in the order in which `--help` is to show them."""
    for option in reversed(added):
        command = option(command)
    return command


def chosen_definitions(command: Command) -> Command:
    """Add the options that choose definitions; `all_definitions` chooses every one."""
    return add(
        command,
        click.option(
            "--op-type", multiple=True, metavar="T", help="All definitions of an op type."
        ),
        click.option("--definition-name", multiple=True, metavar="N", help="One definition."),
    )


def model_constants(command: Command) -> Command:
    """Add the options that say where a model's constants come from."""
    return add(
        command,
        click.option("--hf-repo-id", metavar="ID", help="Take the config from this Hub id."),
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Take the config from this config.json.",
        ),
    )


package = click.option(
    "--package",
    multiple=True,
    metavar="NAME[=SRC]",
    help="Read the source of transformers, timm, ... for parts that models take from them "
    "(repeatable).  [SRC: the release that SGLang requires]",
)


def sglang(command: Command) -> Command:
    """Add the options that say where SGLang's source is, and that of packages it takes parts of."""
    text = "SGLang source.  [default: the repository below the target dir, else installed]"
    return add(command, click.option("--sglang", metavar="SRC", help=text), package)


def repositories(command: Command) -> Command:
    """Add the options that say where the three repositories come from."""
    return add(
        command,
        click.option("--sglang", metavar="SRC", help="SGLang source.  [default: auto]"),
        click.option("--flashinfer", metavar="SRC", help="FlashInfer source.  [default: auto]"),
        click.option("--flashinfer-trace", metavar="SRC", help="Dataset.  [default: auto]"),
    )


rerun = click.option("--force", is_flag=True, help="Run tests again of which nothing has changed.")
"""Adds the option that has unchanged tests run."""


def workers(command: Command) -> Command:
    """Add the options that say on how many processes tests run, and what each may use."""
    return add(
        command,
        click.option(
            "--jobs",
            type=PositiveInt(),
            help="Worker processes.  [one for each GPU; on the CPU what is sensible]",
        ),
        click.option(
            "--timeout",
            "timeout_s",
            type=Seconds(),
            default=1800.0,
            show_default="1800",
            help="End a definition's tests after so long.",
        ),
        click.option(
            "--memory-limit",
            "memory_bytes",
            type=Size(),
            help="Memory of a worker: its GPU's, or main memory.  [a share of what is free]",
        ),
        click.option(
            "--dask", metavar="ADDRESS", help="Run the tests on the workers of a Dask scheduler."
        ),
    )
