"""What all values have in common: the operations of Python on them, and what is so by default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace

Args = list[Any]
Kwargs = dict[str, Any]


class Absent:
    """Stands for "not bound" among the alternatives of a value."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent()


class Raised(Exception):
    """An exception that the evaluated source raised.

    Attributes:
        kind: The name of its class.
        place: Where it was raised.
        explicit: Whether a raise statement did.
        value: The exception object; None until somebody asks for it.
        given: The arguments that the object is made with; None where they are not known, because
            messages are Python's own and differ between its versions.
        scopes: The scopes of functions that it left, whose variables live until it is handled.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        place: SourcePlace | None,
        *,
        explicit: bool = False,
        value: Any = None,
        given: tuple[Any, ...] | None = None,
    ) -> None:
        super().__init__(kind)
        self.explicit = explicit
        self.kind = kind
        self._message = message
        self.place = place
        self.value = value
        self.given = given
        self.scopes: list[Any] = []

    @property
    def message(self) -> str:
        """What reports say of it.

        A text that depends on a layer is read here and not before: most exceptions are caught, and
        layers are alike whose names alone differ in a message that nobody reads.
        """
        return str(self._message)

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"

    def again(self) -> Raised:
        """The same exception without what this one holds of frames, to be kept or raised anew."""
        return Raised(
            self.kind, self._message, self.place,
            explicit=self.explicit, value=self.value, given=self.given,
        )  # fmt: skip

    def catch(self) -> None:
        """Let go of what expressions held that it left, as Python does before a handler runs."""
        # An error of Python's own that it was made of holds the same frames.
        self.__traceback__ = self.__context__ = self.__cause__ = None

    def release(self) -> None:
        """Let go of the variables of functions that it left."""
        self.catch()
        self.scopes.clear()


class Unforeseen(Exception):
    """The evaluator itself failed on a statement of the source: a defect.

    Attributes:
        error: What it raised.
        place: Where the statement stands.
    """

    def __init__(self, error: Exception, place: SourcePlace) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.error = error
        self.place = place


class Value:
    """A value that plain Python data cannot stand for.

    Each kind of value says here what Python does with it. What a method cannot know is `Unknown`,
    and what is not there ABSENT. `Unknown` and `Alternatives` themselves never come here: the
    evaluator passes them on before it asks a value.
    """

    __slots__ = ()
    comparable = True
    """Whether what no `__eq__` decides is equal where it is the same object."""
    changeable = False
    """Whether it is written to so often that one of many is still worth knowing."""

    def __repr__(self) -> str:
        # Python's own shows an address, which would differ in each process.
        return f"<{type(self).__name__}>"

    # -- what it is ----------------------------------------------------------------------------

    @property
    def shown(self) -> str:
        """What messages call it."""
        return type(self).__name__

    @property
    def kind_name(self) -> str:
        """What messages about its kind call it."""
        return type(self).__name__

    @property
    def dotted_name(self) -> str:
        """What the model tree calls it, of which it says no more."""
        return type(self).__name__

    @property
    def in_class(self) -> Any:
        """What a class holds where its body binds a name to the value; ABSENT for nothing."""
        return self

    @property
    def instance_class(self) -> Any:
        """The class that methods of the value are looked up in; None where it has none."""
        return None

    def type_of(self, place: SourcePlace) -> Any:
        """`type(value)`."""
        return Unknown("a type", place)

    def is_python(self, name: str, kind: type) -> bool:
        """`isinstance(value, int)` and the like."""
        return False

    def is_of(self, cls: Any) -> bool | None:
        """`isinstance(value, cls)` for a class of the source; None where that is not known."""
        return False

    def is_of_external(self, name: str) -> bool | None:
        """`isinstance(value, name)` for a class outside of the source."""
        return False

    def has_instance(self, value: Any) -> bool | None:
        """`isinstance(value, self)`; None where that is not known, or self is no class."""
        return None

    def same_as(self, other: Any) -> bool:
        """Whether it is certainly equal to another value of its kind, which is not itself."""
        return False

    def summary(self, number: int | None) -> Any:
        """A hashable summary: equal ones go the same way through a forward pass.

        Args:
            number: The index of the layer whose arguments are summarised; None outside of one.
        """
        return id(self)

    def at_index(self, index: int, tracker: Any) -> Any:
        """The value as it is in the layer with an index that repeats the one of `tracker`."""
        return self

    def copied(self) -> Any:
        """`copy.deepcopy(value)`."""
        return self

    # -- what is done with it ------------------------------------------------------------------

    def truth(self, ev: Evaluator) -> bool | None:
        """`bool(value)`; None where it cannot be decided."""
        return True

    def equals(self, ev: Evaluator, other: Any, place: SourcePlace) -> Any:
        """`value == other`; ABSENT where this side has nothing to say of it."""
        return ABSENT

    def identical(self, other: Any) -> bool | None:
        """`value is other`; None where that is not known."""
        return self is other

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        """`value.name`, or ABSENT."""
        return ABSENT

    def set_attr(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> None:
        """`value.name = ...`; ignored where the value does not keep attributes."""

    def get_item(self, ev: Evaluator, key: Any, place: SourcePlace) -> Any:
        """`value[key]`; ABSENT where it has no items."""
        return ABSENT

    def set_item(self, ev: Evaluator, key: Any, value: Any, place: SourcePlace) -> None:
        """`value[key] = ...`; ignored where the value keeps no items."""

    def contains(self, ev: Evaluator, item: Any, place: SourcePlace) -> Any:
        """`item in value`; ABSENT where it is no container."""
        return ABSENT

    def items(self, ev: Evaluator) -> list[Any] | None:
        """What iteration gives; None where that is not known."""
        return None

    def length(self, ev: Evaluator, place: SourcePlace) -> Any:
        """`len(value)`."""
        items = self.items(ev)
        return Unknown("a length", place) if items is None else len(items)

    def is_callable(self, ev: Evaluator, place: SourcePlace) -> bool:
        """`callable(value)`."""
        return False

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`value(*args, **kwargs)`."""
        return Unknown(f"a call of {type(self).__name__}", place)

    def combine(self, op: str, other: Any, place: SourcePlace, *, reflected: bool) -> Any:
        """An operation that this kind of value decides whatever the other side is, or ABSENT.

        Args:
            op: The name of the syntax, `Add`.
            other: The other side.
            place: Where it stands.
            reflected: Whether the value is the right side.
        """
        return ABSENT

    def operate(self, ev: Evaluator, op: str, other: Any, place: SourcePlace) -> Any:
        """`value + other` and the like, by the name of the syntax; ABSENT where it has none."""
        return ABSENT

    def variables(self) -> dict[str, Any] | None:
        """`vars(value)`; None where that is not known."""
        return None

    def enter(self, ev: Evaluator, place: SourcePlace) -> Any:
        """What `with value as x` binds to x."""
        return Unknown("what a with statement enters", place)

    def swallows(self, ev: Evaluator) -> frozenset[str]:
        """The names of the exceptions that it may swallow as a context."""
        return frozenset()

    def leave(self, ev: Evaluator, error: Raised | None, place: SourcePlace) -> bool | None:
        """Leave a with statement; whether the exception is swallowed, None where unknown."""
        return False
