"""The elaborated tree against transformers' own classes: two programs, one set of constants.

transformers builds the model on the meta device; what it is built of is compared module by module
with what the evaluator makes of SGLang's source. The configs stand beside the project.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import meta_oracle
import pytest
from meta_oracle import NORM, Fact, Facts, place

from fibcore.model.tree import ModelTree, ModuleNode, ParameterRef

# transformers and torch warn of what they will change; that is not what is tested.
pytestmark = pytest.mark.filterwarnings("ignore")

CONFIGS = Path(__file__).parents[3] / "shared" / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.json")) if CONFIGS.is_dir() else []
# Modules that a class of transformers lacks although its model has them.
SGLANG_ONLY = {"deepseek_v32": ".indexer"}  # transformers 4.57 has V3's class, without the indexer
# Constants that differ for a reason: words of the facts, transformers' value and SGLang's.
INSTEAD = {
    # YaRN's mscale, squared, is in the scaling of DeepSeek's own code and of SGLang;
    # transformers' class of V3 has it, and that of V2 leaves it out.
    "deepseek-ai--DeepSeek-V2-Lite": (
        {"attention"},
        meta_oracle.rounded(192**-0.5),
        meta_oracle.rounded(192**-0.5 * (0.1 * 0.707 * math.log(40) + 1) ** 2),
    ),
    # SGLang's norms of latent attention have the config's eps, transformers' the class's default.
    "nvidia--Kimi-K2.5-NVFP4": ({"q_a_layernorm", "kv_a_layernorm"}, 1e-6, 1e-5),
}
# Elaborated without their quantisation, whose thousands of ignored names take all of the time.
UNQUANTIZED = {"nvidia--Kimi-K2.5-NVFP4"}


@pytest.fixture(autouse=True)
def _oracle() -> None:
    pytest.importorskip("torch", reason="needs torch (extra oracle)")
    pytest.importorskip("transformers", reason="needs transformers (extra oracle)")
    if not NAMES:
        pytest.skip(f"no configs in {CONFIGS}")


def config_of(name: str) -> Any:
    return json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES or ["none"])
def test_tree_has_the_constants_of_transformers(name: str, real: Callable[..., ModelTree]) -> None:
    config = config_of(name)
    expected = meta_oracle.facts(config)
    if expected is None:
        pytest.skip(f"transformers has no causal class of {config['model_type']}")
    if name in UNQUANTIZED:
        config["text_config"].pop("quantization_config", None)
        config.pop("quantization_config", None)
    tree = real(config)
    found = facts_of(tree, config["model_type"], meta_oracle.is_tied(config))
    for layer, facts in expected.items():
        facts = with_fused_shared_experts(facts, found[layer])
        facts = with_differences(facts, name)
        expected[layer] = facts
        assert (layer, facts - found[layer]) == (layer, Counter()), "transformers alone has these"
        assert (layer, found[layer] - facts) == (layer, Counter()), "SGLang alone has these"
    # Where transformers built the first layers, each later one is as one of them.
    kinds = [facts for layer, facts in expected.items() if layer is not None]
    language = meta_oracle.language_config(config)
    assert len(found) - 1 == language.get("num_hidden_layers", language.get("n_layers"))
    for layer in found.keys() - expected.keys():
        assert found[layer] in kinds, layer


def test_thirty_models_are_compared() -> None:
    assert sum(meta_oracle.has_class(config_of(name)) for name in NAMES) >= 30


def facts_of(tree: ModelTree, model_type: str, tied: bool) -> Facts:
    """The facts of a tree, as the oracle has them."""
    found: Facts = defaultdict(Counter)
    for node in tree.walk():
        layer, below = place(node.path)
        left_out = SGLANG_ONLY.get(model_type)
        if re.search("vision|projector", node.path) or (left_out and left_out in node.path):
            continue
        if not (tied and node.is_a("ParallelLMHead")):
            found[layer].update(_facts(tree, node, below))
    return found


def _facts(tree: ModelTree, node: ModuleNode, below: str) -> Iterator[Fact]:
    parent, _, name = below.rpartition(".")
    a = node.argument
    has_bias = a("bias") not in (None, False)
    if node.is_a("ParallelLMHead"):
        yield "linear", name, a("embedding_dim"), a("num_embeddings"), has_bias
    elif node.is_a("VocabParallelEmbedding", "torch.nn.Embedding"):
        yield "embedding", a("num_embeddings"), a("embedding_dim")
    elif node.is_a("QKVParallelLinear"):
        heads = a("total_num_heads") + 2 * a("total_num_kv_heads")
        yield "linear", name, a("hidden_size"), heads * a("head_size"), has_bias
    elif node.is_a("LinearBase"):
        shared = "shared_" if "shared_expert" in parent else ""
        # A subclass that hands `*args` on has the sizes as attributes alone.
        sizes = {**node.attributes, **node.arguments}
        out = sum(a("output_sizes")) if a("output_sizes") else sizes["output_size"]
        yield "linear", shared + name, sizes["input_size"], out, has_bias
    elif node.is_a("torch.nn.Linear"):
        yield "linear", name, a("in_features"), a("out_features"), has_bias
    elif node.is_a("RadixAttention"):
        yield _attention(a)
    elif NORM.search(node.class_name):
        size = a("hidden_size", a("normalized_shape", a("dim")))
        yield "norm", name, None if a("has_weight") is False else size, a("eps")
    elif node.is_a("FusedMoE"):
        top_k = a("top_k") or _top_k(tree, node)
        yield "experts", a("num_experts"), top_k, a("hidden_size"), a("intermediate_size")
    elif name in ("gate", "router"):
        weight = node.attributes.get("weight")
        if isinstance(weight, ParameterRef) and weight.shape is not None:
            yield "linear", name, weight.shape[1], weight.shape[0], False
    elif isinstance(weight := node.attributes.get("ws"), ParameterRef):  # DBRX
        assert weight.shape is not None
        count, twice, hidden = weight.shape
        yield "experts", count, node.children["topk"].argument("top_k"), hidden, twice // 2


def _attention(a: Callable[[str], Any]) -> Fact:
    # SGLang counts the keys before a token's own, transformers the token as well.
    window = None if a("sliding_window_size") in (None, -1) else a("sliding_window_size") + 1
    size = a("head_dim")
    value_size = size if a("v_head_dim") == -1 else a("v_head_dim")
    scaling = meta_oracle.rounded(a("scaling"))
    heads = a("num_heads"), a("num_kv_heads")
    return "attention", *heads, size, value_size, scaling, window, a("logit_cap") or None


def _top_k(tree: ModelTree, experts: ModuleNode) -> Any:
    block = tree.parent(experts.path)
    assert block is not None
    return block.children["topk"].argument("top_k")


def with_fused_shared_experts(facts: Counter[Fact], found: Counter[Fact]) -> Counter[Fact]:
    """The facts as they are where SGLang computes shared experts as routed ones.

    That is a choice of SGLang's, which more experts than the router knows tell; what it makes of
    the constants is not: their size is a multiple of a routed one's.
    """
    routed = [fact for fact in facts if fact[0] == "experts"]
    served = [fact for fact in found if fact[0] == "experts"]
    shared = [fact for fact in facts if fact[1] == "shared_down_proj"]
    if not (routed and served and shared) or served[0][1] == routed[0][1]:
        return facts
    _, count, top_k, hidden, size = routed[0]
    more = shared[0][2] // size
    left = Counter({f: n for f, n in facts.items() if not str(f[1]).startswith("shared_")})
    left[routed[0]] -= 1
    left["experts", count + more, top_k + more, hidden, size] += 1
    gates = Counter({f: n for f, n in facts.items() if f[1] == "shared_expert_gate"})
    return +(left + gates)


def with_differences(facts: Counter[Fact], name: str) -> Counter[Fact]:
    """The facts with what is known to differ in this model."""
    words, theirs, ours = INSTEAD.get(name, (frozenset(), None, None))
    changed: Counter[Fact] = Counter()
    for fact, times in facts.items():
        if words.intersection(fact):
            assert theirs in fact, "the difference is gone"
            fact = tuple(ours if value == theirs else value for value in fact)
        changed[fact] += times
    return changed
