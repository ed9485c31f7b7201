"""Definitions of the kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_quantize as plugin
from fibcore.plugin import Definition
from fibcore_op_quantize.definitions import kind_of
from fibcore_op_quantize.kinds import KINDS

Make = Callable[..., Definition]

FP8 = "float8_e4m3fn"
# Kind to the outputs of rows of 256 elements: what a GEMM of the format takes.
OUTPUTS: dict[str, dict[str, tuple[list[str], str]]] = {
    "per_token_group_quant_fp8_g128": {
        "quantized": (["M", "K"], FP8),
        "scales": (["M", "num_groups"], "float32"),
    },
    "per_token_quant_fp8": {"quantized": (["M", "K"], FP8), "scales": (["M"], "float32")},
    "per_token_quant_int8": {"quantized": (["M", "K"], "int8"), "scales": (["M"], "float32")},
    "per_tensor_quant_fp8": {"quantized": (["M", "K"], FP8), "scales": (["scalar"], "float32")},
    "static_quant_fp8": {"quantized": (["M", "K"], FP8)},
    "mxfp8_quantize": {"quantized": (["M", "K"], FP8), "scales": (["M", "num_groups"], "int8")},
    "nvfp4_quantize": {
        "quantized": (["M", "packed_k"], "int8"),
        "scales": (["M", "num_groups"], FP8),
    },
}


def tensors(parts: dict[str, Any]) -> dict[str, tuple[list[str], str]]:
    return {name: (part["shape"], part["dtype"]) for name, part in parts.items()}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_the_format(definition: Make, kind: str) -> None:
    data = definition(kind, 256).to_dict()
    assert data["name"] == f"{kind}_k256"
    assert data["op_type"] == "quantize"
    assert tensors(data["outputs"]) == OUTPUTS[kind]
    sizes = {name: axis.get("value") for name, axis in data["axes"].items()}
    assert sizes.pop("M") is None
    assert sizes.pop("K") == 256
    groups = {KINDS[kind].group: 256 // KINDS[kind].group} if KINDS[kind].group else {}
    assert sizes.pop("num_groups", None) == next(iter(groups.values()), None)
    assert sizes in ({}, {"scalar": 1}, {"packed_k": 128, "scalar": 1})


def test_inputs_are_rows_and_a_scale_that_is_given(definition: Make) -> None:
    rows = (["M", "K"], "bfloat16")
    given = (["scalar"], "float32")
    found = {kind: tensors(definition(kind).to_dict()["inputs"]) for kind in OUTPUTS}
    assert found["per_token_quant_fp8"] == {"input": rows}
    assert found["static_quant_fp8"] == {"input": rows, "scale": given}
    assert found["nvfp4_quantize"] == {"a": rows, "a_global_sf": given}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_told_by_tensors_and_what_the_reference_calls(
    definition: Make, kind: str
) -> None:
    made = attrs.evolve(definition(kind), name="another_name", description=None, tags=())
    assert kind_of(made) == KINDS[kind]
    powers = kind.startswith("per_token_group_quant_fp8_ue8m0")
    assert plugin.fibcore_identify(made).variant == ("powers" if powers else "")
    assert "  # only" not in made.reference
    data = definition(kind).to_dict()
    described = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
    assert all(part["description"] for part in described)


def test_a_name_that_contradicts_the_sizes_is_said(definition: Make) -> None:
    renamed = attrs.evolve(definition("per_token_quant_fp8", 64), name="per_token_quant_fp8_k32")
    assert plugin.fibcore_identify(renamed).contradictions == ("the name says k32, and K is 64",)
