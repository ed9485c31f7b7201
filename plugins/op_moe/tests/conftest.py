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
from fibcore_op_moe.activations import SWIGLU_OAI
from fibcore_op_moe.formats import BF16, FP8_BLOCK, FP8_TENSOR, MXFP4, NVFP4
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.routings import DEFAULT, DS, LLAMA4, RENORM

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
    names = [name for name in SMALL if name not in left_out]
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
