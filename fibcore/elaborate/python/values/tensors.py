"""Tensors, of which the shape is known at most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values.base import Args, Kwargs, Value
from fibcore.elaborate.python.values.external import Ext
from fibcore.elaborate.python.values.functions import Native
from fibcore.elaborate.python.values.merging import alike, at_index
from fibcore.elaborate.python.values.shapes import counted, item, made, unsqueezed, viewed
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace

_SAME = frozenset((
    "float", "to", "contiguous", "cuda", "cpu", "detach", "clone", "bfloat16", "half", "data",
    "type", "requires_grad_",
))  # fmt: skip
"""Methods that give the same tensor as far as anybody here looks."""
_DTYPES = {
    "float": "torch.float32",
    "half": "torch.float16",
    "bfloat16": "torch.bfloat16",
    "int": "torch.int32",
    "long": "torch.int64",
}
"""Methods that give the tensor in another dtype."""
_FOLLOWED = frozenset((
    *_DTYPES, "to", "type", "view", "reshape", "unsqueeze", "new_empty", "new_zeros", "new_ones",
    "numel",
))  # fmt: skip
"""Methods whose shapes and dtypes are told where building blocks are gone into."""


PLAIN_OF_TENSORS = frozenset(("shape", "ndim", "size", "dim", "numel", "nelement", "item"))
"""Attributes of tensors that are numbers or tuples of them, and methods that give such."""
TRUTHS_OF_TENSORS = frozenset(("is_cuda", "is_cpu", "is_sparse", "is_quantized", "requires_grad"))
"""Attributes of tensors that are True or False."""


class Tensor(Value):
    """A tensor of known or partly known shape (None: not even the rank)."""

    __slots__ = ("dtype", "shape")
    comparable = False

    def __init__(self, shape: tuple[Any, ...] | None, dtype: Any = None) -> None:
        self.shape = shape
        self.dtype = dtype

    @property
    def dotted_name(self) -> str:
        return "torch.Tensor"

    def type_of(self, place: SourcePlace) -> Any:
        return Ext("torch.Tensor")

    def is_of_external(self, name: str) -> bool | None:
        return name.startswith("torch") and name.rpartition(".")[2] in ("Tensor", "Parameter")

    def summary(self, number: int | None) -> Any:
        return "tensor"

    def truth(self, ev: Evaluator) -> bool | None:
        return None

    def identical(self, other: Any) -> bool | None:
        return None if isinstance(other, Tensor) and other is not self else self is other

    def get_item(self, ev: Evaluator, key: Any, place: SourcePlace) -> Any:
        return Tensor(item(self.shape, key) if ev.launches.active else None, self.dtype)

    def combine(self, op: str, other: Any, place: SourcePlace, *, reflected: bool) -> Any:
        if isinstance(self, Param) or isinstance(other, Param):
            return Unknown("a tensor computed from a parameter", place)
        if isinstance(other, (int, float)):  # scaled, element by element
            return Tensor(self.shape, self.dtype)
        return Tensor(None)

    def turned(self) -> Tensor:
        """Its transpose; of more than two dimensions no shape is known."""
        return Tensor(self._turned_shape(), self.dtype)

    def _turned_shape(self) -> tuple[Any, ...] | None:
        shape = self.shape
        return None if shape is None or len(shape) != 2 else (shape[1], shape[0])

    # -- attributes ----------------------------------------------------------------------------

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        shape = self.shape
        if name == "shape":
            return shape if shape is not None else Unknown.plain("the shape of a tensor", place)
        if name == "dtype":
            return self.dtype if self.dtype is not None else Unknown("a default dtype", place)
        if name in ("ndim", "dim"):
            rank = len(shape) if shape is not None else Unknown.plain("the rank of a tensor", place)
            return rank if name == "ndim" else Native("dim", lambda *_: rank)
        if name == "size":
            return Native("size", self._size)
        if name in ("T", "mT"):
            return self.turned()
        if name in ("t", "transpose", "permute"):
            return Native(name, lambda *_: self.turned())
        if name == "data":
            return self
        if ev.launches.active and name in _FOLLOWED:
            return Native(name, lambda _, args, kwargs, at: self._followed(name, args, kwargs))
        if ev.launches.active and name not in _SAME:
            return Native(name, lambda ev, args, kwargs, at: self._run(ev, name, args, kwargs, at))
        if name in _SAME:
            return Native(name, lambda *_: self)
        if name == "device":
            return Unknown("a device", place)
        if name[0] == "_" or ev.environment.is_weight_attribute(name):
            return Unknown.attribute(f"attribute {name} of a tensor", place)
        return Native(name, lambda ev, args, kwargs, at: self._method(ev, name, args, kwargs, at))

    def _size(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        shape = self.shape
        if shape is None:
            return Unknown.plain("the size of a tensor", place)
        if args and args[0] in range(-len(shape), len(shape)):
            return ev.operators.subscript(shape, args[0], place)
        return shape

    def _method(
        self, ev: Evaluator, name: str, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        return Tensor(None, self.dtype)

    def _run(self, ev: Evaluator, name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """What a method gives that may be a kernel."""
        ev.launches.note_external(f"torch.Tensor.{name}", [self, *args], kwargs, place)
        return self._method(ev, name, args, kwargs, place)

    def _followed(self, name: str, args: Args, kwargs: Kwargs) -> Any:
        """What a method gives of which it matters what a kernel gets."""
        if name in _DTYPES:
            return Tensor(self.shape, Ext(_DTYPES[name]))
        if name in ("to", "type"):
            given = [v for v in (*args, *kwargs.values()) if isinstance(v, Ext)]
            return Tensor(self.shape, next(iter(given), None if args or kwargs else self.dtype))
        if name == "unsqueeze":
            return Tensor(unsqueezed(self.shape, args[0] if args else None), self.dtype)
        if name == "numel":
            return counted(self.shape)
        if name in ("view", "reshape"):
            if len(args) == 1 and isinstance(args[0], Ext):  # a view as another dtype
                return Tensor(None, args[0])
            return Tensor(viewed(self.shape, args), self.dtype)
        return Tensor(made(args), kwargs.get("dtype", self.dtype))

    def set_attr(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> None:
        if name == "data":
            self.shape = value.shape if isinstance(value, Tensor) else None


class Param(Tensor):
    """A `torch.nn.Parameter`, or a view of one (`base`)."""

    __slots__ = ("base",)

    def __init__(
        self, shape: tuple[Any, ...] | None, dtype: Any = None, base: Param | None = None
    ) -> None:
        super().__init__(shape, dtype)
        self.base = base

    def same_as(self, other: Any) -> bool:
        return self.base is not None and self.base is other.base and alike(self.shape, other.shape)

    def summary(self, number: int | None) -> Any:
        return id(self)

    def at_index(self, index: int, tracker: Any) -> Any:
        if any(hasattr(size, "fn") for size in self.shape or ()):
            return Param(at_index(self.shape, index, tracker), self.dtype, self.base or self)
        return self

    def turned(self) -> Tensor:
        return Param(self._turned_shape(), self.dtype, self.base or self)

    def _method(
        self, ev: Evaluator, name: str, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        sizes = [size for size in self.shape or (None,) if size != 1]
        if name == "squeeze" and not (args or kwargs) and all(isinstance(s, int) for s in sizes):
            return Param(tuple(sizes), self.dtype, self.base or self)
        # A parameter that is computed with is a kernel of its own, or a part of one.
        return ev.forward.tensor_operation(f"torch.Tensor.{name}", [self, *args], kwargs, place)
