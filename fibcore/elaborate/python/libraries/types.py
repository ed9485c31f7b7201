"""types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import Args, Kwargs, Namespace

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates("types.MappingProxyType")
def _mapping_proxy(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return ev.calls.call(ev.builtins["dict"], args, kwargs, place)


@imitates("types.SimpleNamespace")
def _simple_namespace(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Namespace("SimpleNamespace", dict(kwargs))
