"""The options that a release's server takes, as its source declares them.

`ServerArgs.add_cli_args(parser)` is elaborated with a parser that writes down what it is given, so
what counts is what the source would register. Newer releases register the fields of `ServerArgs`
by their annotations, `tp_size: A[int, Arg(aliases=["--tensor-parallel-size"])]`, which
`annotations` reads.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.elaborate.python.values import ABSENT, Class, Env, Func, Namespace, Native, Raised
from fibcore.elaborate.sglang.arguments import Args, Kwargs
from fibcore.elaborate.sglang.launch.annotations import annotated_options
from fibcore.errors import SourceError
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_MODULE = "srt.server_args"
_CLASS = "ServerArgs"
_REGISTER = "add_cli_args"
_BY_ANNOTATIONS = "add_cli_args_from_dataclass"


@attrs.frozen
class Declared:
    """One registration of an option.

    Attributes:
        names: Its spellings, `--tp-size`.
        settings: The other arguments of `add_argument`, as values of the evaluator.
        place: Where it is registered.
    """

    names: tuple[str, ...]
    settings: Mapping[str, Any]
    place: SourcePlace


def declared_options(ev: Evaluator) -> list[Declared]:
    """Every option that the server of a source tree registers, in order.

    Raises:
        SourceError: the tree does not say which options its server takes.
    """
    cls = server_args_class(ev)
    register = ABSENT if cls is None else ev.classes.attr(cls, _REGISTER)
    where = f"{ev.index.package}.{_MODULE}"
    if cls is None or not isinstance(register, Func):
        raise SourceError(
            "the source does not declare the options of its server",
            where=where,
            expected=f"{_CLASS}.{_REGISTER}",
        )
    recorder = _Recorder(cls)
    stand_in = {_BY_ANNOTATIONS: Native(_BY_ANNOTATIONS, recorder.by_annotations)}
    standing_in = getattr(ev.environment, "standing_in")  # noqa: B009 - SGLang's has it
    try:
        with standing_in(stand_in):
            ev.calls.call(register, [recorder.parser], {}, cls.place)
    except Raised as error:
        raise SourceError(
            "the options of the server cannot be read",
            where=str(error.place or where),
            found=f"{error.kind}: {error.message}",
        ) from None
    return recorder.options


def server_args_class(ev: Evaluator) -> Class | None:
    """`ServerArgs` as its `class` statement has it; None where the source has none.

    Newer releases make the class anew below that statement, from what it holds.
    """
    module = f"{ev.index.package}.{_MODULE}"
    space = ev.modules.space(module)
    if space is None:
        return None
    found = ev.modules.name_in(space, _CLASS)
    if isinstance(found, Class):
        return found
    for statement in space.source.binding(_CLASS):
        for node in statement.nodes if statement.defines(_CLASS) else ():
            if isinstance(node, ast.ClassDef):
                made = ev.classes.define(node, Env(space, space.env))
                return made if isinstance(made, Class) else None
    return None


class _Recorder:
    """Stands in for the parser that options are registered with."""

    def __init__(self, cls: Class) -> None:
        self.options: list[Declared] = []
        self._cls = cls
        self.parser = Namespace("parser", {}, lambda name: Unknown(f"{name} of a parser"))
        self.parser.values["add_argument"] = Native("add_argument", self._add)
        for group in ("add_argument_group", "add_mutually_exclusive_group"):
            self.parser.values[group] = Native(group, lambda *_: self.parser)

    def _add(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        names = tuple(str(name) for name in args if isinstance(name, str))
        if len(names) != len(args) or not names:
            raise SourceError("an option of the server has no known name", where=str(place))
        self.options.append(Declared(names, dict(kwargs), place))

    def by_annotations(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`add_cli_args_from_dataclass(parser, cls)`: an option for every annotated field."""
        for option in annotated_options(ev, self._cls):
            self.options.append(Declared(option.names, option.settings, option.place))
