"""enum: members are numbered where their class is evaluated (`classes.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import Args, Ext, Kwargs, Obj

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates("enum.auto")
def _auto(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Obj(Ext("enum.auto"), place)
