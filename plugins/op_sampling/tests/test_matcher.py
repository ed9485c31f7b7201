"""The sampling matcher: whose logits are sampled, and over which vocabulary."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import fibcore_op_sampling as plugin
from fibcore.plugin import (
    Alternatives,
    Extraction,
    ModuleNode,
    ModuleRef,
    ParameterRef,
    Serving,
    Unknown,
    with_origins,
)
from fibcore.testing.real_trees import VERSIONS, real_tree, sglang_package
from fibcore.testing.trees import TENSOR, call, module, tree
from fibcore_op_sampling.names import KINDS

LAYERS = "sglang.srt.layers."
LOGITS = LAYERS + "logits_processor.LogitsProcessor"
HEAD = LAYERS + "vocab_parallel_embedding.ParallelLMHead"
EMBEDDING = LAYERS + "vocab_parallel_embedding.VocabParallelEmbedding"
VOCABULARY = with_origins(128256, frozenset({"config:vocab_size"}))


def head(path: str = "lm_head", cls: str = HEAD, **changed: Any) -> ModuleNode:
    arguments = {"num_embeddings": VOCABULARY, "embedding_dim": 64, "org_num_embeddings": None}
    return module(path, cls, {**arguments, **changed})


def processor(*given: Any, path: str = "logits_processor") -> ModuleNode:
    return module(path, LOGITS, calls=[call(TENSOR, TENSOR, *given)] if given else [])


def extract(
    *nodes: ModuleNode, architecture: str = "ExampleForCausalLM", **config: Any
) -> Extraction:
    made = attrs.evolve(tree(*nodes, architecture=architecture), config=config)
    return plugin.fibcore_extract(made, Serving(tp=8))


def test_a_model_with_logits_runs_all_that_requests_can_ask_for() -> None:
    found = extract(head(), processor(ModuleRef("lm_head")))
    assert [k.name for k in found.kernels] == [f"{stem}_v128256" for stem in KINDS]
    assert "top_k_top_p_sampling_from_probs_v128256" in {k.name for k in found.kernels}
    assert not found.problems
    assert found.claimed == {"logits_processor"}
    for kernel in found.kernels:
        assert kernel.facts["vocab_size"].value == 128256
        assert kernel.facts["vocab_size"].origins == ("config:vocab_size",)
        assert [use.path for use in kernel.uses] == ["logits_processor"]
        (tag,) = kernel.tags
        assert tag.startswith("fi_api:flashinfer.sampling.")


def test_the_order_of_filters_is_an_option_and_a_note() -> None:
    made = tree(head(), processor(ModuleRef("lm_head")))
    plain = plugin.fibcore_extract(made, Serving())
    joint = plugin.fibcore_extract(made, Serving(options={"sampling_order": "joint"}))
    (kernel,) = (k for k in plain.kernels if k.name.startswith("top_k_top_p"))
    assert "filter_apply_order='joint'" in kernel.notes[0]
    (other,) = (k for k in joint.kernels if k.name.startswith("top_k_top_p"))
    assert other.name == "top_k_top_p_sampling_from_probs_joint_v128256"
    assert not other.notes
    assert len(plain.kernels) == len(joint.kernels)


@pytest.mark.parametrize(
    ("given", "node"),
    [
        (ModuleRef("embed"), head("embed", EMBEDDING)),
        (ParameterRef("embed.weight", (128256, 64)), head("embed", EMBEDDING)),
        (Alternatives((None, ModuleRef("lm_head"))), head()),
        (
            ModuleRef("lm_head"),
            module("lm_head", "sglang.srt.layers.linear.ReplicatedLinear", {"output_size": 128256}),
        ),
        (ModuleRef("lm_head"), module("lm_head", "torch.nn.Linear", {"out_features": 128256})),
        (TENSOR, head()),
    ],
    ids=["tied", "tied weight", "alternatives", "linear", "torch linear", "the only head"],
)
def test_what_makes_the_logits(given: Any, node: ModuleNode) -> None:
    found = extract(node, processor(given))
    assert {k.facts["vocab_size"].value for k in found.kernels} == {128256}


def test_padding_and_added_rows_are_no_tokens() -> None:
    padded = head(num_embeddings=128512, org_num_embeddings=128256)
    found = extract(padded, processor(ModuleRef("lm_head")))
    assert found.kernels[0].name.endswith("_v128256")
    cut = extract(head(), processor(ModuleRef("lm_head")), vocab_size=128000)
    assert cut.kernels[0].name.endswith("_v128000")
    assert cut.kernels[0].facts["vocab_size"].origins == ("config:vocab_size",)
    assert "128256 rows" in cut.kernels[0].facts["vocab_size"].note


def test_what_is_not_known_is_a_problem() -> None:
    unknown = extract(
        head(num_embeddings=Unknown("set at run time")), processor(ModuleRef("lm_head"))
    )
    silent = extract(processor(TENSOR))
    either = Alternatives((ModuleRef("lm_head"), ModuleRef("other")))
    two = extract(head(), head("other", num_embeddings=100), processor(either))
    for found, reason in ((unknown, "set at run time"), (silent, "no call"), (two, "100 of other")):
        assert not found.kernels
        (problem,) = found.problems
        assert problem.what == "sampling kernels"
        assert reason in problem.reason


def test_models_without_logits_and_drafts_have_none() -> None:
    assert extract(head()) == Extraction()
    assert extract(head(), processor()) == Extraction()
    for architecture in ("DeepseekV3ForCausalLMNextN", "LlamaForCausalLMEagle3", "Qwen3_5MTP"):
        found = extract(head(), processor(ModuleRef("lm_head")), architecture=architecture)
        assert found == Extraction()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("model", "vocabulary"), [("llama-3.1-8b", 128256), ("qwen3-0.6b", 151936)]
)
def test_real_models(version: str, model: str, vocabulary: int) -> None:
    package = sglang_package(version)
    if package is None:
        pytest.skip(f"SGLang {version} is not at hand")
    found = plugin.fibcore_extract(real_tree(package, version, model, Serving()), Serving())
    assert [k.name for k in found.kernels] == [f"{stem}_v{vocabulary}" for stem in KINDS]
    assert not found.problems
    fact = found.kernels[0].facts["vocab_size"]
    assert fact.origins == ("config:vocab_size",)
