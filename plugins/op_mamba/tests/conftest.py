"""What the tests share: mixers, kernels and definitions in sizes of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_mamba as plugin
from fibcore.plugin import Definition, ModuleNode, ParameterRef, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import module, tree

CLASS = "sglang.srt.layers.attention.mamba.mamba.MambaMixer2"
SMALL = {"nheads": 4, "head_dim": 6, "ssm_state_size": 8, "n_groups": 2}


def make_mixer(path: str = "mixer", *, nheads: Any = 64, **changed: Any) -> ModuleNode:
    """A mixer of SGLang with the sizes of Nemotron-3, on one rank."""
    attributes = {
        "tp_size": 1,
        "head_dim": 64,
        "ssm_state_size": 128,
        "n_groups": 8,
        "A": ParameterRef(f"{path}.A", (nheads,), "float32"),
    }
    node = module(path, CLASS)
    return attrs.evolve(node, attributes={**attributes, **changed}, leaf=False)


def make_definition(form: str = "decode", **sizes: Any) -> Definition:
    kernels = plugin.fibcore_extract(tree(make_mixer(**sizes)), Serving(tp=8)).kernels
    (kernel,) = (k for k in kernels if k.parameters["form"] == form)
    return plugin.fibcore_reference(kernel)


def small(form: str) -> Definition:
    """A definition so small that tests take milliseconds, in chunks and blocks as small."""
    made = make_definition(form, **SMALL)
    if form == "decode":
        return with_constants(made, CHUNK_ELEMENTS=4 * 6 * 8 * 2)
    return with_constants(made, CHUNK=8, BLOCK_ELEMENTS=4 * 8 * 8 * 2)


def small_definitions() -> list[Definition]:
    """One of each reference."""
    return [small(form) for form in ("decode", "prefill")]


@pytest.fixture
def mixer() -> Callable[..., ModuleNode]:
    """Makes a mixer with other attributes."""
    return make_mixer


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes a definition of a form and sizes."""
    return make_definition


@pytest.fixture
def small_one() -> Callable[..., Definition]:
    """Makes a small definition of a form."""
    return small


@pytest.fixture(scope="session")
def templates() -> dict[str, Template]:
    """The template by form."""
    names = {"decode": "mamba_ssu", "prefill": "mamba_ssd"}
    return {form: Template.of(plugin, name, seed=7) for form, name in names.items()}
