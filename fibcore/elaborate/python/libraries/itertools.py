"""itertools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import Args, Kwargs
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


import itertools


@imitates("itertools.chain")
def _chain(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    parts = [ev.operators.items(a) for a in args]
    if any(p is None for p in parts):
        return Unknown("a chain of something unknown", place)
    return list(itertools.chain(*(p for p in parts if p is not None)))
