"""New plugins: `fibcore new-op` writes a distribution that works, for its author to change.

`files/` holds what is written, with `$name` and the like where the op's name stands.
"""

from fibcore.scaffolding.report import NewOpReport
from fibcore.scaffolding.run import new_op

__all__ = ["NewOpReport", "new_op"]
