"""The options that op types declare, as options of commands.

Which ones there are only the plugins say, and loading these takes time. So a command holds a
placeholder, which becomes the options when an invocation of this command asks for its parameters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli.options import Command, PositiveInt, PositiveInts, Words, add
from fibcore.model.launch import DEFAULT_GPU, GPUS
from fibcore.model.serving import STAGES

if TYPE_CHECKING:
    from fibcore.model.options import Option
    from fibcore.ops.options import DeclaredOptions

_PARAMETERS = f"{__name__}.parameters"
_DISABLED = f"{__name__}.disabled"
_REGISTRY = f"{__name__}.registry"
_DISABLE = "--disable-plugin"


class _Placeholder(click.Option):
    """Stands where options that op types declare are to stand."""

    def __init__(self, names: Sequence[str], *, several: bool) -> None:
        super().__init__(names)
        self.several = several


# The names are never seen; they have to differ.
options_with_several_values = click.option("--options-of-several", cls=_Placeholder, several=True)
"""Adds the options of op types that make a kernel for each of their values."""

options_with_one_value = click.option("--options-of-one", cls=_Placeholder, several=False)
"""Adds the options of op types that change a model's kernels as a whole."""


def serving_sizes(command: Command) -> Command:
    """Add the options that say how a model is served and what to extract of it."""
    return add(
        command,
        click.option("--tp", type=PositiveInts(), help="Tensor-parallel sizes, such as 1,8."),
        click.option("--ep", type=PositiveInts(), help="Expert-parallel sizes."),
        options_with_several_values,
        click.option(
            "--op-type", multiple=True, metavar="T", help="This op type only (repeatable)."
        ),
        click.option(
            "--stage", type=Words(*STAGES), metavar="S[,S]", help=f"Of {', '.join(STAGES)}."
        ),
        options_with_one_value,
    )


_LAUNCH = (
    "A launch line of SGLang's server, or a YAML or JSON file of its options; 'catalogue' takes "
    "the catalogue's."
)
_GPU = f"{', '.join(GPUS)}.  [{DEFAULT_GPU}]"

launch_line = click.option("--launch", metavar="LINE|FILE", help=_LAUNCH)
"""Adds the option that says in SGLang's own words how a model is served."""


def launched(command: Command) -> Command:
    """Add the options that say in SGLang's own words how, and on what, a model is served."""
    return add(command, launch_line, click.option("--gpu", metavar="GPU", help=_GPU))


def two_launches(command: Command) -> Command:
    """Add the same options for a comparison, in which either may be given twice."""
    return add(
        command,
        click.option(
            "--launch",
            multiple=True,
            metavar="LINE|FILE",
            help=f"{_LAUNCH} Two of them are compared.",
        ),
        click.option(
            "--gpu", multiple=True, metavar="GPU", help=f"{_GPU}  Two of them are compared."
        ),
    )


class FibcoreCommand(click.Command):
    """A command whose placeholders become the options that op types declare."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse a command line; plugins that it disables declare nothing.

        An empty word names nothing, and as a path it would mean the current folder.
        """
        given = args[: args.index("--")] if "--" in args else args
        for before, word in zip(("", *given), given, strict=False):
            name, equals, value = word.partition("=")
            if not word or (equals and not value and name.startswith("--")):
                where = name or (before if before.startswith("-") else "an argument")
                ctx.fail(f"{where} is empty; a shell variable may not be set.")
        ctx.meta[_DISABLED] = tuple(_disabled(args))
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with the plugins that were loaded for its options, if any were."""
        if _REGISTRY in ctx.meta:
            ctx.params["registry"] = ctx.meta[_REGISTRY]
        return super().invoke(ctx)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The parameters; the same objects for one context, as click needs it."""
        key = f"{_PARAMETERS}.{id(ctx)}"
        if key not in ctx.meta:
            ctx.meta[key] = list(_expanded(super().get_params(ctx), ctx))
        found: list[click.Parameter] = ctx.meta[key]
        return found


def _disabled(args: Sequence[str]) -> Iterator[str]:
    """The names after `--disable-plugin`, before the command line is parsed."""
    words = iter(args)
    for word in words:
        name, equals, value = word.partition("=")
        if word == "--":
            return
        if name == _DISABLE:
            yield from (value,) if equals else itertools.islice(words, 1)


def _expanded(
    parameters: Sequence[click.Parameter], ctx: click.Context
) -> Iterator[click.Parameter]:
    declared: DeclaredOptions | None = None
    for parameter in parameters:
        if not isinstance(parameter, _Placeholder):
            yield parameter
            continue
        if declared is None:
            from fibcore.workspace import Workspace

            workspace = Workspace.of(disable_plugin=ctx.meta.get(_DISABLED, ()))
            ctx.meta[_REGISTRY] = workspace.registry
            declared = workspace.registry.options
        for option in declared.values():
            if option.several == parameter.several:
                yield _option(option)


def _option(option: Option[Any]) -> click.Option:
    kind: Any
    if option.words:
        kind = Words(*option.choices) if option.several else click.Choice(list(option.choices))
    else:
        kind = PositiveInts() if option.several else PositiveInt()
    return click.Option(
        [option.flag],
        type=kind,
        metavar=option.metavar,
        help=f"{option.help}  [default: {option.text(option.default)}]",
    )
