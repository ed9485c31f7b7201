"""contextlib: what a context manager gives is a list of one item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import Args, Kwargs

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


from fibcore.elaborate.python.libraries.functools import identity


@imitates("contextlib.nullcontext")
def _nullcontext(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return [args[0] if args else None]


# A generator gives the list of what it yields, so that its decorator has nothing to add.
imitates("contextlib.contextmanager")(identity)
