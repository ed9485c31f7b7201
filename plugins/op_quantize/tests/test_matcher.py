"""The matcher on hand-written trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from fibcore.plugin import (
    Alternatives,
    Extraction,
    ModuleNode,
    Operation,
    Quantization,
    Serving,
    TensorRef,
    Unknown,
)
from fibcore.plugin import with_origins as origins
from fibcore.testing.sglang_modules import linear
from fibcore.testing.trees import TENSOR, module, operation, tree
from fibcore.testing.trees import call as called
from fibcore_op_quantize import matcher
from fibcore_op_quantize.kinds import KINDS

Make = Callable[..., Operation]
KERNELS = "sglang.kernels.ops.quantization.fp8_kernel."
GROUP = KERNELS + "sglang_per_token_group_quant_fp8"
TOKENS = Unknown("the number of tokens")
X = TensorRef((TOKENS, 4096), "bfloat16")
FP8 = TensorRef((TOKENS, 4096), "float8_e4m3fn")
INT8 = TensorRef((TOKENS, 4096), "int8")
TRITON = KERNELS + "_per_token_group_quant_8bit"


def extract(*calls: Operation, modules: tuple[ModuleNode, ...] = (), tp: int = 1) -> Extraction:
    return matcher.extract(tree(*modules, kernel_calls=calls), Serving(tp=tp))


def names(found: Extraction) -> dict[str, list[str]]:
    return {k.name: [u.path for u in k.uses] for k in found.kernels}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_found_with_the_length_of_its_rows(call: Make, kind: str) -> None:
    found = extract(call(kind, 4096, "a"), call(kind, 4096, "b"), call(kind, 512, "c"))
    assert names(found) == {f"{kind}_k4096": ["a", "b"], f"{kind}_k512": ["c"]}
    assert not found.not_covered
    assert not found.problems
    assert len(found.claimed) == 3


@pytest.mark.parametrize(
    "one",
    [
        operation(GROUP, X, 128, column_major_scales=True, scale_tma_aligned=True),
        operation(GROUP, X, 128, 1e-10, False, False, False),
        operation(TRITON, X, FP8, X, 128, 128, 1e-10),
        operation(TRITON + "_colmajor", X, FP8, X, 128, 4096),
    ],
)
def test_the_order_of_scales_in_memory_changes_nothing(one: Operation) -> None:
    assert list(names(extract(one))) == ["per_token_group_quant_fp8_g128_k4096"]


def test_a_group_as_long_as_a_row_is_a_token() -> None:
    assert list(names(extract(operation(GROUP, X, 4096)))) == ["per_token_quant_fp8_k4096"]


def test_the_layer_tells_where_the_call_does_not() -> None:
    layer = linear("down_proj", "RowParallelLinear", 4096, 64)
    one = operation(GROUP, Alternatives((X, Unknown("a tensor"))), 128, module="down_proj")
    (kernel,) = extract(one, modules=(layer,), tp=4).kernels
    assert kernel.name == "per_token_group_quant_fp8_g128_k1024"
    assert kernel.facts["K"].note == "input_size / tp"
    assert kernel.facts["num_groups"].value == 8
    assert kernel.tags == ("quantization:float8_e4m3fn", "tp:4")


def test_a_layer_of_another_size_is_a_problem() -> None:
    layer = linear("proj", "ReplicatedLinear", 2048, 64)
    (problem,) = extract(operation(GROUP, X, 128, module="proj"), modules=(layer,)).problems
    assert "rows of 4096 elements in a layer of 2048" in problem.reason


def test_a_layer_whose_ranks_are_not_known_leaves_it_to_the_call() -> None:
    layer = linear("proj", "RowParallelLinear", 4096, 64)
    layer = attrs.evolve(layer, arguments={**layer.arguments, "parallel_group": "some"})
    found = extract(operation(GROUP, X, 128, module="proj"), modules=(layer,), tp=4)
    assert list(names(found)) == ["per_token_group_quant_fp8_g128_k4096"]
    found = extract(operation(GROUP, Unknown("a tensor"), 128, module="proj"), modules=(layer,))
    assert "parallel group some" in found.problems[0].reason


def test_of_experts_the_hidden_states_alone_are_a_kernel() -> None:
    cls = "sglang.srt.layers.moe.fused_moe_triton.layer.FusedMoE"
    experts = module("experts", cls, {"hidden_size": 4096, "intermediate_size": 512})
    between = TensorRef((TOKENS, 512), "bfloat16")
    calls = [
        operation(GROUP, X, 128, module="experts"),
        operation(GROUP, Unknown("a tensor"), 128, module="experts"),
        operation("sglang.kernels.per_token_group_quant", between, module="experts"),
    ]
    found = extract(*calls, modules=(experts,))
    assert names(found) == {"per_token_group_quant_fp8_g128_k4096": ["experts"]}
    assert not found.not_covered
    assert not found.problems
    assert found.claimed == {call.key for call in calls}
    assert len(extract(calls[1], modules=(experts,)).problems) == 1


def test_a_number_remembers_its_config_key(call: Make) -> None:
    size = origins(4096, frozenset({"config:hidden_size"}))
    (kernel,) = extract(call("nvfp4_quantize", size)).kernels
    facts = {name: (fact.value, fact.origins) for name, fact in kernel.facts.items()}
    assert facts == {
        "K": (4096, ("config:hidden_size",)),
        "num_groups": (256, ("config:hidden_size",)),
        "packed_k": (2048, ("config:hidden_size",)),
        "scalar": (1, ()),
    }
    assert kernel.tags == ("quantization:float4_e2m1", "fi_api:flashinfer.nvfp4_quantize")


@pytest.mark.parametrize("name", ["group_size", "scale_ue8m0", "fuse_silu_and_mul"])
@pytest.mark.parametrize("value", [Unknown("it is read from a file"), Alternatives((1, 2))])
def test_an_argument_that_is_not_known_is_a_problem(name: str, value: Any) -> None:
    given = {"group_size": 128, name: value}
    (problem,) = extract(operation(GROUP, X, **given)).problems
    assert name in problem.reason


@pytest.mark.parametrize(
    "given", [Unknown("a tensor"), TensorRef(None), TensorRef((TOKENS, TOKENS))]
)
def test_rows_of_unknown_length_are_a_problem(given: Any) -> None:
    (problem,) = extract(operation(GROUP, given, 128)).problems
    assert "size of what is quantised" in problem.reason


def test_rows_that_groups_do_not_divide_are_a_problem() -> None:
    (problem,) = extract(operation(GROUP, TensorRef((TOKENS, 100)), 128)).problems
    assert "no groups of 128" in problem.reason


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (operation(GROUP, X, 256), "256 elements"),
        (operation(GROUP, X, 128, fuse_silu_and_mul=True), "activates"),
        (operation(TRITON, X, INT8, X, 128, 128), "writes int8"),
        (operation("flashinfer.fp4_quantize", X, None, 32), "MXFP4"),
        (operation("sgl_kernel.silu_and_mul_quant", X), "none of the functions"),
    ],
)
def test_other_quantisations_are_named(one: Operation, reason: str) -> None:
    found = extract(one)
    assert not found.kernels
    (named,) = found.not_covered
    assert named.what == one.name
    assert reason in named.reason


def test_what_is_no_quantisation_is_left_to_others() -> None:
    calls = (operation("torch.argmax", X), operation("sglang.kernels.dequant_fp8", X))
    assert extract(*calls) == Extraction()


def compressed(path: str, dtype: str, scheme: str, activation: str, **changed: Any) -> ModuleNode:
    """A linear layer of compressed-tensors, whose calls are not followed."""
    node = linear(path, "ReplicatedLinear", 4096, 512)
    block = (128, 128) if scheme == "block" else None
    told = Quantization("compressed_tensors", dtype, scheme, block, None, activation)
    return attrs.evolve(node, quantization=told, calls=(called(TENSOR),), **changed)


@pytest.mark.parametrize(
    ("dtype", "scheme", "activation", "kind"),
    [
        ("float8_e4m3fn", "channel", "dynamic", "per_token_quant_fp8"),
        ("float8_e4m3fn", "tensor", "dynamic", "per_token_quant_fp8"),
        ("float8_e4m3fn", "tensor", "static", "static_quant_fp8"),
        ("float8_e4m3fn", "block", "dynamic", "per_token_group_quant_fp8_g128"),
        ("int8", "channel", "dynamic", "per_token_quant_int8"),
    ],
)
def test_formats_of_compressed_tensors_tell(
    dtype: str, scheme: str, activation: str, kind: str
) -> None:
    found = extract(modules=(compressed("a", dtype, scheme, activation),))
    assert names(found) == {f"{kind}_k4096": ["a"]}
    assert found.claimed == frozenset()  # beside the layer's product


def test_layers_that_do_not_run_or_whose_calls_are_known_are_left_alone(call: Make) -> None:
    node = compressed("a", "float8_e4m3fn", "channel", "dynamic")
    known = call("per_token_quant_fp8", 4096, "a")
    assert names(extract(known, modules=(node,))) == {"per_token_quant_fp8_k4096": ["a"]}
    assert extract(modules=(attrs.evolve(node, calls=()),)) == Extraction()


def test_a_format_that_tells_no_kind_is_named() -> None:
    found = extract(modules=(compressed("a", "float4_e2m1", "group", "dynamic"),))
    assert [n.what for n in found.not_covered] == [
        "quantisation of the input of a float4_e2m1 layer"
    ]
