"""What names mean while source is evaluated.

Plain Python data stands for itself. Everything else that the source can hold is a `Value`, and
each kind of them says in its own class what Python's operations do with it. `Unknown` and
`Alternatives` of `fibcore.model.tree` are values too: every operation accepts them and passes them
on.
"""

from fibcore.elaborate.python.values.base import (
    ABSENT,
    Absent,
    Args,
    Kwargs,
    Raised,
    Unforeseen,
    Value,
)
from fibcore.elaborate.python.values.classes import (
    Class,
    Super,
    contradicts,
    has_foreign_attributes,
)
from fibcore.elaborate.python.values.dependence import (
    bare,
    depending,
    depends,
    index_fn,
    is_scalar,
    kind_of,
    snapshot,
)
from fibcore.elaborate.python.values.enums import EnumMember, plain_of
from fibcore.elaborate.python.values.external import Ext
from fibcore.elaborate.python.values.functions import (
    PROPERTIES,
    Bound,
    Func,
    Method,
    Native,
    OnGrid,
    Partial,
)
from fibcore.elaborate.python.values.merging import (
    alike,
    applied,
    at_index,
    bound,
    copied,
    deep_unknown,
    hashable,
    is_unknown,
    made_of,
    mapped,
    merge,
    same,
)
from fibcore.elaborate.python.values.modules import Mod, Repeat
from fibcore.elaborate.python.values.namespaces import Namespace
from fibcore.elaborate.python.values.objects import Obj, is_not_implemented
from fibcore.elaborate.python.values.open_ended import (
    OTHER_KEYS,
    certain_length,
    is_doubtful,
    is_filled,
    is_open,
    may_be_absent,
    one_of,
)
from fibcore.elaborate.python.values.scopes import Env, LazyImport, ModuleSpace
from fibcore.elaborate.python.values.tensors import Param, Tensor
from fibcore.elaborate.python.values.tracking import ACTIVE, IndexFn, Tracker, born, hold
from fibcore.elaborate.python.values.views import DictView, drained

__all__ = [
    "ABSENT", "ACTIVE", "OTHER_KEYS", "PROPERTIES", "Absent", "Args", "Bound", "Class",
    "DictView", "EnumMember", "Env", "Ext", "Func", "IndexFn", "Kwargs", "LazyImport", "Method",
    "Mod", "ModuleSpace", "Namespace", "Native", "Obj", "OnGrid", "Param", "Partial", "Raised",
    "Repeat", "Super", "Tensor", "Tracker", "Unforeseen", "Value", "alike", "applied", "at_index",
    "bare", "born", "bound", "certain_length", "contradicts", "copied", "deep_unknown",
    "depending", "depends", "drained", "has_foreign_attributes", "hashable", "hold", "index_fn",
    "is_doubtful", "is_filled", "is_not_implemented", "is_open", "is_scalar", "is_unknown",
    "kind_of", "made_of", "mapped", "may_be_absent", "merge", "one_of", "plain_of", "same",
    "snapshot",
]  # fmt: skip
