"""What the tests of norms share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_rmsnorm as plugin
from fibcore.plugin import Definition, Kernel, Serving
from fibcore.testing.harness import harness
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, call, module, tree


def make_kernel(stem: str, hidden_size: int = 4096, eps: float = 1e-5) -> Kernel:
    cls = "GemmaRMSNorm" if stem.startswith("gemma") else "RMSNorm"
    calls = (call(TENSOR, TENSOR) if "fused" in stem else call(TENSOR),)
    arguments = {"hidden_size": hidden_size, "eps": eps}
    node = module("n", f"sglang.srt.layers.layernorm.{cls}", arguments, calls=calls)
    (found,) = plugin.fibcore_extract(tree(node), Serving(tp=8)).kernels
    return found


def make_definition(stem: str, hidden_size: int = 4096, eps: float = 1e-5) -> Definition:
    return plugin.fibcore_reference(make_kernel(stem, hidden_size, eps))


def make_wide(hidden_size: int = 128) -> Definition:
    """The definition whose rows are float32, as linear attention has them."""
    kernel = make_kernel("rmsnorm", hidden_size)
    name = f"rmsnorm_h{hidden_size}_float32"
    parameters = {**kernel.parameters, "dtype": "float32"}
    return plugin.fibcore_reference(attrs.evolve(kernel, name=name, parameters=parameters))


def small_definitions() -> list[Definition]:
    """One of each reference, so small that tests take milliseconds, with chunks as small."""
    stems = ("rmsnorm", "fused_add_rmsnorm", "gemma_rmsnorm", "gemma_fused_add_rmsnorm")
    made = [*(make_definition(stem, 512) for stem in stems), make_wide(512)]
    return [with_constants(each, CHUNK_ELEMENTS=512 * 40) for each in made]


@pytest.fixture
def kernel() -> Callable[..., Kernel]:
    """Makes a kernel of a name without sizes, a row length and an epsilon."""
    return make_kernel


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes a definition of a name without sizes, a row length and an epsilon."""
    return make_definition


@pytest.fixture
def wide() -> Callable[..., Definition]:
    """Makes a definition whose rows are float32."""
    return make_wide


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "rmsnorm", seed=7)


@pytest.fixture
def native() -> Callable[[Definition, dict[str, Any]], Any]:
    """Runs SGLang's own method on inputs; skips where its source is not at hand."""
    package, reason = harness().find_sglang(None)
    if package is None:
        pytest.skip(reason)

    def run(made: Definition, inputs: dict[str, Any]) -> Any:
        (truth,) = (t for t in plugin.fibcore_ground_truths(made) if t.kind == "sglang")
        namespace: dict[str, Any] = {"__name__": "ground_truth"}
        exec(truth.source, namespace)  # noqa: S102 - the ground truth is what is tested
        return namespace[truth.entry](harness().SGLangSource(package), **inputs)

    return run
