"""re, and the package regex that stands in for it with the same functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import CALLS, pure
from fibcore.elaborate.python.patterns import FUNCTIONS
from fibcore.elaborate.python.values import Args, Kwargs
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


def _matching(run: Callable[..., Any]) -> Callable[..., Any]:
    """A function of texts, which may be handed one that makes a replacement of each match."""

    def call(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        found = run(ev, args, kwargs, place)
        if isinstance(found, Unknown):
            ev.unfollowed.handed((*args, *kwargs.values()), found)
        return found

    return call


for _library in ("re", "regex"):
    CALLS.update({f"{_library}.{name}": _matching(pure(fn)) for name, fn in FUNCTIONS.items()})
