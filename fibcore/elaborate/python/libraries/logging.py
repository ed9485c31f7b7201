"""logging, warnings and atexit: nothing that is said there changes a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates_all
from fibcore.elaborate.python.values import Args, Ext, Kwargs

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates_all("logging.", "warnings.", "atexit.")
def silent(ev: Evaluator, name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """Do nothing."""
    return Ext(name) if name.endswith("getLogger") else None
