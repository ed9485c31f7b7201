"""contextlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import Args, Func, Kwargs, Native
from fibcore.elaborate.python.values.contexts import Closing, ExitStack, NullContext, Suppress
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates("contextlib.nullcontext")
def _nullcontext(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return NullContext(args[0] if args else kwargs.get("enter_result"))


@imitates("contextlib.closing")
def _closing(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Closing(args[0])


@imitates("contextlib.suppress")
def _suppress(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Suppress(tuple(args))


@imitates("contextlib.ExitStack")
def _exit_stack(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return ExitStack()


@imitates("contextlib.contextmanager")
def _contextmanager(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """A function whose calls give contexts, of one that gives generators."""
    func = args[0] if args else None
    if not isinstance(func, Func) or not func.is_generator:
        return Native(
            "contextmanager", lambda ev, args, kwargs, at: Unknown("a context manager", at)
        )
    if func.managed:
        return func
    made = Func(func.node, func.env, func.qualname, func.cls, func.kind)
    made.defaults = func.defaults
    made.managed = True
    return made
