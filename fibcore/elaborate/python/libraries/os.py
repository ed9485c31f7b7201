"""os: no environment variable is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import EMPTY_TABLES, imitates
from fibcore.elaborate.python.values import Args, Kwargs

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates("os.getenv", "os.environ.get")
def _getenv(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return args[1] if len(args) > 1 else kwargs.get("default")


EMPTY_TABLES.add("os.environ")
