"""copy: containers and instances are copied; modules and classes stay themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import Args, Kwargs, copied

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates("copy.deepcopy", "copy.copy")
def _copy(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return copied(args[0])
