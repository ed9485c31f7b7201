"""The text of values: `str()`, `repr()`, f-strings, `format` and `%`.

Python's own formatting walks attributes of whatever it is given, and shows objects of fibcore as
they are inside. So formats are parsed here, and only plain data is given to Python.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from typing import Any

from fibcore.elaborate.python.limits import MAX_CONTAINER, formatted, is_wide
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.plain_types import has_order_of_hashes, is_plain
from fibcore.elaborate.python.values import (
    ABSENT,
    Args,
    Class,
    DictView,
    EnumMember,
    Ext,
    Func,
    Kwargs,
    Obj,
    Raised,
    Value,
)
from fibcore.elaborate.python.values.dicts import DefaultDict, OrderedDict
from fibcore.elaborate.python.values.exceptions import ExceptionObject
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

_CONVERSIONS: dict[str | None, Callable[[Any], str]] = {"r": repr, "s": str, "a": ascii}
_PERCENT = re.compile(r"(%%|%[-#0 +]*\d*(?:\.\d+)?[a-zA-Z])")
_METHODS = {"s": ("__str__", "__repr__"), "r": ("__repr__",)}


class _Fields:
    """The arguments of a format, and how its fields are numbered."""

    def __init__(self, args: Args, kwargs: Mapping[Any, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self.number = 0
        self.counts: bool | None = None
        """Whether its fields are counted; None as long as none was met."""

    def value(self, field: str, place: SourcePlace) -> Any:
        """The argument that a field names."""
        if field and not field.isdecimal():
            if field not in self.kwargs:
                raise Raised("KeyError", repr(field), place)
            return self.kwargs[field]
        if self.counts is (field != ""):
            raise Raised("ValueError", "numbered fields and others", place)
        self.counts = field == ""
        position = self.number if field == "" else int(field[:6])
        self.number += 1
        if position >= len(self.args):
            raise Raised("IndexError", f"no argument for field {position}", place)
        return self.args[position]


class Texts(Part):
    """Makes text of values."""

    def text(
        self, value: Any, place: SourcePlace, conversion: str | None = None, spec: str = ""
    ) -> Any:
        """The value as `format` writes it, else Unknown.

        Args:
            value: Any value.
            place: Where the text is made.
            conversion: "r", "s" or "a"; None for none.
            spec: The format specification.
        """
        if isinstance(value, (Unknown, Alternatives)):
            return Unknown("text of something unknown", place)
        if is_wide(spec):
            return Unknown("text that is too long", place)
        convert = _CONVERSIONS.get(conversion)
        if isinstance(value, (DefaultDict, OrderedDict)):
            return Unknown("text of a dict of another kind", place)
        if isinstance(value, DictView) and not spec:
            shown = self.text(value.now(), place, "r")
            return f"{value.kind_name}({shown})" if isinstance(shown, str) else shown
        if isinstance(value, (EnumMember, Ext, Obj)):
            if conversion is None and isinstance(value, (EnumMember, Obj)):
                found = self.ev.special_methods.of(value, "__format__", [spec], place)
                if found is not ABSENT:
                    return found if isinstance(found, str) else Unknown("text", place)
            number = self._number(value) if spec and conversion is None else None
            if number is not None:
                return self.text(number, place, None, spec)
            found = self._of_object(value, place, conversion, spec)
            if isinstance(found, str) and spec:
                return self.ev.operators.apply(formatted, [found, spec], place)
            return found
        if not is_plain(value) or has_order_of_hashes(value):
            self.ev.exceptions.may_raise(place, "TypeError", "ValueError")
            return Unknown("text of an object", place)
        return self.ev.operators.apply(lambda v, s: formatted(v, s, convert), [value, spec], place)

    def _of_object(self, value: Any, place: SourcePlace, conversion: str | None, spec: str) -> Any:
        """The text of an object of the source, where its class says what it is."""
        unknown = Unknown(f"text of {value.shown}", place)
        if isinstance(value, Ext):  # a dtype
            torch = value.name.startswith("torch.") and value.name.islower()
            return value.name if torch and (conversion or not spec) else unknown
        if not isinstance(value.cls, Class):
            return self._of_exception(value, place, conversion, spec)
        method = self._method(value.cls, conversion)
        if isinstance(method, Func):
            found = self.ev.calls.call(method, [value], {}, place)
            plain = isinstance(found, str) and (conversion or not spec)
            return found if plain and conversion != "a" else unknown
        if isinstance(value, ExceptionObject):
            return self._of_exception(value, place, conversion, spec)
        if isinstance(value, Obj) and not spec and conversion != "a":
            found = self.ev.records.shown(value, place)
            return unknown if found is ABSENT else found
        if isinstance(value, EnumMember) and conversion == "r":
            return self._of_member(value, place, unknown)
        if not isinstance(value, EnumMember) or conversion in ("r", "a"):
            return unknown
        if value.cls.derives("StrEnum", "IntEnum"):
            return self.text(value.value, place, conversion)
        if value.cls.derives("str", "int", "float", "IntFlag", "Flag") or spec:
            return unknown  # versions of Python differ
        if value.name is None:
            return unknown
        return f"{value.cls.name}.{value.name}"

    def _number(self, value: Any) -> Any:
        """What a member is formatted as that is a number; None for any other value."""
        is_number = isinstance(value, EnumMember) and value.cls.derives("IntEnum")
        return value.value if is_number and self._method(value.cls, "s") is None else None

    def _of_exception(
        self, value: Any, place: SourcePlace, conversion: str | None, spec: str
    ) -> Any:
        if not isinstance(value, ExceptionObject) or conversion == "a" or spec:
            return Unknown(f"text of {value.shown}", place)
        return value.text(self.ev, conversion == "r", place)

    def _of_member(self, value: EnumMember, place: SourcePlace, unknown: Unknown) -> Any:
        """`repr` of a member."""
        text = self.text(value.value, place, "r")
        if value.name is None or not isinstance(text, str) or value.cls.derives("Flag", "IntFlag"):
            return unknown
        return f"<{value.cls.name}.{value.name}: {text}>"

    def _method(self, cls: Class, conversion: str | None) -> Any:
        """The function of the source that makes the text of a class's instances, if any."""
        attr = self.ev.classes.attr
        if conversion is None and isinstance(attr(cls, "__format__"), Func):
            return None
        found = (attr(cls, name) for name in _METHODS.get(conversion or "s", ()))
        return next((f for f in found if isinstance(f, Func)), None)

    def format(
        self, template: str, args: Args, kwargs: Mapping[Any, Any], place: SourcePlace
    ) -> Any:
        """`template.format(*args, **kwargs)`; fields that read attributes or items are Unknown."""
        return self._filled(template, _Fields(args, kwargs), place)

    def _filled(self, template: str, fields: _Fields, place: SourcePlace, depth: int = 2) -> Any:
        """A template with its fields filled in; that of a format may have fields itself."""
        if not depth:
            raise Raised("ValueError", "Max string recursion exceeded", place)
        parts: list[Any] = []
        try:
            pieces = list(string.Formatter().parse(template))
        except ValueError as error:
            raise Raised("ValueError", str(error), place) from None
        for literal, field, spec, conversion in pieces:
            parts.append(literal)
            if field is None:
                continue
            named = field == "" or field.isdecimal() or field.isidentifier()
            if conversion not in (None, "r", "s", "a") or not named:
                self.ev.exceptions.may_raise(
                    place, "ValueError", "KeyError", "IndexError", "AttributeError", "TypeError"
                )
                return Unknown(f"a format with the field {field!r}", place)
            value = fields.value(field, place)
            spec = self._filled(spec, fields, place, depth - 1) if spec else ""
            if isinstance(spec, (Unknown, Alternatives)):
                self.ev.exceptions.may_raise(place, "ValueError")
                return Unknown("text in a format that is not known", place)
            part = self.text(value, place, conversion, spec or "")
            if not isinstance(part, str):
                return part if isinstance(part, Unknown) else Unknown("text", place)
            parts.append(part)
        if sum(map(len, parts)) > MAX_CONTAINER:
            return Unknown("text that is too long", place)
        return self.ev.operators.apply(lambda *p: "".join(p), parts, place)

    def format_method(
        self, template: str, name: str, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        """`template.format(...)` or `template.format_map(...)`."""
        if name == "format":
            return self.format(template, args, kwargs, place)
        if len(args) != 1 or kwargs or not isinstance(args[0], dict):
            return Unknown("a format of something unknown", place)
        return self.format(template, [], args[0], place)

    def percent_of_objects(self, template: str, value: Any, place: SourcePlace) -> tuple[str, Any]:
        """A template and what it formats, with the text of each object that it writes (`%s`)."""
        values = value if isinstance(value, tuple) else (value,)
        pieces = _PERCENT.split(template)
        ways = [way for way in pieces[1::2] if way != "%%"]
        if not any(isinstance(each, Value) for each in values) or len(ways) != len(values):
            return template, value
        texts, written = list(values), iter(range(len(values)))
        for number in range(1, len(pieces), 2):
            way = pieces[number]
            at = len(values) if way == "%%" else next(written)
            if at < len(values) and isinstance(values[at], Value) and way[-1] in "rs":
                texts[at] = self.text(values[at], place, way[-1])
                pieces[number] = f"{way[:-1]}s"
        return "".join(pieces), tuple(texts)

    def percent(self, template: str | bytes, value: Any, place: SourcePlace) -> Unknown | None:
        """Why `template % value` is Unknown; None where Python may format it."""
        star = "*" if isinstance(template, str) else b"*"
        if star in template:  # type: ignore[operator]
            return Unknown("a format whose widths are values", place)
        if not is_plain(value) or has_order_of_hashes(value):
            self.ev.exceptions.may_raise(place, "TypeError", "ValueError")
            return Unknown("text of an object", place)
        return None
