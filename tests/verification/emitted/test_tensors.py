"""Tensors as a definition names them."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
from fibcore.verification.emitted.tensors import (  # noqa: E402 - needs torch
    check_comparable,
    check_tensors,
    clone_inputs,
    named_outputs,
    same_bits,
)

NAN = float("nan")
DEFINITION = {
    "axes": {"n": {"type": "var"}, "k": {"type": "const", "value": 4}},
    "inputs": {},
    "outputs": {"y": {"shape": ["n", "k"], "dtype": "float32"}, "s": {"dtype": "int32"}},
}


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (torch.zeros(2, 5), "k = 4"),
        (torch.zeros(4), r"\[n, k\]"),
        (torch.zeros(2, 4, dtype=torch.float16), "expected float32"),
        ([1.0], "not a tensor"),
    ],
)
def test_wrong_shapes_and_dtypes(y: Any, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_tensors(DEFINITION, "outputs", {"y": y, "s": 1}, {}, torch.device("cpu"), "it")


def test_var_axes_are_bound_once() -> None:
    sizes: dict[str, int] = {}
    values = {"y": torch.zeros(2, 4), "s": torch.tensor(1, dtype=torch.int32)}
    check_tensors(DEFINITION, "outputs", values, sizes, torch.device("cpu"), "it")
    assert sizes == {"n": 2, "k": 4}
    with pytest.raises(AssertionError, match="n = 3"):
        check_tensors(DEFINITION, "outputs", values, {"n": 3}, torch.device("cpu"), "it")


def test_outputs_by_order_and_name() -> None:
    assert named_outputs(DEFINITION, (1, 2), "it") == {"y": 1, "s": 2}
    assert named_outputs(DEFINITION, {"s": 2, "y": 1}, "it") == {"y": 1, "s": 2}
    for wrong in (1, (1,), (1, 2, 3), {"y": 1}):
        with pytest.raises(AssertionError, match="it returned"):
            named_outputs(DEFINITION, wrong, "it")


def test_same_bits() -> None:
    x = torch.tensor([NAN, 1.0])
    assert same_bits(x, x.clone())
    assert not same_bits(x, torch.tensor([NAN, 2.0]))
    assert not same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert same_bits(x.to(torch.float8_e4m3fn), x.to(torch.float8_e4m3fn))
    assert same_bits(torch.tensor(1.0), torch.tensor(1.0))
    assert same_bits(NAN, NAN)
    assert not same_bits(1, 2)
    gaps = torch.arange(12.0).reshape(3, 4)[:, ::2]
    assert same_bits(gaps, clone_inputs({"x": gaps})["x"])


def test_overlapping_inputs_are_copied_as_they_are() -> None:
    buffer = torch.arange(12.0)
    windows = buffer.as_strided((1000, 8), (0, 1), 4)
    copy = clone_inputs({"x": windows})["x"]
    assert copy.untyped_storage().nbytes() == 48
    assert torch.equal(copy, windows)
    assert same_bits(windows, copy)
    copy[0, 0] = 7.0
    assert windows[0, 0] == 4.0
    assert not same_bits(windows, copy)


def test_packed_dtypes_hold_two_elements_a_byte() -> None:
    definition = {
        "axes": {"k": {"type": "const", "value": 8}},
        "inputs": {"w": {"shape": ["k"], "dtype": "float4_e2m1"}},
    }
    packed, cpu = torch.zeros(4, dtype=torch.uint8), torch.device("cpu")
    check_tensors(definition, "inputs", {"w": packed}, {}, cpu, "it")
    with pytest.raises(AssertionError, match="k = 8"):
        check_tensors(definition, "inputs", {"w": torch.cat([packed, packed])}, {}, cpu, "it")


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (torch.zeros(2, 2), "y has shape [4], it gives [2, 2]"),
        (torch.zeros(4, dtype=torch.int32), "it gives y as torch.int32, not torch.float32"),
        (torch.zeros(4, dtype=torch.bfloat16), "it gives y as torch.bfloat16"),
        (1.0, "it gives a float for y"),
    ],
)
def test_ground_truth_that_cannot_be_compared(expected: Any, said: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_comparable(torch.zeros(4), expected, "y", "it")
    assert said in str(caught.value)


def test_ground_truth_may_be_more_precise() -> None:
    check_comparable(torch.zeros(4), torch.zeros(4, dtype=torch.float64), "y", "it")
