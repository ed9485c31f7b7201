"""torch: tensors by their shapes; how modules behave is in `torch_nn.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates, imitates_all
from fibcore.elaborate.python.values import ABSENT, Args, Ext, Kwargs, Native, Obj, Param, Tensor
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


from fibcore.elaborate.python.libraries.functools import identity
from fibcore.elaborate.python.libraries.logging import silent

_FACTORIES = frozenset(("empty", "zeros", "ones", "randn", "rand", "full"))
_LIKE = frozenset(("empty_like", "zeros_like", "ones_like", "rand_like", "full_like"))
_MAKERS = frozenset((
    "tensor", "as_tensor", "arange", "from_numpy", "eye", "linspace", "cat", "stack", "outer",
))  # fmt: skip

imitates_all("torch._dynamo.", "torch.compiler.", "torch.library.")(silent)
# Compilation changes nothing about what a function gives.
imitates("torch.compile", "torch.jit.script")(identity)


@imitates("torch.device")
def _device(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Obj(Ext("torch.device"), place)


@imitates("torch.no_grad")
def _no_grad(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Native("no_grad", identity)


@imitates_all("torch.")
def _function(ev: Evaluator, name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """A function of torch: those that make tensors, and custom operators."""
    if name.startswith("torch.ops."):
        return ev.forward.tensor_operation(name, args, kwargs, place)
    if name.count(".") > 1:
        return ABSENT
    short = name.rpartition(".")[2]
    dtype = kwargs.get("dtype")
    if short in _FACTORIES:
        return Tensor(_shape(short, args, kwargs), dtype)
    if short in _LIKE:
        source = args[0] if args else None
        if isinstance(source, Tensor):
            return Tensor(source.shape, dtype or source.dtype)
        return Tensor(None, dtype)
    if short in _MAKERS:
        if any(isinstance(a, Param) for a in args):
            return ev.forward.tensor_operation(name, args, kwargs, place)
        return Tensor(None, dtype)
    return ABSENT


def _shape(name: str, args: Args, kwargs: Kwargs) -> tuple[Any, ...]:
    """The shape of a new tensor: sizes one by one, or all in one argument."""
    size = kwargs.get("size", args[0] if args else ())
    if isinstance(size, (int, Unknown)) and name != "full":
        return tuple(args) or (size,)
    return tuple(size) if isinstance(size, (list, tuple)) else (size,)
