"""Tensors as a definition names them: dtypes, shapes, copies, equality bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def _fits_dtype(value: torch.Tensor, dtype: str) -> bool:
    if dtype == "float4_e2m1":  # torch packs two elements a byte
        return value.dtype in (torch.uint8, getattr(torch, "float4_e2m1fn_x2", torch.uint8))
    return value.dtype is getattr(torch, dtype, None)


def check_tensors(
    definition: Mapping[str, Any],
    group: str,
    values: Mapping[str, Any],
    sizes: dict[str, int],
    device: torch.device,
    what: str,
) -> None:
    """Assert that tensors have the dtype, rank and sizes that the definition gives them.

    Args:
        definition: The definition's JSON data.
        group: "inputs" or "outputs".
        values: Name to value.
        sizes: Sizes of axes as far as known; var axes that are met first here are added.
        device: Where tensors have to lie.
        what: Whose values these are, for messages.
    """
    __tracebackhide__ = True
    for name, spec in definition[group].items():
        value, dtype, shape = values[name], spec["dtype"], spec.get("shape")
        if shape is None and isinstance(value, (bool, int, float)):
            continue
        if not isinstance(value, torch.Tensor):
            raise AssertionError(f"{what}: {name} is a {type(value).__name__}, not a tensor")
        if not _fits_dtype(value, dtype):
            raise AssertionError(f"{what}: {name} has dtype {value.dtype}, expected {dtype}")
        if value.device.type != device.type:
            raise AssertionError(f"{what}: {name} is on {value.device}, expected {device}")
        found, axes = list(value.shape), list(shape or ())
        if len(found) != len(axes):
            raise AssertionError(f"{what}: {name} has shape {found}, expected [{', '.join(axes)}]")
        if dtype == "float4_e2m1" and found:
            found[-1] *= 2
        for axis, size in zip(axes, found, strict=True):
            given = definition["axes"][axis].get("value")
            wanted = sizes.setdefault(axis, size if given is None else given)
            if size != wanted:
                raise AssertionError(
                    f"{what}: {name} has shape {found}, expected "
                    f"[{', '.join(axes)}] with {axis} = {wanted}"
                )


def named_outputs(definition: Mapping[str, Any], result: Any, what: str) -> dict[str, Any]:
    """What a function returned, by output name.

    A tensor is a single output, a tuple or list has the outputs in order; a dict has them by name.
    """
    __tracebackhide__ = True
    names = list(definition["outputs"])
    if isinstance(result, dict):
        if set(result) != set(names):
            raise AssertionError(f"{what} returned {sorted(result)}, expected {names}")
        return {name: result[name] for name in names}
    values = list(result) if isinstance(result, (tuple, list)) else [result]
    if len(values) != len(names):
        raise AssertionError(
            f"{what} returned {len(values)} outputs, expected {len(names)}: {', '.join(names)}"
        )
    return dict(zip(names, values, strict=True))


def _overlaps(tensor: torch.Tensor) -> bool:
    """Whether elements share memory, by which a template makes large inputs small."""
    return tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()


def _clone(tensor: torch.Tensor) -> torch.Tensor:
    if not _overlaps(tensor):
        return tensor.clone()
    # clone() would give every element memory of its own, and there may be 10^11 of them.
    copy = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    storage = _bytes(tensor).clone().untyped_storage()
    return copy.set_(storage, tensor.storage_offset(), tensor.shape, tensor.stride())


def clone_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of the inputs that share no memory with them."""
    return {n: _clone(v) if isinstance(v, torch.Tensor) else v for n, v in inputs.items()}


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    if _overlaps(tensor):
        everything = torch.empty(0, dtype=torch.uint8, device=tensor.device)
        return everything.set_(tensor.untyped_storage())
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def same_bits(a: Any, b: Any) -> bool:
    """Whether an input and a copy of it are the same, NaN for NaN and bit for bit."""
    if not isinstance(a, torch.Tensor):
        return type(a) is type(b) and (a == b or (a != a and b != b))
    if a.shape != b.shape or a.dtype is not b.dtype:
        return False
    if _overlaps(a) and a.stride() != b.stride():
        return False
    return torch.equal(_bytes(a), _bytes(b))


def check_comparable(actual: Any, expected: Any, name: str, title: str) -> None:
    """Assert that a ground truth gave a tensor of the output's shape, and no coarser dtype.

    Args:
        actual: The reference's output.
        expected: The ground truth's.
        name: Of the output, for messages.
        title: Of the ground truth, for messages.
    """
    __tracebackhide__ = True
    if not isinstance(actual, torch.Tensor) or not isinstance(expected, torch.Tensor):
        raise AssertionError(f"{title} gives a {type(expected).__name__} for {name}")
    if expected.shape != actual.shape:
        raise AssertionError(
            f"{name} has shape {list(actual.shape)}, {title} gives {list(expected.shape)}"
        )
    same_kind = actual.dtype.is_floating_point == expected.dtype.is_floating_point
    if not same_kind or _spacing(expected.dtype) > _spacing(actual.dtype):
        raise AssertionError(f"{title} gives {name} as {expected.dtype}, not {actual.dtype}")


def _spacing(dtype: torch.dtype) -> float:
    """The gap between 1 and the next number of a dtype; 0 for integers and booleans."""
    return torch.finfo(dtype).eps if dtype.is_floating_point else 0.0
