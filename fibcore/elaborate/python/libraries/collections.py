"""collections: dicts of other kinds are dicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import GENERICS, imitates
from fibcore.elaborate.python.values import Args, Kwargs
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates("collections.OrderedDict")
def _ordered_dict(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return ev.calls.call(ev.builtins["dict"], args, kwargs, place)


@imitates("collections.defaultdict")
def _default_dict(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return dict(args[1]) if len(args) > 1 and isinstance(args[1], dict) else {}


@imitates("collections.namedtuple")
def _named_tuple(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Unknown("a named tuple type", place)


GENERICS.append("collections.")
