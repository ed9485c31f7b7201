"""What the tests share: layers, kernels and definitions in sizes of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_split_rmsnorm as plugin
from fibcore.plugin import Definition, ModelTree, ParameterRef, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, module, operation, tree

FUNCTION = "sglang.srt.models.minimax_m2.rms_apply_serial"
NORM = "sglang.srt.models.minimax_m2.MiniMaxM2RMSNormTP"


def make_layers(
    *paths: str, q_size: Any = 1536, k_size: Any = 256, ranks: Any = 4, eps: Any = 1e-6
) -> ModelTree:
    """Attention layers that hand the weights of their norms to a function."""
    nodes, calls = [], []
    for path in paths or ("layers.3",):
        norms = [module(f"{path}.{name}_norm", NORM) for name in "qk"]
        nodes.append(module(path, "sglang.srt.models.minimax_m2.Attention", children=norms))
        weights = [
            ParameterRef(f"{path}.{name}_norm.weight", (size,), None)
            for name, size in (("q", q_size), ("k", k_size))
        ]
        given = (TENSOR, TENSOR, *weights, TENSOR, ranks, eps)
        calls.append(operation(FUNCTION, *given, module=path))
    return tree(*nodes, operations=calls)


def make_definition(form: str = "sums", **changed: Any) -> Definition:
    kernels = plugin.fibcore_extract(make_layers(**changed), Serving()).kernels
    (kernel,) = (k for k in kernels if k.parameters["form"] == form)
    return plugin.fibcore_reference(kernel)


def small(form: str) -> Definition:
    """A definition so small that tests take milliseconds, in chunks as small."""
    return with_constants(make_definition(form, q_size=48, k_size=16), CHUNK_ELEMENTS=64 * 40)


def small_definitions() -> list[Definition]:
    """One of each reference."""
    return [small(form) for form in ("sums", "apply")]


@pytest.fixture
def layers() -> Callable[..., ModelTree]:
    """Makes layers with other arguments of the function."""
    return make_layers


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes a definition of a form with other arguments of the function."""
    return make_definition


@pytest.fixture
def small_one() -> Callable[..., Definition]:
    """Makes a small definition of a form."""
    return small


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "split_rmsnorm", seed=7)
