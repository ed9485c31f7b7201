"""typing: types say nothing about values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import CONSTANTS, GENERICS, imitates
from fibcore.elaborate.python.values import Args, Ext, Kwargs

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates("typing.cast")
def _cast(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return args[1]


@imitates("typing.TypeVar")
def _type_var(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Ext("typing.TypeVar")


GENERICS.append("typing.")
CONSTANTS.update({f"{_name}.TYPE_CHECKING": False for _name in ("typing", "typing_extensions")})
