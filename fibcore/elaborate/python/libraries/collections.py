"""collections: dicts of other kinds are dicts, and named tuples are records."""

from __future__ import annotations

import keyword
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import GENERICS, imitates
from fibcore.elaborate.python.values import Args, Kwargs, born
from fibcore.elaborate.python.values.dicts import DefaultDict, OrderedDict
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates("collections.OrderedDict")
def _ordered_dict(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    made = ev.calls.call(ev.builtins["dict"], args, kwargs, place)
    return born(OrderedDict(made)) if isinstance(made, dict) else made


@imitates("collections.defaultdict")
def _default_dict(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    made = ev.calls.call(ev.builtins["dict"], args[1:], kwargs, place)
    if not isinstance(made, dict):
        return made
    result = DefaultDict(made)
    result.factory = args[0] if args else None
    return born(result)


@imitates("collections.namedtuple")
def _named_tuple(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """A class as `typing.NamedTuple` makes it of annotations."""
    given = dict(zip(("typename", "field_names"), args, strict=False))
    given.update(kwargs)
    name, fields = given.get("typename"), given.get("field_names")
    if isinstance(fields, str):
        fields = fields.replace(",", " ").split()
    defaults = ev.operators.items(given.get("defaults") or ())
    known = isinstance(name, str) and isinstance(fields, (list, tuple)) and defaults is not None
    names = [name, *fields] if known and fields is not None else []
    if not names or given.get("rename") or not all(_is_name(n) for n in names):
        return Unknown("a named tuple type", place)
    assert defaults is not None
    lines = ["from typing import NamedTuple", f"class {name}(NamedTuple):"]
    for position, field in enumerate(names[1:]):
        number = position - (len(names) - 1 - len(defaults))
        lines.append(f"    {field}: object" + (f" = _default{number}" if number >= 0 else ""))
    bound = {f"_default{n}": value for n, value in enumerate(defaults)}
    return ev.modules.generated("collections", "\n".join(lines) + "\n    pass\n", bound, str(name))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isidentifier() and not keyword.iskeyword(value)


for _name in ("ChainMap", "Counter", "UserDict", "UserList", "deque"):

    @imitates(f"collections.{_name}")
    def _unknown(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        unknown = Unknown("a container of collections", place)
        ev.unfollowed.handed(args, unknown)
        return unknown


GENERICS.append("collections.")
