"""Python's own exceptions, and `object`: what a call of one of these classes makes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import CALLS, imitates
from fibcore.elaborate.python.values import Args, Ext, Kwargs, Obj
from fibcore.elaborate.python.values.exceptions import EXCEPTIONS, ExceptionObject
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


def _make(name: str, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    given: Any = tuple(args)
    if kwargs:  # of an AttributeError or ImportError, say
        given = Unknown(f"the arguments of {name}", place)
    return ExceptionObject(Ext(name), given, place)


@imitates("object")
def _object(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Obj(Ext("object"), place)


CALLS.update({name: partial(_make, name) for name in EXCEPTIONS})
