"""os: environment variables are those that the environment says are set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import EMPTY_TABLES, imitates
from fibcore.elaborate.python.values import ABSENT, Args, Kwargs

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates("os.getenv", "os.environ.get")
def _getenv(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    known = ev.environment.process_variable(ev, args[0]) if args else ABSENT
    if known is not ABSENT:
        return known
    return args[1] if len(args) > 1 else kwargs.get("default")


EMPTY_TABLES.add("os.environ")
