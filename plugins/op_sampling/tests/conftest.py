"""What the tests of sampling share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

import fibcore_op_sampling as plugin
from fibcore.plugin import (
    Definition,
    Extraction,
    ModelTree,
    Serving,
    TensorRef,
    Unknown,
    with_origins,
)
from fibcore.testing.harness import harness
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, module, operation, tree

SAMPLER = "sglang.srt.layers.sampler.Sampler"
STEMS = (
    "top_k_sampling_from_probs",
    "top_p_sampling_from_probs",
    "top_k_top_p_sampling_from_probs",
    "top_k_top_p_sampling_from_probs_joint",
    "min_p_sampling",
    "sampling_from_probs",
    "top_k_renorm_probs",
    "top_p_renorm_probs",
    "softmax",
)


def make_tree(vocab_size: Any = 128256) -> ModelTree:
    """A model whose sampler calls what SGLang's does."""
    size = with_origins(vocab_size, frozenset({"config:vocab_size"}))
    logits = TensorRef((Unknown("the number of requests"), size), "float32")
    one = TensorRef((Unknown("the number of requests"),), "float32")
    calls = [
        operation("torch.argmax", logits, -1, module="sampler", possible=True),
        operation("torch.softmax", logits, module="sampler", dim=-1),
        operation(
            "torch.multinomial", logits, module="sampler", callers=("x.sampling_from_probs_torch",)
        ),
        operation("sgl_kernel.top_k_renorm_prob", logits, one, module="sampler"),
        operation("sgl_kernel.top_p_renorm_prob", TENSOR, one, module="sampler"),
        operation("sgl_kernel.min_p_sampling_from_probs", TENSOR, one, module="sampler"),
        operation(
            "sgl_kernel.top_k_top_p_sampling_from_probs",
            *(logits, one, one),
            module="sampler",
            filter_apply_order="joint",
        ),
    ]
    return tree(kernel_calls=calls, parts=[module("sampler", SAMPLER)])


def extract(made: ModelTree, order: str = "top_k_first") -> Extraction:
    return plugin.fibcore_extract(made, Serving(options={"sampling_order": order}))


def make_definition(stem: str, vocab_size: int = 64) -> Definition:
    order = "joint" if stem.endswith("_joint") else "top_k_first"
    kernels = {k.name: k for k in extract(make_tree(vocab_size), order).kernels}
    return plugin.fibcore_reference(kernels[f"{stem}_v{vocab_size}"])


def small_definitions() -> list[Definition]:
    """One of each reference, so small that tests take little time, with chunks as small."""
    made = [make_definition(stem) for stem in STEMS]
    return [
        d if d.name.startswith("softmax") else with_constants(d, CHUNK_ELEMENTS=64 * 1024)
        for d in made
    ]


@pytest.fixture(name="make_tree")
def _make_tree() -> Callable[[int], ModelTree]:
    """Makes a model with a vocabulary, whose sampler calls what SGLang's does."""
    return make_tree


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes a definition of a name without size, and a vocabulary."""
    return make_definition


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "sampling", seed=7)


@pytest.fixture(params=STEMS)
def stem(request: pytest.FixtureRequest) -> str:
    """Every kind of kernel."""
    return str(request.param)


@pytest.fixture
def run_truth() -> Callable[[Definition, str, dict[str, Any]], Any]:
    """Runs a ground truth of a kind on inputs; skips where SGLang's source is not at hand."""

    def run(made: Definition, kind: str, inputs: dict[str, Any]) -> Any:
        (truth,) = (t for t in plugin.fibcore_ground_truths(made) if t.kind == kind)
        loaders: Sequence[Any] = ()
        if kind == "sglang":
            package, reason = harness().find_sglang(None)
            if package is None:
                pytest.skip(reason)
            loaders = (harness().SGLangSource(package),)
        namespace: dict[str, Any] = {"__name__": "ground_truth"}
        exec(truth.source, namespace)  # noqa: S102 - the ground truth is what is tested
        return namespace[truth.entry](*loaders, **inputs)

    return run
