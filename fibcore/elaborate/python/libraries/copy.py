"""copy: containers and instances are copied; modules and classes stay themselves."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import Args, Kwargs, Namespace, Obj, copied

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


MAX_COPIED = 1 << 18


@imitates("copy.deepcopy", "copy.copy")
def _copy(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    ev.budget.spend(_size(args[0]), "a copy")
    return copied(args[0])


def _size(value: Any) -> int:
    """The parts that a copy goes through, those that are held twice counted twice.

    Raises:
        Exhausted: there are too many.
    """
    count = 0
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            inner: Collection[Any] = part.values()
        elif isinstance(part, (list, tuple)):
            inner = part
        elif isinstance(part, Namespace):
            inner = part.values.values()
        elif type(part) is Obj:
            inner = part.attrs.values()
        else:
            continue
        count += len(inner) + 1
        if count > MAX_COPIED:
            raise Exhausted(f"a copy of more than {MAX_COPIED:,} parts")
        pending.extend(inner)
    return count
