"""enum: members are numbered where their class is evaluated (`classes.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import Args, Class, Ext, Kwargs, Obj, Raised

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates("enum.unique")
def _unique(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    cls = args[0]
    if isinstance(cls, Class):
        for name, member in ev.enums.by_name(cls).items():
            if member.name != name:
                raise Raised("ValueError", f"duplicate values in {cls.name}: {name}", place)
    return cls


@imitates("enum.auto")
def _auto(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Obj(Ext("enum.auto"), place)
