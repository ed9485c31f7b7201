"""importlib: modules by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import Args, Kwargs
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates("importlib.import_module")
def _import_module(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    name = args[0] if args else kwargs.get("name")
    relative = len(args) > 1 or "package" in kwargs
    if not isinstance(name, str) or name.startswith(".") or relative:
        return Unknown("a module by its name", place)
    return ev.modules.by_name(str(name), place)
