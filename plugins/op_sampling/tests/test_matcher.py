"""The sampling matcher: which kernels the Sampler calls, and over which vocabulary."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import fibcore_op_sampling as plugin
from fibcore.plugin import Extraction, Missing, Operation, Serving, TensorRef, Unknown, with_origins
from fibcore.testing.real_trees import VERSIONS, real_tree, sglang_package
from fibcore.testing.trees import TENSOR, call, module, operation, tree
from fibcore_op_sampling.names import KINDS

BOTH = "flashinfer.sampling.top_k_top_p_sampling_from_probs"
VOCABULARY = with_origins(128256, frozenset({"config:vocab_size"}))
REQUESTS = Unknown("the number of requests")
PROBS = TensorRef((REQUESTS, VOCABULARY), "float32")
SAMPLER = module("sampler", "sglang.srt.layers.sampler.Sampler")


def sampling(function: str, *args: Any, **more: Any) -> Operation:
    return operation(function, *(args or (PROBS,)), module="sampler", **more)


def extract(*calls: Operation, architecture: str = "ExampleForCausalLM") -> Extraction:
    made = tree(kernel_calls=calls, parts=[SAMPLER], architecture=architecture)
    return plugin.fibcore_extract(made, Serving(tp=8))


def names(found: Extraction) -> list[str]:
    return [kernel.name for kernel in found.kernels]


def test_a_sampler_runs_all_that_requests_can_ask_for(make_tree: Any) -> None:
    found = plugin.fibcore_extract(make_tree(128256), Serving(tp=8))
    assert set(names(found)) == {f"{stem}_v128256" for stem in KINDS}
    assert not found.problems
    for kernel in found.kernels:
        assert kernel.facts["vocab_size"].value == 128256
        assert [use.path for use in kernel.uses] == ["sampler"]
        (tag,) = kernel.tags
        assert tag.startswith("fi_api:flashinfer.sampling.")
    assert found.kernels[0].facts["vocab_size"].origins == ("config:vocab_size",)
    # A step draws in one way or another; softmax comes before all of them.
    assert {k.choice for k in found.kernels if not k.name.startswith("softmax")} == {
        "the next tokens"
    }
    (greedy,) = found.not_covered
    assert greedy.choice == "the next tokens"
    assert greedy.what == "argmax of logits"
    assert len(found.claimed) == 7


@pytest.mark.parametrize(
    ("function", "callers", "expected"),
    [
        ("torch.softmax", (), ["softmax"]),
        ("sglang.kernels.ops.sampling.softmax", (), ["softmax"]),
        ("torch.Tensor.argmax", ("s.sampling_from_probs_torch",), ["sampling_from_probs"]),
        ("torch.multinomial", (), ["sampling_from_probs"]),
        ("sgl_kernel.top_p_renorm_prob", (), ["top_p_renorm_probs"]),
        ("flashinfer.sampling.top_k_sampling_from_probs", (), ["top_k_sampling_from_probs"]),
        ("flashinfer.sampling.min_p_sampling_from_probs", (), ["min_p_sampling"]),
        ("torch.log_softmax", (), []),
    ],
)
def test_functions_by_name(function: str, callers: tuple[str, ...], expected: list[str]) -> None:
    found = extract(sampling(function, callers=callers))
    assert names(found) == [f"{stem}_v128256" for stem in expected]


def test_the_order_of_filters_is_an_option_and_a_note() -> None:
    call = sampling(BOTH, filter_apply_order="joint")
    made = tree(kernel_calls=[call], parts=[SAMPLER])
    for order, name in (("top_k_first", ""), ("joint", "_joint")):
        found = plugin.fibcore_extract(made, Serving(options={"sampling_order": order}))
        (kernel,) = (k for k in found.kernels if k.name.startswith("top_k_top_p"))
        assert kernel.name == f"top_k_top_p_sampling_from_probs{name}_v128256"
        assert bool(kernel.notes) is (order == "top_k_first")
        # With one of the filters alone there is no order.
        assert {"top_k_sampling_from_probs_v128256", "top_p_sampling_from_probs_v128256"} < {
            k.name for k in found.kernels
        }
    plain = extract(sampling(BOTH)).kernels[-1]
    assert plain.name.startswith("top_k_top_p")
    assert not plain.notes
    strange = extract(sampling(BOTH, filter_apply_order=Unknown("an option")))
    assert "an option" in strange.problems[0].reason
    assert not any(name.startswith("top_k_top_p") for name in names(strange))


def test_rows_that_came_out_of_a_kernel_have_the_vocabulary_of_those_that_went_in() -> None:
    found = extract(
        sampling("sgl_kernel.top_k_renorm_prob"), sampling("sgl_kernel.top_p_renorm_prob", TENSOR)
    )
    assert names(found) == ["top_k_renorm_probs_v128256", "top_p_renorm_probs_v128256"]


@pytest.mark.parametrize(
    "rows",
    [
        TensorRef((REQUESTS, Unknown("set at run time")), "float32"),
        TensorRef((REQUESTS, VOCABULARY), "bfloat16"),
        TensorRef((VOCABULARY,), "float32"),
        TensorRef(None, "float32"),
        TENSOR,
    ],
    ids=["size", "dtype", "one row", "rank", "tensor"],
)
def test_what_is_not_known_is_a_problem(rows: Any) -> None:
    found = extract(sampling("torch.softmax", rows))
    assert not found.kernels
    (problem,) = found.problems
    assert "softmax" in problem.reason


def test_only_the_sampler_samples() -> None:
    router = operation("torch.softmax", PROBS, module="model.layers.0.mlp")
    made = tree(module("model", "M"), kernel_calls=[router], parts=[SAMPLER])
    assert plugin.fibcore_extract(made, Serving()) == Extraction()


def test_models_without_logits_and_drafts_have_none() -> None:
    assert plugin.fibcore_extract(tree(), Serving()) == Extraction()
    for architecture in ("DeepseekV3ForCausalLMNextN", "LlamaForCausalLMEagle3", "Qwen3_5MTP"):
        assert extract(sampling("torch.softmax"), architecture=architecture) == Extraction()


def test_poolers_run_for_embeddings_alone() -> None:
    logits = module(
        "logits", "sglang.srt.layers.logits_processor.LogitsProcessor", calls=[call(TENSOR)]
    )
    pooler = module("pooler", "sglang.srt.layers.pooler.Pooler")
    assert plugin.fibcore_extract(tree(logits, pooler), Serving()).claimed == {"pooler"}
    assert not plugin.fibcore_extract(tree(pooler), Serving()).claimed
    called = attrs.evolve(pooler, calls=(call(TENSOR),))
    for nodes in ((called,), (logits, called)):
        found = plugin.fibcore_extract(tree(*nodes), Serving())
        assert found.claimed == {"pooler"}
        assert [op.what for op in found.not_covered] == ["pooler of embeddings"]


def test_a_model_s_own_sampler_that_nothing_calls_is_claimed() -> None:
    own = module("own", "sglang.srt.layers.sampler.Sampler")
    assert plugin.fibcore_extract(tree(own), Serving()).claimed == {"own"}
    called = attrs.evolve(own, calls=(call(TENSOR),))
    assert not plugin.fibcore_extract(tree(called), Serving()).claimed


def test_a_sampler_that_cannot_be_followed_is_a_problem() -> None:
    made = tree(module("logits", "sglang.srt.layers.logits_processor.LogitsProcessor"))
    missing = (Missing("sampler", "not followed: it raised"),)
    followed = made.followed.known(attrs.evolve(made.followed.get(), missing=missing))
    found = plugin.fibcore_extract(attrs.evolve(made, followed=followed), Serving())
    (problem,) = found.problems
    assert problem.reason == "not followed: it raised"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("model", "vocabulary"), [("llama-3.1-8b", 128256), ("qwen3-0.6b", 151936)]
)
def test_real_models(version: str, model: str, vocabulary: int) -> None:
    package = sglang_package(version)
    if package is None:
        pytest.skip(f"SGLang {version} is not at hand")
    found = plugin.fibcore_extract(real_tree(package, version, model, Serving()), Serving())
    assert set(names(found)) == {f"{stem}_v{vocabulary}" for stem in KINDS}
    assert not found.problems
    assert found.kernels[0].facts["vocab_size"].origins == ("config:vocab_size",)
