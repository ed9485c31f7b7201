"""Exception objects, and which exceptions Python has."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values.base import ABSENT, Args, Kwargs, Raised, Value
from fibcore.elaborate.python.values.classes import Class
from fibcore.elaborate.python.values.external import Ext
from fibcore.elaborate.python.values.functions import Native
from fibcore.elaborate.python.values.objects import Obj
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_GROUPS = {  # Python 3.10 lacks them
    "BaseExceptionGroup": ("BaseExceptionGroup", "BaseException", "object"),
    "ExceptionGroup": (
        "ExceptionGroup", "BaseExceptionGroup", "Exception", "BaseException", "object",
    ),
}  # fmt: skip
EXCEPTIONS: dict[str, tuple[str, ...]] = {
    **_GROUPS,
    **{
        name: tuple(base.__name__ for base in kind.__mro__)
        for name, kind in vars(builtins).items()
        if isinstance(kind, type) and issubclass(kind, BaseException)
    },
}
"""The method resolution order of each of Python's exceptions, by its name."""
_OWN_TEXT = frozenset((
    "OSError", "UnicodeError", "SyntaxError", "ImportError", "BaseExceptionGroup",
))  # fmt: skip
_HAVE = frozenset(dir(BaseException)) | {"name", "obj", "path", "errno", "filename", "strerror"}
"""Exceptions that make their text, or their arguments, in a way of their own."""


def exception_bases(cls: Any) -> tuple[str, ...]:
    """The names of Python's exceptions that a class is or derives from; none for another class."""
    if isinstance(cls, Ext):
        return EXCEPTIONS.get(cls.name, ())
    bases: tuple[str, ...] = ()
    for base in cls.mro if isinstance(cls, Class) else ():
        if isinstance(base, Ext):
            bases += EXCEPTIONS.get(base.name, ())
    return bases


def is_subclass(cls: Any, of: Any) -> bool | None:
    """Whether an exception class is another one or derives from it; None where not known."""
    if isinstance(of, Class):
        return of in cls.mro if isinstance(cls, Class) else False
    if isinstance(of, Ext):
        if of.name in EXCEPTIONS:
            if of.name in exception_bases(cls):
                return True
        elif cls == of or (isinstance(cls, Class) and of in cls.mro):
            return True
        mro = cls.mro if isinstance(cls, Class) else [cls]
        # What exceptions of other packages derive from is not known.
        foreign = any(isinstance(c, Ext) and c.name not in (*EXCEPTIONS, "object") for c in mro)
        return None if foreign else False
    return None


class Traceback(Value):
    """A traceback, of which no more is known than that it is there."""

    __slots__ = ()

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        return Unknown.attribute(f"attribute {name} of a traceback", place)


