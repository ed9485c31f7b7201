"""Shapes of tensors, and the bytes that they take."""

from __future__ import annotations

from fibcore.model.definition import Definition, const, scalar, tensor, var
from fibcore.model.shapes import device_bytes, shape_of

DEFINITION = Definition(
    name="pack_n3",
    op_type="pack",
    axes={"m": var(), "n": const(3)},
    inputs={"x": tensor("m n", "float4_e2m1"), "s": tensor("m", "float32"), "eps": scalar("int8")},
    outputs={"y": tensor("n m", "bfloat16")},
    reference="def run(x, s, eps):\n    return x\n",
)


def test_shapes() -> None:
    shapes = [shape_of(spec, DEFINITION, {"m": 5}) for spec in DEFINITION.inputs.values()]
    assert shapes == [(5, 3), (5,), None]


def test_bytes_are_rounded_up_for_each_tensor_and_scalars_count_nothing() -> None:
    assert device_bytes(DEFINITION, {"m": 5}) == 8 + 20 + 30
