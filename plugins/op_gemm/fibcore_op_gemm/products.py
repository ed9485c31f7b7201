"""GEMMs that are no linear layer: a matrix product with a parameter in a module's forward."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import attrs

from fibcore.plugin import Alternatives, Call, ModuleRef, Operation, ParameterRef

# Functions that are GEMMs on an activation and a weight, by the last part of their name: the
# weight's position among the arguments, and whether it is [N, K] (a linear layer's) or [K, N].
_CONVENTIONS = {
    "linear": (1, True),
    "linear_bf16_fp32": (1, True),
    "weight_packed_linear": (1, True),
    "dsv3_router_gemm": (1, True),
    "aiter_dsv3_router_gemm": (1, True),
    "tiny_gemm_bf16": (1, True),
    "dsv3_fused_a_gemm": (1, False),
    "router_gemm_bf16x3_cublas": (1, True),
    "matmul": (1, False),
    "mm": (1, False),
    "__matmul__": (1, False),
    "addmm": (2, False),
}
# GEMMs that compute something else as well: another kernel.
_WITH_MORE = {"tf32_hc_prenorm_gemm": "the sums of squares of its input's rows"}
# AITER's `mm(inp, weights)` is a linear layer's product (`aiter/tuned_gemm.py`).
_AITER = "aiter.tuned_gemm.tgemm.mm"
# Names of their second argument.
_WEIGHT_NAMES = ("weight", "mat2", "other", "w", "mat_b")
_VIEWS = ("torch.Tensor.view", "torch.Tensor.reshape")
_LOOKS_LIKE_GEMM = re.compile(r"linear|gemm|matmul|einsum|^_?b?addb?mm$|^b?mm$|(^|_)mm(_|$)")


@attrs.frozen
class Product:
    """A parameter that is multiplied: its path, and N and K where the function's name tells them.

    Attributes:
        parameter: Path of the parameter.
        module: Path of the module in whose forward it happens.
        function: The function's dotted name.
        dtype: The parameter's, None for the model's own.
        n: Rows of the weight as a linear layer stores it; None where the convention is not known.
        k: Columns, likewise.
        trouble: Why n and k are None; empty where they are not.
        batched: The parameter holds several matrices.
        batch: How many, where the function is known to multiply each by one of its own.
        more: What its function computes besides; empty for nothing.
    """

    parameter: str
    module: str
    function: str
    dtype: str | None = None
    n: Any = None
    k: Any = None
    trouble: str = ""
    batched: bool = False
    batch: Any = None
    more: str = ""


def is_product(operation: Operation) -> bool:
    """Whether the function's name is that of a matrix product."""
    return _LOOKS_LIKE_GEMM.search(operation.name) is not None


def unpacks(operation: Operation) -> bool:
    """Whether a call makes a layer's weight of its packed parts alone, before it multiplies."""
    values = (*operation.args, *operation.kwargs.values())
    parts = [value for value in values if isinstance(value, ParameterRef)]
    own = all(part.path.rpartition(".")[0] == operation.module for part in parts)
    return "dequant" in operation.name and bool(parts) and len(parts) == len(values) and own


def products(operation: Operation) -> list[Product]:
    """What an operation multiplies; empty where its name is not that of a matrix product."""
    short = operation.name
    if not is_product(operation):
        return []
    values: list[tuple[int | str, Any]] = [*enumerate(operation.args)]
    values += operation.kwargs.items()
    weights = [
        (where, one)
        for where, value in values
        for one in (value.values if isinstance(value, Alternatives) else (value,))
        if isinstance(one, ParameterRef)
    ]
    made = [_product(operation, short, where, weight) for where, weight in weights]
    return [product for product in made if product is not None]


def grouped(operation: Operation) -> Iterator[tuple[str, Any]]:
    """The layer whose weight a view takes for several matrices, with the rows of each."""
    if operation.function not in _VIEWS or not operation.args:
        return
    weight, *sizes = operation.args
    if len(sizes) == 1 and isinstance(sizes[0], (list, tuple)):
        sizes = list(sizes[0])
    reference = isinstance(weight, (ModuleRef, ParameterRef))
    if reference and weight.path.endswith(".weight") and len(sizes) == 3:
        yield weight.path.rpartition(".")[0], sizes[1]


def folded(operation: Operation) -> Iterator[str]:
    """The layers whose weights an operation multiplies by each other, element by element."""
    values = operation.args
    if operation.function == "torch.mul" and all(isinstance(v, ParameterRef) for v in values):
        owners = {value.path.rpartition(".")[0] for value in values}
        if len(owners) > 1:  # a weight and its own scale are one layer's
            yield from owners


def weights(call: Operation | Call) -> Iterator[str]:
    """The layers whose weights an operation or a call takes, or that it takes themselves."""
    for value in (*call.args, *call.kwargs.values()):
        if isinstance(value, (ModuleRef, ParameterRef)):
            yield value.path.removesuffix(".weight")


def _product(
    operation: Operation, short: str, where: int | str, weight: ParameterRef
) -> Product | None:
    made = Product(weight.path, operation.module, operation.function, weight.dtype)
    if weight.shape is not None and len(weight.shape) > 2:
        made = attrs.evolve(made, batched=True)
        if short == "bmm" and where in (1, *_WEIGHT_NAMES) and len(weight.shape) == 3:
            batch, k, n = weight.shape
            return attrs.evolve(made, batch=batch, n=n, k=k)
        trouble = f"{operation.function} may multiply several matrices by one"
        return attrs.evolve(made, trouble=trouble)
    if short in _WITH_MORE:
        return attrs.evolve(made, more=_WITH_MORE[short])
    if short not in _CONVENTIONS:
        return attrs.evolve(made, trouble=f"how {operation.function} reads a weight is not known")
    position, rows_are_n = (1, True) if operation.function == _AITER else _CONVENTIONS[short]
    if where == 0 and short in ("matmul", "mm", "__matmul__"):
        rows_are_n = True  # W · x, whose transpose is x · Wᵀ with W [N, K]
    elif where != position and where not in _WEIGHT_NAMES:
        return None  # a bias
    if weight.shape is None:
        return attrs.evolve(made, trouble=f"the shape of {weight.path} is not known")
    if len(weight.shape) < 2:
        return None  # a vector: no GEMM
    n, k = weight.shape if rows_are_n else reversed(weight.shape)
    return attrs.evolve(made, n=n, k=k)
