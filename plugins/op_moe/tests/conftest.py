"""What the tests of routed experts share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import fibcore_op_moe
from fibcore.plugin import Definition, Kernel
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template, load_run
from fibcore_op_moe import fibcore_reference
from fibcore_op_moe.activations import (
    GELU,
    GELU_ALONE,
    GELU_TANH,
    RELU2,
    SILU,
    SITU,
    SITU_UNBOUNDED,
    SWIGLU_LIMIT,
    SWIGLU_OAI,
    SWIGLU_STEP,
)
from fibcore_op_moe.formats import (
    BF16,
    FP8_BLOCK,
    FP8_CHANNEL,
    FP8_TENSOR,
    INT8_CHANNEL,
    MXFP4,
    MXINT4,
    NVFP4,
    W4A16_NVFP4,
    WeightFormat,
)
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.routings import DEFAULT, DS, LLAMA4, RENORM, SCORED, Routing


def _scored(routing: Routing, weights: WeightFormat = BF16) -> Moe:
    """A kernel of a routing that is made of parts, half of whose experts are on other ranks."""
    top_k = routing.max_top_k or 4
    groups = (4, 4 if routing.choice == "each_group" else 2) if routing.has_groups else (0, 0)
    vocabulary = 512 if routing.choice == "hash" else 0
    return Moe(weights, routing, top_k, *groups, 16, 8, 128, 64, vocab_size=vocabulary)


# Small kernels of every form: a reference takes its sizes from its constants.
SMALL = {
    "fp8_ds_remote": Moe(FP8_BLOCK, DS, 4, 4, 2, 16, 4, 256, 128),
    "fp8_ds": Moe(FP8_BLOCK, DS, 4, 1, 1, 16, 16, 256, 256),
    "fp8_renorm": Moe(FP8_BLOCK, RENORM, 4, 0, 0, 16, 16, 256, 128),
    "fp8_default_remote": Moe(FP8_BLOCK, DEFAULT, 4, 0, 0, 16, 4, 256, 128),
    "fp8_llama4": Moe(FP8_BLOCK, LLAMA4, 1, 0, 0, 8, 8, 256, 128),
    "bf16_ds_remote": Moe(BF16, DS, 4, 4, 2, 16, 8, 192, 96),
    "bf16_ds": Moe(BF16, DS, 4, 1, 1, 16, 16, 192, 96),
    "bf16_renorm_remote": Moe(BF16, RENORM, 2, 0, 0, 8, 4, 192, 96),
    "bf16_default": Moe(BF16, DEFAULT, 4, 0, 0, 16, 16, 192, 96),
    "bf16_llama4": Moe(BF16, LLAMA4, 1, 0, 0, 8, 8, 192, 96),
    "tensor_renorm": Moe(FP8_TENSOR, RENORM, 2, 0, 0, 8, 8, 256, 128),
    "tensor_default": Moe(FP8_TENSOR, DEFAULT, 2, 0, 0, 8, 8, 192, 96),
    "tensor_llama4": Moe(FP8_TENSOR, LLAMA4, 1, 0, 0, 8, 8, 192, 96),
    "mxfp4_oai": Moe(MXFP4, RENORM, 4, 0, 0, 16, 16, 192, 96, SWIGLU_OAI, biased=True),
    "mxfp4_oai_remote": Moe(MXFP4, RENORM, 2, 0, 0, 8, 4, 192, 96, SWIGLU_OAI, biased=True),
    "mxfp4_ds_remote": Moe(MXFP4, DS, 4, 4, 2, 16, 8, 192, 96),
    "mxfp4_default": Moe(MXFP4, DEFAULT, 4, 0, 0, 16, 16, 192, 96),
    "mxfp4_llama4": Moe(MXFP4, LLAMA4, 1, 0, 0, 8, 8, 192, 96),
    "nvfp4_ds_remote": Moe(NVFP4, DS, 4, 4, 2, 16, 8, 192, 96),
    "nvfp4_oai": Moe(NVFP4, DS, 4, 1, 1, 16, 16, 192, 96, SWIGLU_OAI),
    "nvfp4_renorm": Moe(NVFP4, RENORM, 4, 0, 0, 16, 16, 192, 96),
    "nvfp4_llama4": Moe(NVFP4, LLAMA4, 1, 0, 0, 8, 8, 192, 96),
    "tensor_ds_remote": Moe(FP8_TENSOR, DS, 4, 4, 2, 16, 8, 192, 96),
    "channel_ds_remote": Moe(FP8_CHANNEL, DS, 4, 4, 2, 16, 8, 192, 96),
    "channel_llama4": Moe(FP8_CHANNEL, LLAMA4, 1, 0, 0, 8, 8, 192, 96),
    "int8_renorm": Moe(INT8_CHANNEL, RENORM, 4, 0, 0, 16, 16, 192, 96),
    "mxint4_ds_remote": Moe(MXINT4, DS, 4, 4, 2, 16, 8, 192, 96),
    "mxint4_renorm": Moe(MXINT4, RENORM, 4, 0, 0, 16, 16, 192, 96),
    "w4a16_ds_remote": Moe(W4A16_NVFP4, DS, 4, 4, 2, 16, 8, 192, 96),
    "w4a16_renorm": Moe(W4A16_NVFP4, RENORM, 4, 0, 0, 16, 16, 192, 96),
    "w4a16_llama4": Moe(W4A16_NVFP4, LLAMA4, 1, 0, 0, 8, 8, 192, 96),
    # What is computed between the products, each in another format.
    "bf16_oai": Moe(BF16, RENORM, 2, 0, 0, 8, 8, 192, 96, SWIGLU_OAI, biased=True),
    "bf16_gelu": Moe(BF16, RENORM, 2, 0, 0, 8, 8, 192, 96, GELU),
    "bf16_gelu_tanh": Moe(BF16, RENORM, 2, 0, 0, 8, 8, 192, 96, GELU_TANH),
    "bf16_relu2": Moe(BF16, DS, 4, 1, 1, 16, 16, 192, 96, RELU2),
    "bf16_silu": Moe(BF16, RENORM, 2, 0, 0, 8, 8, 192, 96, SILU),
    "fp8_limit": Moe(FP8_BLOCK, RENORM, 2, 0, 0, 8, 8, 256, 128, SWIGLU_LIMIT),
    "fp8_relu2": Moe(FP8_BLOCK, RENORM, 2, 0, 0, 8, 8, 256, 256, RELU2),
    "bf16_step": Moe(BF16, RENORM, 2, 0, 0, 8, 8, 192, 96, SWIGLU_STEP),
    "mxfp4_situ": Moe(MXFP4, DS, 4, 1, 1, 16, 16, 192, 96, SITU),
    "tensor_situ": Moe(FP8_TENSOR, RENORM, 2, 0, 0, 8, 8, 192, 96, SITU_UNBOUNDED),
    "tensor_relu2": Moe(FP8_TENSOR, RENORM, 2, 0, 0, 8, 8, 192, 96, RELU2),
    "nvfp4_relu2": Moe(NVFP4, DS, 4, 1, 1, 16, 16, 192, 96, RELU2),
    "w4a16_relu2": Moe(W4A16_NVFP4, DS, 4, 1, 1, 16, 16, 192, 96, RELU2),
    "w4a16_oai": Moe(W4A16_NVFP4, RENORM, 2, 0, 0, 8, 8, 192, 96, SWIGLU_OAI),
    "channel_gelu_alone": Moe(FP8_CHANNEL, RENORM, 2, 0, 0, 8, 8, 192, 96, GELU_ALONE),
    "mxfp4_limit": Moe(MXFP4, RENORM, 2, 0, 0, 8, 8, 192, 96, SWIGLU_LIMIT),
    "mxint4_limit": Moe(MXINT4, RENORM, 2, 0, 0, 8, 8, 192, 96, SWIGLU_LIMIT),
    # Every routing that is made of parts.
    **{routing.name: _scored(routing) for routing in SCORED},
}


def definition_of(moe: Moe, *tags: str) -> Definition:
    """The definition of a kernel."""
    made = fibcore_reference(Kernel("moe", moe.name, moe.parameters(), {}, (), tags))
    assert made is not None
    return made


def small_definitions() -> list[Definition]:
    """Every routing, format and line, so small that tests take milliseconds, with pieces as small.

    Numbers that could stand for each other differ: groups and their experts, blocks of both sizes.
    """
    left_out = ("fp8_ds", "fp8_default_remote", "mxfp4_oai", "mxfp4_default", "nvfp4_renorm")
    # Of what is made of parts, some in which all lines are.
    more = (
        *("channel_ds_remote", "mxint4_ds_remote", "bf16_oai", "fp8_relu2", "nvfp4_relu2"),
        *("w4a16_ds_remote", "w4a16_relu2"),
        *("mxfp4_situ", "bf16_step", "tensor_situ", "sparsemixer_routing", "softcap_routing"),
        *("softmax_groups_routing", "softmax_each_group_renorm_routing"),
        *("softmax_renorm_expert_scale_routing", "sigmoid_bias_routing"),
        *("sqrtsoftplus_hash_renorm_routing", "sqrtsoftplus_bias_renorm_routing"),
    )
    plain = list(SMALL)[: list(SMALL).index("tensor_ds_remote")]
    names = [name for name in (*plain, *more) if name not in left_out]
    return [
        with_constants(
            definition_of(moe),
            TOKEN_CHUNK=136,
            INTERMEDIATE_CHUNK=256 if moe.weights is FP8_BLOCK else 32,
            WEIGHTS_AT_ONCE=2 * 3 * moe.intermediate_size * moe.hidden_size,
            ROWS_AT_ONCE=40,
            SUMMED_AT_ONCE=64,
        )
        for moe in (_unlike(SMALL[name]) for name in names)
    ]


def _unlike(moe: Moe) -> Moe:
    """The kernel with sizes that differ from each other."""
    if moe.num_groups > 1:
        moe = attrs.evolve(moe, num_experts=2 * moe.num_experts)
    return attrs.evolve(moe, intermediate_size=384) if moe.weights is FP8_BLOCK else moe


@pytest.fixture(name="definition_of")
def definition_of_fixture() -> Callable[..., Definition]:
    return definition_of


@pytest.fixture(name="small")
def small_fixture() -> dict[str, Moe]:
    return SMALL


@pytest.fixture(name="load_run")
def load_run_fixture() -> Callable[[str], Callable[..., Any]]:
    return load_run


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(fibcore_op_moe, "moe")


@pytest.fixture(scope="session")
def trees() -> Any:
    """The module `moe_trees` beside this file."""
    path = Path(__file__).with_name("moe_trees.py")
    spec = importlib.util.spec_from_file_location("moe_trees", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made
