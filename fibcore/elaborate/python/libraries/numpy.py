"""numpy: the few functions of lists that constructors call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import Args, Kwargs, Namespace, Native
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates("numpy.array_split")
def _array_split(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """The first parts are longer by one where the length does not divide."""
    items, parts = ev.operators.items(args[0]), args[1] if len(args) > 1 else None
    if items is None or isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
        return Unknown("parts of something unknown", place)
    short, longer = divmod(len(items), parts)
    ends = [short * (n + 1) + min(n + 1, longer) for n in range(parts)]
    cut = [items[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return [_array(part) for part in cut]


def _array(items: list[Any]) -> Namespace:
    return Namespace("array", {"tolist": Native("tolist", lambda *_: list(items))})