class ExceptionObject(Obj):
    """An exception: an instance of one of Python's classes, or of a class of the source.

    Attributes:
        state: What every exception has: its arguments, cause, context.
        raised: As what it was raised.
    """

    __slots__ = ("raised", "state")
    exact = True
    """Whether it is of its class, and not perhaps of one that derives from it."""

    def __init__(self, cls: Any, given: Any, place: SourcePlace | None = None) -> None:
        super().__init__(cls, place)
        self.raised: Raised | None = None
        self.state: dict[str, Any] = {
            "args": given,
            "__cause__": None,
            "__context__": None,
            "__suppress_context__": False,
        }
        if isinstance(cls, Ext) and isinstance(given, tuple):
            self._fill(given)

    def _fill(self, given: tuple[Any, ...]) -> None:
        names = exception_bases(self.cls)
        if "SystemExit" in names:
            self.state["code"] = given[0] if len(given) == 1 else given or None
        if "StopIteration" in names:
            self.state["value"] = given[0] if given else None
        if "BaseExceptionGroup" in names and len(given) == 2:
            self.state["message"] = given[0]
            parts = given[1]
            self.state["exceptions"] = tuple(parts) if isinstance(parts, (list, tuple)) else parts

    def is_of_external(self, name: str) -> bool | None:
        if name == "object":
            return True
        return is_subclass(self.cls, Ext(name))

    def lacks(self, ev: Evaluator, name: str) -> bool:
        # What Python's own exceptions have is known, unlike what other packages' classes have.
        if not _is_simple(self.cls) or name in _HAVE:
            return False
        return not isinstance(self.cls, Class) or ev.classes.attr(self.cls, name) is ABSENT

    def copied(self) -> Any:
        return Unknown("a copy of an exception", self.place)

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name in self.state:
            return self.state[name]
        found = super().find_attr(ev, name, place)
        if found is not ABSENT and not isinstance(found, Unknown):
            return found
        own = self.of_builtin_base(ev, name)
        if own is not ABSENT:
            return own
        if name not in _HAVE and _is_simple(self.cls):
            return ABSENT
        return Unknown.attribute(f"attribute {name} of an exception", place)

    def set_attr(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> None:
        if name in self.state:
            ev.writes.put(self.state, name, value)
        else:
            super().set_attr(ev, name, value, place)

    def del_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> None:
        if name not in self.state:
            super().del_attr(ev, name, place)
        elif name == "args" or name.startswith("__"):
            raise Raised("TypeError", f"{name} may not be deleted", place)
        else:
            ev.writes.put(self.state, name, Unknown(f"{name}, which was deleted", place))

    def of_builtin_base(self, ev: Evaluator, name: str) -> Any:
        """A method that the class of Python gives, or ABSENT."""

        def init(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
            ev.writes.put(self.state, "args", tuple(args))

        def text(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
            return self.text(ev, name == "__repr__", place)

        def add_note(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
            notes = self.attrs.get("__notes__")
            notes = notes if isinstance(notes, list) else []
            ev.writes.put(self.attrs, "__notes__", [*notes, *args])

        known = {
            "__init__": init,
            "__str__": text,
            "__repr__": text,
            "add_note": add_note,
            "with_traceback": lambda *_: self,
        }
        return Native(name, known[name]) if name in known else ABSENT

    def text(self, ev: Evaluator, representation: bool, place: SourcePlace) -> Any:
        """`str()` or `repr()` by the class of Python."""
        given = self.state["args"]
        names = exception_bases(self.cls)
        if not isinstance(given, tuple) or _OWN_TEXT.intersection(names):
            return Unknown("the text of an exception", place)
        if representation or len(given) > 1:
            parts = [ev.texts.text(value, place, "r") for value in given]
            if any(isinstance(part, Unknown) for part in parts):
                return Unknown("the text of an exception", place)
            inner = ", ".join(parts)
            return f"{self.class_name}({inner})" if representation else f"({inner})"
        if not given:
            return ""
        return ev.texts.text(given[0], place, "r" if "KeyError" in names else "s")


class SomeException(ExceptionObject):
    """What an operation that is not followed may raise: of a class, or of one derived from it."""

    __slots__ = ()
    exact = False

    def __init__(self, cls: Any, place: SourcePlace) -> None:
        super().__init__(
            cls, Unknown("what an operation that is not followed raises", place), place
        )

    def type_of(self, place: SourcePlace) -> Any:
        return Unknown("the class of an exception that is not known", place)

    def lacks(self, ev: Evaluator, name: str) -> bool:
        return False

    def is_of(self, cls: Any) -> bool | None:
        return None

    def is_of_external(self, name: str) -> bool | None:
        return super().is_of_external(name) or None

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name in self.state or name in self.attrs or name in ("add_note", "with_traceback"):
            return super().find_attr(ev, name, place)
        return Unknown.attribute(f"attribute {name} of an exception that is not known", place)

    def text(self, ev: Evaluator, representation: bool, place: SourcePlace) -> Any:
        return Unknown("the text of an exception", place)


def _is_simple(cls: Any) -> bool:
    """Whether all bases of an exception class are known."""
    mro = cls.mro if isinstance(cls, Class) else [cls]
    return all(
        isinstance(c, Class)
        or (isinstance(c, Ext) and (c.name in EXCEPTIONS or c.name == "object"))
        for c in mro
    )


def exception_of(error: Raised) -> ExceptionObject:
    """The object of what was raised."""
    found = error.value
    if not isinstance(found, ExceptionObject):
        given: Any = error.given
        if given is None and error.kind == "StopIteration":
            given = ()  # as all iterators end but generators
        if given is None:
            given = Unknown(f"the message of {error.kind}: {error.message}", error.place)
        found = ExceptionObject(Ext(error.kind), given, error.place)
        error.value = found
    if found.raised is None:
        found.raised = error.again()
    return found
