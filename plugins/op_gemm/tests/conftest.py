"""What the tests of GEMMs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_gemm as plugin
from fibcore.plugin import Definition, Kernel, Quantization, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import module, tree

FP8_BLOCK = Quantization("fp8", "float8_e4m3fn", "block", block=(128, 128), activation="dynamic")


def make_kernel(n: int, k: int, quantization: Quantization | None = None) -> Kernel:
    sizes = {"input_size": k, "output_size": n}
    cls = "sglang.srt.layers.linear.ReplicatedLinear"
    node = module("n", cls, sizes, quantization=quantization)
    (found,) = plugin.fibcore_extract(tree(node), Serving()).kernels
    return found


def make_definition(n: int, k: int, quantization: Quantization | None = None) -> Definition:
    return plugin.fibcore_reference(make_kernel(n, k, quantization))


def small_definitions() -> list[Definition]:
    """One of each reference, so small that tests take milliseconds, with chunks as small."""
    plain, blocks = make_definition(200, 320), make_definition(330, 320, FP8_BLOCK)
    kinds = ("fp8_per_channel", "fp8_per_tensor", "mxfp8", "nvfp4", "mxfp4")
    kinds += ("w4a16_nvfp4", "w4a16_mxfp4")
    others = [made_of(f"gemm_{kind}", 400, 320) for kind in kinds]
    return [
        with_constants(plain, CHUNK_ELEMENTS=24 * 2048),
        with_constants(blocks, CHUNK_ELEMENTS=24 * 4096, SPLIT_ROWS=8),
        *(with_constants(one, CHUNK_ELEMENTS=24 * 4096) for one in others),
        with_constants(made_of("bmm_bf16", 96, 64), CHUNK_ELEMENTS=140 * 96),
        with_constants(made_of("bmm_fp8", 96, 64), CHUNK_ELEMENTS=140 * 96),
        with_constants(made_of("bmm_fp8_block_scale", 200, 320), CHUNK_ELEMENTS=150 * 4096),
    ]


def made_of(name: str, n: int, k: int) -> Definition:
    """The definition of a format."""
    kernel = Kernel("gemm", f"{name}_n_{n}_k_{k}", {"N": n, "K": k, "format": name}, {}, ())
    return plugin.fibcore_reference(kernel)


def case_of(made: Definition, m: int, batch_size: int = 3) -> dict[str, Any]:
    """A case of the test template with so many rows."""
    batched = {"batch_size": batch_size} if "batch_size" in made.axes else {}
    return {"id": f"M{m}", "M": m, **batched}


@pytest.fixture
def kernel() -> Callable[..., Kernel]:
    """Makes the kernel of a linear layer of N, K and a quantisation."""
    return make_kernel


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes the definition of a linear layer of N, K and a quantisation."""
    return make_definition


@pytest.fixture
def definition_of() -> Callable[..., Definition]:
    """Makes the definition of a format, N and K."""
    return made_of


@pytest.fixture
def case() -> Callable[..., dict[str, Any]]:
    """Makes a case of the test template for a definition and a number of rows."""
    return case_of


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "gemm", seed=7)


@pytest.fixture
def make_inputs(template: Template) -> Callable[[Definition, int], dict[str, Any]]:
    """Makes the inputs of a definition for a number of rows, the same ones every time."""
    import torch

    def made(definition: Definition, m: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(5)
        made: dict[str, Any] = template.module.make_inputs(
            definition.to_dict(), case_of(definition, m), torch.device("cpu"), generator
        )
        return made

    return made
