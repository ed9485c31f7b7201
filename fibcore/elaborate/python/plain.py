"""Plain Python data: numbers, strings and containers, which stand for themselves.

They cannot carry operations of ours, so what Python does with them is here, in one place.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.limits import TooLarge
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.plain_types import (
    BY_NAME,
    ENCODINGS,
    MUTATING,
    is_plain,
    plain_type,
)
from fibcore.elaborate.python.values import (
    ABSENT,
    OTHER_KEYS,
    Args,
    DictView,
    Kwargs,
    Namespace,
    Native,
    Obj,
    Raised,
    Value,
    bare,
    born,
    bound,
    deep_unknown,
    drained,
    hashable,
    index_fn,
    is_open,
    may_be_absent,
    merge,
    one_of,
)
from fibcore.elaborate.python.values.dicts import DefaultDict, OrderedDict
from fibcore.elaborate.python.values.iterators import Iterator
from fibcore.model.tree import Alternatives, SourcePlace, Unknown, UnknownKind

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

PLAIN = (
    int,
    float,
    complex,
    str,
    bytes,
    bool,
    type(None),
    list,
    tuple,
    dict,
    set,
    frozenset,
    range,
    slice,
)


_SETS = (set, frozenset)


def kind_name(value: Any) -> str:
    """What messages about the kind of a value call it."""
    return value.kind_name if isinstance(value, Value) else _type_name(value)


def shown(value: Any) -> str:
    """What messages call a value."""
    return value.shown if isinstance(value, Value) else _type_name(value)


def _type_name(value: Any) -> str:
    # A number with an origin is a number to whoever reads of it.
    kind = plain_type(value)
    return type(value).__name__ if kind is None else kind.name


def not_callable(value: Any, place: SourcePlace) -> Any:
    """What a call of plain data gives."""
    if callable(value) or value is None or isinstance(value, (int, str, list, dict, tuple)):
        raise Raised("TypeError", f"{_type_name(value)} is not callable", place)
    return Unknown(f"a call of {_type_name(value)}", place)


class Plain(Part):
    """Attributes and methods of plain data."""

    def attribute(self, value: Any, name: str, place: SourcePlace) -> Any:
        """`value.name`, or ABSENT; Unknown where the table of plain types does not allow it."""
        kind = plain_type(value)
        if kind is None:
            return Unknown.attribute(f"attribute {name} of {type(value).__name__}", place)
        if isinstance(value, OrderedDict) and name in ("move_to_end", "popitem"):
            return Native(
                name, lambda ev, args, kwargs, at: _reorder(ev, value, name, args, kwargs, at)
            )
        if isinstance(value, DefaultDict) and name == "default_factory":
            return value.factory
        if name in kind.data:
            if isinstance(value, slice):  # its bounds may be values of any kind
                return kind.data[name](value)
            return self.ev.operators.apply(kind.data[name], [value], place)
        if name in kind.methods:
            return Native(
                f"{kind.name}.{name}",
                lambda ev, args, kwargs, at: ev.plain.method(value, name, args, kwargs, at),
                value,
            )
        if name not in kind.has:
            return ABSENT
        if isinstance(value, (list, dict, set)) and name in SPECIAL_CHANGES:
            return Native(name, partial(_change, value, name), value)
        return Unknown.attribute(f"attribute {name} of {kind.name}", place)

    def of_type(self, kind_name: str, name: str, place: SourcePlace) -> Any:
        """`int.from_bytes`, `str.lower`: an attribute of a plain type, or ABSENT."""
        kind = BY_NAME.get(kind_name)
        if kind is None:
            return ABSENT
        if name in ("__name__", "__qualname__"):
            return kind.name
        if name in kind.makers:
            return Native(
                f"{kind.name}.{name}",
                lambda ev, args, kwargs, at: ev.plain.make(kind_name, name, args, kwargs, at),
            )
        if name in kind.methods:
            return Native(
                f"{kind.name}.{name}",
                lambda ev, args, kwargs, at: ev.plain.unbound(kind_name, name, args, kwargs, at),
            )
        if name not in kind.has:
            return ABSENT
        if name in SPECIAL_CHANGES and kind_name in ("list", "dict", "set"):
            return Native(
                name, lambda ev, args, kwargs, at: _change(args[0], name, ev, args[1:], kwargs, at)
            )
        return Unknown.attribute(f"attribute {name} of {kind.name}", place)

    def make(
        self, kind_name: str, name: str, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        """Call a class method of a plain type, `dict.fromkeys`."""
        inner = deep_unknown(args) or deep_unknown(kwargs)
        if inner is not None:
            return inner
        made = BY_NAME[kind_name].makers[name]
        if name == "fromkeys" and args and not kwargs:
            keys = self.ev.operators.items(args[0])
            if keys is None:
                return Unknown("a dict of something unknown", place)
            return self.ev.operators.apply(made, [keys, *args[1:]], place)
        if kwargs or not is_plain(args):
            return Unknown(f"{kind_name}.{name} of an object", place)
        return self.ev.operators.apply(made, args, place)

    def unbound(
        self, kind_name: str, name: str, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        """`str.lower(value)`."""
        value = args[0] if args else None
        if isinstance(value, Unknown):
            return value
        kind = plain_type(value)
        if kind is None or kind.name not in (kind_name, "bool" if kind_name == "int" else ""):
            return Unknown(f"{kind_name}.{name} of something else", place)
        return self.method(value, name, args[1:], kwargs, place)

    def method(self, value: Any, name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """Call a method of a string, number or container that the table of plain types names."""
        args = self._drained(name, [drained(arg) for arg in args])
        if isinstance(value, (list, dict, set)) and not _takes(value, name, args, kwargs):
            message = f"{kind_name(value)}.{name}() takes other arguments"
            raise Raised("TypeError", message, place)
        if name in MUTATING and isinstance(value, (list, dict, set)):
            return self._mutate(value, name, args, kwargs, place)
        if isinstance(value, dict) and name in ("get", "items", "keys", "values", "copy"):
            return self._dict_method(value, name, args, kwargs, place)
        if isinstance(value, list) and name == "copy":
            self.ev.budget.spend(len(value), "list.copy")
            return born(list(value))
        inner = deep_unknown(args) or deep_unknown(kwargs)
        if inner is not None:
            self.ev.exceptions.may_raise(place, "TypeError", "ValueError")
            return inner
        if name != "copy" and any(is_open(a) for a in (value, *args) if isinstance(a, _SETS)):
            return Unknown(f"{name} of a set that may hold more", place)
        if name == "join" and any(isinstance(a, (set, frozenset)) and len(a) > 1 for a in args):
            return Unknown("text in the order of a set, another in each process", place)
        if name in ("format", "format_map") and isinstance(value, str):
            return self.ev.texts.format_method(value, name, args, kwargs, place)
        if name in ("index", "count") and isinstance(value, (list, tuple)) and not is_plain(value):
            return self._position(value, name, args, place)
        kind = plain_type(value)
        method = None if kind is None else kind.methods.get(name)
        given = [*args, *kwargs.values()]
        if kind is None or method is None:
            return Unknown(f"the method {name} of {type(value).__name__}", place)
        if not is_plain(given) or (isinstance(value, (list, tuple)) and not is_plain(value)):
            return Unknown(f"{kind.name}.{name} of an object", place)
        if name in ("encode", "decode") and not _known_encoding(args, kwargs):
            return Unknown("text in an encoding that is not evaluated", place)
        apply = self.ev.operators.apply
        if not kwargs:
            return apply(method, [value, *args], place)
        names = list(kwargs)

        # Keyword arguments as positional ones, so that what they depend on is followed too.
        def with_names(this: Any, *rest: Any) -> Any:
            positional = rest[: len(rest) - len(names)]
            named = dict(zip(names, rest[len(positional) :], strict=False))
            return method(this, *positional, **named)

        return apply(with_names, [value, *given], place)

    def _position(self, value: Any, name: str, args: Args, place: SourcePlace) -> Any:
        """`value.index(item)` or `value.count(item)`, by the equality of objects."""
        if len(args) != 1:
            return Unknown(f"{name} of an object between positions", place)
        found = []
        for position, item in enumerate(value):
            same = self.ev.comparisons.same(item, args[0], place)
            if same is None:
                return Unknown(f"{name} of something unknown", place)
            if same and name == "index":
                return position
            found += [position] if same else []
        if name == "count":
            return len(found)
        raise Raised("ValueError", "the item is not in the list", place)

    def _drained(self, name: str, args: Args) -> Args:
        """The arguments, with what iterators have left in place of those that are gone through."""
        if name not in _ITERATES or not any(isinstance(a, Value) for a in args):
            return args
        drained: Args = []
        for arg in args:
            items = self.ev.iteration.items(arg) if isinstance(arg, (Iterator, Obj)) else arg
            drained.append(Unknown("unknown items") if items is None else items)
        return drained

    def _dict_method(
        self, value: dict[Any, Any], name: str, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        if name != "get":
            self.ev.budget.spend(len(value), f"dict.{name}")
        if name == "copy":
            if isinstance(value, DefaultDict):
                return born(value.like(value))
            return born(type(value)(value))
        if name != "get" and is_open(value):
            return Unknown(f"the {name} of a dict that may have others", place)
        if name != "get":
            return DictView(value, name)
        key = args[0]
        if deep_unknown(key) is not None:
            return self.ev.doubts.get(value, args[1] if len(args) > 1 else None, place)
        key = self.ev.special_methods.key(value, key, place)
        if isinstance(key, Unknown):
            return key
        if OTHER_KEYS in value and key not in value:
            why = Unknown("an entry that may be in a dict", place)
            return one_of([*value.values(), *args[1:]], why)
        if not hashable(bare(key)):
            if isinstance(key, tuple):
                text = "a look-up of a tuple that holds a list, set or dict: a TypeError in Python"
                return Unknown(text, place)
            raise Raised("TypeError", f"unhashable type: {kind_name(key)!r}", place)
        return self._get(value, key, args[1] if len(args) > 1 else None)

    def _get(self, value: dict[Any, Any], key: Any, default: Any) -> Any:
        """`value.get(key, default)`."""
        found = value.get(bare(key), default)
        fn = index_fn(key)
        if fn is None:
            self.ev.layers.pin(key)
            return bound(found, default)
        held = dict(value)
        return bound(
            self.ev.operators.looked_up(found, lambda i: held.get(fn(i), default)), default
        )

    def _mutate(self, value: Any, name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """A method that changes a container; branches have to be able to take it back."""
        if isinstance(value, dict):
            if name == "update":
                return self._update(value, args, kwargs, place)
            key = args[0] if args else None
            if isinstance(key, Alternatives):
                return self.ev.writes.mapped(
                    key, lambda k: self._mutate(value, name, [k, *args[1:]], kwargs, place)
                )
            if deep_unknown(key) is not None or (is_open(value) and name != "clear"):
                known = bool(args) and key in value and not may_be_absent(value[key])
                if deep_unknown(key) is not None or not known:
                    return self._doubtful_key(value, name, args, place)
            if args and not hashable(args[0]):
                raise Raised("TypeError", f"unhashable type: {kind_name(args[0])!r}", place)
            if args and name in ("setdefault", "pop"):
                args = [self.ev.special_methods.key(value, args[0], place), *args[1:]]
                if isinstance(args[0], Unknown):
                    return args[0]
            if name == "setdefault":
                self.ev.layers.pin(args[0])
                if args[0] not in value:
                    self.ev.writes.put(value, args[0], args[1] if len(args) > 1 else None)
                return value[args[0]]
        if name in ("extend", "update") or name.endswith("_update"):
            ordered = not isinstance(value, set)
            found = [self._given(value, name, arg, ordered, place) for arg in args]
            unknown = [Unknown("unknown items", place, UnknownKind.ENTRY)]
            args = [items if items is not None else unknown for items in found]
        doubtful = self._doubtful(value, name, args, place)
        if doubtful is not ABSENT:
            return doubtful
        if name not in ("append", "extend"):
            for arg in args:  # keys and positions
                self.ev.layers.pin(arg)
        self.ev.writes.changing(value)
        if name == "sort":
            return self._sort(value, kwargs, place)
        if name == "remove" and isinstance(value, list) and not is_plain([value, args]):
            at = self._position(value, "index", args, place)
            if isinstance(at, Unknown):
                self.ev.writes.refill(value, [Unknown(at.reason, place, UnknownKind.ENTRY)])
                return at
            del value[at]
            return None
        kind = plain_type(value)
        if kind is None or name not in kind.methods:
            return Unknown(f"the method {name} of {type(value).__name__}", place)
        if len(value) > 1024 and name != "append":  # others move or compare what is in it
            self.ev.budget.spend(len(value) >> 6, f"{kind.name}.{name}")
        try:
            return kind.methods[name](value, *args, **kwargs)
        except TooLarge as error:
            return self.ev.operators.too_large(error, place)
        except (LookupError, TypeError, ValueError) as error:
            if isinstance(error, TypeError) and not is_plain(list(args)):
                why = Unknown(f"an object in the place of plain data: {error}", place)
                self.ev.doubts.lose(value, why)
                return why
            given = (args[0],) if isinstance(error, KeyError) and args else None
            raise Raised(type(error).__name__, str(error), place, given=given) from None

    def _sort(self, value: list[Any], kwargs: Kwargs, place: SourcePlace) -> None:
        """`value.sort(...)`; where the order is not known, neither is any of the entries."""
        key, reverse = kwargs.get("key"), kwargs.get("reverse", False)
        try:
            found = self.ev.ordering.sorted(list(value), key, reverse, place)
        except Raised:
            # Python leaves the list as far as it came.
            partly = [Unknown("an entry of a list that was sorted in part", place)] * len(value)
            if key is None and is_plain(value):
                partly = list(value)
                with contextlib.suppress(TypeError):
                    partly.sort(reverse=bool(self.ev.operators.truth(reverse)))
            self.ev.writes.refill(value, partly)
            raise
        if isinstance(found, Unknown):
            self.ev.exceptions.may_raise(place, "TypeError")
        if not isinstance(found, Unknown):
            self.ev.writes.refill(value, found)
        elif is_open(value):
            self.ev.doubts.lose(value, found)
        else:  # whatever the order is, there are as many
            self.ev.writes.refill(value, [one_of(value, found)] * len(value))

    def _given(
        self, value: Any, name: str, arg: Any, ordered: bool, place: SourcePlace
    ) -> list[Any] | None:
        """The items that a container is extended by; those before an exception are in it then."""
        if not isinstance(arg, (Iterator, Obj)):
            return self.ev.iteration.items(arg, ordered=ordered)
        taken: list[Any] = []
        try:
            return self.ev.iteration.each(arg, taken.append)
        except Raised:
            if name in ("extend", "update") and taken:
                self._mutate(value, name, [taken], {}, place)
            raise

    def _doubtful_key(
        self, value: dict[Any, Any], name: str, args: Args, place: SourcePlace
    ) -> Any:
        """A method of a dict under a key that may be there or not, or that is not known."""
        if name not in ("pop", "setdefault") or deep_unknown(args[0]) is not None:
            return self.ev.doubts.dict_method(value, name, args, place)
        key, default = args[0], args[1] if len(args) > 1 else None
        why = Unknown("an entry that may be in a dict", place)
        held = value.get(key, merge([why, ABSENT]) if OTHER_KEYS in value else ABSENT)
        self.ev.doubts.order(value, key, place)
        if name == "pop" and held is ABSENT:  # others may have gone; it was never there
            if len(args) < 2:
                raise Raised("KeyError", repr(key), place)
            return default
        if name == "pop":
            self.ev.writes.put(value, key, ABSENT)
            return bound(held, default) if len(args) > 1 else bound(held)
        self.ev.writes.put(value, key, default if held is ABSENT else bound(held, default))
        return value[key]

    def _doubtful(self, value: Any, name: str, args: Args, place: SourcePlace) -> Any:
        """A method of a list or set at a place that is not known, else ABSENT."""
        if isinstance(value, list) and name in ("insert", "pop", "remove", "reverse"):
            places = args if name == "remove" else args[:1]
            inner = name == "remove" and deep_unknown(value) is not None
            if is_open(value) or inner or deep_unknown(places) is not None:
                return self.ev.doubts.list_method(value, name, args, place)
        if isinstance(value, set):
            takes = name in ("pop", "remove", "intersection_update", "symmetric_difference_update")
            any_of_several = name == "pop" and len(value) > 1  # which, the hashes decide
            if deep_unknown(args) is not None or any_of_several or (is_open(value) and takes):
                return self.ev.doubts.set_method(value, name, args, place)
        return ABSENT

    def _update(
        self, value: dict[Any, Any], args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Unknown | None:
        unknown = None
        for other in (*args, kwargs):
            given = other.values if isinstance(other, Namespace) else other
            if isinstance(given, Alternatives):
                self.ev.writes.mapped(given, partial(self._update_one, value, place))
                continue
            taken: list[tuple[Any, Any]] = []
            pairs: Any = given.items() if isinstance(given, dict) else None
            try:
                pairs = self.pairs(given, place, taken) if pairs is None else pairs
            except Raised:  # those before it are in the dict
                for key, item in taken:
                    self._update_key(value, key, item, place)
                raise
            if pairs is None:
                unknown = Unknown("a dict updated with something unknown", place)
                self.ev.doubts.lose(value, unknown)
            for key, item in pairs or ():
                self._update_key(value, key, item, place)
        return unknown

    def _update_one(self, value: dict[Any, Any], place: SourcePlace, given: Any) -> None:
        self._update(value, [given], {}, place)

    def _update_key(self, value: dict[Any, Any], key: Any, item: Any, place: SourcePlace) -> None:
        if key is OTHER_KEYS:
            known = Unknown("a dict updated with others under unknown keys", place)
            self.ev.doubts.lose(value, item if isinstance(item, Unknown) else known)
        elif may_be_absent(item):
            there = [part for part in item.values if part is not ABSENT]
            self.ev.writes.put(value, key, merge([*there, value.get(key, ABSENT)]))
        else:
            self.ev.assignments.set_item(value, key, item, place)

    def pairs(
        self, given: Any, place: SourcePlace, pairs: list[tuple[Any, Any]]
    ) -> list[tuple[Any, Any]] | None:
        """Put the pairs that a dict is updated with into a list; None where they are not known."""
        known = True

        def add(item: Any) -> None:
            nonlocal known
            pair = self._pair(item, place)
            if pair is None:
                known = False
            else:
                pairs.append(pair)

        items = self.ev.iteration.each(given, add)
        if items is None and isinstance(given, PLAIN):
            raise Raised("TypeError", f"{kind_name(given)} is not iterable", place)
        return pairs if items is not None and known else None

    def _pair(self, item: Any, place: SourcePlace) -> tuple[Any, Any] | None:
        if isinstance(item, (Unknown, Alternatives, Value)):
            return None
        parts = self.ev.operators.items(item)
        if parts is None:
            raise Raised("TypeError", f"{kind_name(item)} is no pair", place)
        if len(parts) != 2:
            raise Raised("ValueError", f"{len(parts)} items where a pair has 2", place)
        if not hashable(parts[0]):
            raise Raised("TypeError", f"unhashable type: {kind_name(parts[0])!r}", place)
        return parts[0], parts[1]


def _change(
    value: Any, name: str, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace
) -> Any:
    """A special method of a container that changes it, called by its name."""
    if name == "__setitem__" and len(args) == 2:
        ev.assignments.set_item(value, args[0], args[1], place)
        return None
    if name == "__delitem__" and len(args) == 1:
        ev.assignments.delete_item(value, args[0], place)
        return None
    why = Unknown(f"a call of {name}", place)
    ev.doubts.lose(value, why)
    return why


SPECIAL_CHANGES = frozenset((
    "__delitem__", "__iadd__", "__iand__", "__imul__", "__init__", "__ior__", "__isub__",
    "__ixor__", "__setitem__", "__setstate__",
))  # fmt: skip
"""Special methods that change a container."""


def _reorder(
    ev: Any, value: OrderedDict, name: str, args: Args, kwargs: Kwargs, place: SourcePlace
) -> Any:
    """`popitem` and `move_to_end` of an OrderedDict."""
    given = [*args, *kwargs.values()]
    if deep_unknown(given) is not None or not is_plain(given) or is_open(value):
        why = Unknown(f"{name} with something unknown", place)
        ev.doubts.lose(value, why)
        return why
    last = kwargs.get("last", args[-1] if len(args) > (name == "move_to_end") else True)
    if not value:
        raise Raised("KeyError", "dictionary is empty", place)
    keys = list(value)
    key = args[0] if name == "move_to_end" and args else keys[-1 if last else 0]
    if key not in value:
        raise Raised("KeyError", repr(key), place)
    held = value[key]
    if name == "popitem":
        ev.writes.put(value, key, ABSENT)
        return (key, held)
    others = {k: v for k, v in value.items() if k != key}
    order = {**others, key: held} if last else {key: held, **others}
    for each in keys:
        ev.writes.put(value, each, ABSENT)
    for each, item in order.items():
        ev.writes.put(value, each, item)
    return None


_ARITY = {
    **dict.fromkeys(("copy", "items", "keys", "values", "clear", "popitem", "reverse"), (0, 0)),
    **dict.fromkeys(("append", "extend", "add", "remove", "discard"), (1, 1)),
    **dict.fromkeys(("get", "setdefault"), (1, 2)),
    "insert": (2, 2),
    "sort": (0, 0),
}
_ITERATES = frozenset((
    "difference", "difference_update", "intersection", "intersection_update",
    "isdisjoint", "issubset", "issuperset", "join", "symmetric_difference",
    "symmetric_difference_update", "union",
))  # fmt: skip
"""Methods that go through their arguments."""
_KEYWORDS = {"update": None, "sort": ("key", "reverse")}


def _takes(value: Any, name: str, args: Args, kwargs: Kwargs) -> bool:
    """Whether a method of a container takes so many arguments, and these keywords."""
    least, most = _ARITY.get(name, (0, len(args)))
    if name == "pop":
        least, most = (0, 0) if isinstance(value, set) else (0, 1)
        if isinstance(value, dict):
            least, most = 1, 2
    if name == "update" and isinstance(value, dict):
        most = 1
    named = _KEYWORDS.get(name, ()) if not isinstance(value, set) else ()
    return least <= len(args) <= most and (named is None or all(k in named for k in kwargs))


def _known_encoding(args: Args, kwargs: Kwargs) -> bool:
    """Whether Python encodes without a look for a module of the encoding's name."""
    named = args[0] if args else kwargs.get("encoding", "utf-8")
    return isinstance(named, str) and named.lower().replace("_", "-") in ENCODINGS
