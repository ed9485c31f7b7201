"""The matcher on hand-written trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from fibcore.plugin import Alternatives, Extraction, ModuleNode, Serving, Unknown
from fibcore.plugin import with_origins as origins
from fibcore.testing.trees import tree
from fibcore_op_lightning import matcher

Layer = Callable[..., ModuleNode]

MINICPM = "sglang.srt.models.minicpm.MiniCPMLightningMixer"


def extract(*nodes: ModuleNode, serving: Serving | None = None) -> Extraction:
    return matcher.extract(tree(*nodes), serving or Serving())


def names(found: Extraction) -> dict[str, list[str]]:
    return {k.name: [u.path for u in k.uses] for k in found.kernels}


def test_a_layer_has_a_kernel_of_each_stage(layer: Layer) -> None:
    found = extract(layer("a"), layer("b"))
    assert names(found) == {
        "lightning_attention_decode_h8_d128_float32": ["a.attn", "b.attn"],
        "lightning_attention_prefill_h8_d128_float32": ["a.attn", "b.attn"],
    }
    assert found.claimed == {"a.attn", "b.attn"}
    assert not found.problems
    assert not found.not_covered


def test_what_a_model_hands_over_has_its_dtype(layer: Layer) -> None:
    found = extract(layer(holder=MINICPM, num_heads=4, num_kv_heads=4, head_dim=64))
    assert list(names(found)) == [
        "lightning_attention_decode_h4_d64",
        "lightning_attention_prefill_h4_d64",
    ]


def test_stages_that_are_not_served_have_no_kernel(layer: Layer) -> None:
    found = extract(layer(), serving=Serving(stages=("decode",)))
    assert list(names(found)) == ["lightning_attention_decode_h8_d128_float32"]


def test_a_number_remembers_its_config_key(layer: Layer) -> None:
    heads = origins(4, frozenset({"config:num_attention_heads"}))
    kernel = extract(layer(num_heads=heads, num_kv_heads=4)).kernels[0]
    assert kernel.facts["num_heads"].origins == ("config:num_attention_heads",)


@pytest.mark.parametrize("name", ["num_heads", "num_kv_heads", "head_dim"])
@pytest.mark.parametrize("value", [Unknown("it is read from a file"), Alternatives((1, 2))])
def test_what_is_not_known_is_a_problem(layer: Layer, name: str, value: Any) -> None:
    found = extract(layer(**{name: value}))
    assert not found.kernels
    (problem,) = found.problems
    assert name in problem.reason


def test_heads_that_do_not_fit_are_a_problem(layer: Layer) -> None:
    (problem,) = extract(layer(num_kv_heads=2)).problems
    assert problem.reason == "8 query heads and 2 key heads do not fit"


def test_a_layer_that_is_not_run_is_named(layer: Layer) -> None:
    node = layer()
    idle = attrs.evolve(node.children["attn"], calls=(), idle=True)
    found = extract(attrs.evolve(node, children={"attn": idle}))
    assert not found.kernels
    assert [n.what for n in found.not_covered] == ["RadixAttention that is not run"]


def test_softmax_attention_is_left_to_others(layer: Layer) -> None:
    assert extract(layer(holder="sglang.srt.models.llama.LlamaAttention")) == Extraction()
