"""The matcher on hand-written trees that mirror releases of SGLang."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from fibcore.plugin import (
    Alternatives,
    Extraction,
    ModuleNode,
    Named,
    ParameterRef,
    Quantization,
    Serving,
    Unknown,
)
from fibcore.plugin import with_origins as origins
from fibcore.testing.trees import TENSOR, call, module, tree
from fibcore_op_embedding import matcher

Layer = Callable[..., ModuleNode]

PARALLEL = "sglang.srt.layers.vocab_parallel_embedding.VocabParallelEmbedding"
HEAD = "sglang.srt.layers.vocab_parallel_embedding.ParallelLMHead"
TORCH = "torch.nn.Embedding"
SCALED = "sglang.srt.models.gemma3_causal.Gemma3TextScaledWordEmbedding"


def extract(*nodes: ModuleNode, tp: int = 1) -> Extraction:
    return matcher.extract(tree(*nodes), Serving(tp=tp))


def names(found: Extraction) -> dict[str, list[str]]:
    return {k.name: [u.path for u in k.uses] for k in found.kernels}


def not_covered(found: Extraction) -> list[str]:
    return [op.what for op in found.not_covered]


def test_one_rank_looks_up_in_the_whole_vocabulary(layer: Layer) -> None:
    found = extract(layer("a"), layer("b", embedding_dim=64))
    assert names(found) == {"embedding_v128256_h4096": ["a"], "embedding_v128256_h64": ["b"]}
    assert found.claimed == {"a", "b"}
    assert not found.not_covered
    assert not found.problems
    assert found.kernels[0].tags == ("tp:1",)
    assert found.kernels[0].notes == ()


def test_ranks_have_parts(layer: Layer) -> None:
    (kernel,) = extract(layer(), tp=8).kernels
    assert kernel.name == "vocab_parallel_embedding_v16032_h4096"
    assert kernel.tags == ("tp:8",)
    assert kernel.facts["vocab_size"].value == 16032
    assert kernel.facts["total_vocab_size"].value == 128256


@pytest.mark.parametrize(
    ("vocab", "tp", "name"),
    [
        (50280, 2, "vocab_parallel_embedding_v25152_h4096"),  # 50304 = 786 * 64
        (50280, 4, "vocab_parallel_embedding_v12576_h4096"),
        (50280, 5, "vocab_parallel_embedding_v10112_h4096"),  # a multiple of 5 * 64
    ],
)
def test_parts_are_padded_as_sglang_pads_them(layer: Layer, vocab: int, tp: int, name: str) -> None:
    assert list(names(extract(layer(num_embeddings=vocab), tp=tp))) == [name]


def test_padding_of_a_whole_table_is_a_note(layer: Layer) -> None:
    (kernel,) = extract(layer(num_embeddings=50280)).kernels
    assert kernel.name == "embedding_v50280_h4096"
    assert kernel.notes == ("SGLang pads the table to 50304 rows, which no token has",)


def test_numbers_remember_their_config_keys(layer: Layer) -> None:
    vocab = origins(128256, frozenset({"config:vocab_size"}))
    hidden = origins(4096, frozenset({"config:hidden_size"}))
    node = layer(num_embeddings=vocab, embedding_dim=hidden)
    (kernel,) = extract(node, tp=8).kernels
    assert kernel.facts["vocab_size"].origins == ("config:vocab_size", "serving:tp")
    assert kernel.facts["total_vocab_size"].origins == ("config:vocab_size",)
    assert kernel.facts["hidden_size"].origins == ("config:hidden_size",)
    (whole,) = extract(node).kernels
    assert whole.facts["vocab_size"].origins == ("config:vocab_size",)


@pytest.mark.parametrize(
    "node",
    [
        module(
            "e",
            TORCH,
            {"num_embeddings": 77, "embedding_dim": 512, "padding_idx": None},
            calls=[call(TENSOR)],
        ),
        module(
            "e",
            PARALLEL,
            {"num_embeddings": 77, "embedding_dim": 512, "enable_tp": False},
            calls=[call(TENSOR)],
        ),
    ],
)
def test_what_is_not_split_is_whole_on_every_rank(node: ModuleNode) -> None:
    (kernel,) = extract(node, tp=4).kernels
    assert kernel.name == "embedding_v77_h512"
    assert kernel.tags == ()


def test_a_scaled_embedding_has_its_number_as_an_input(layer: Layer) -> None:
    scale = origins(33.9, frozenset({"config:hidden_size"}))
    for cls, bases in ((SCALED, (TORCH,)), ("x.Gemma3nTextScaledWordEmbedding", (SCALED, TORCH))):
        found = extract(layer(cls=cls, bases=bases, padding_idx=0, embed_scale=scale), tp=2)
        (kernel,) = found.kernels
        assert kernel.name == "scaled_embedding_v128256_h4096"
        assert kernel.parameters["embed_scale"] == 33.9
        assert kernel.facts["embed_scale"].origins == ("config:hidden_size",)
        assert not found.not_covered


@pytest.mark.parametrize("value", [None, True, "a number", Unknown("it is read")])
def test_a_number_that_is_not_known_is_a_problem(layer: Layer, value: Any) -> None:
    found = extract(layer(cls=SCALED, bases=(TORCH,), embed_scale=value))
    assert not found.kernels
    assert "embed_scale" in found.problems[0].reason


@pytest.mark.parametrize("cls", ["sglang.srt.models.opt.OPTLearnedPositionalEmbedding", "m.New"])
@pytest.mark.parametrize("base", [TORCH, PARALLEL])
def test_other_subclasses_are_named(layer: Layer, cls: str, base: str) -> None:
    found = extract(layer(cls=cls, bases=(base,)))
    assert not found.kernels
    assert not_covered(found) == [cls.rpartition(".")[2]]


def test_lm_heads_are_left_to_others(layer: Layer) -> None:
    head = layer("lm_head", cls=HEAD, bases=(PARALLEL,), calls=())
    assert extract(head, module("x", "sglang.srt.layers.linear.ReplicatedLinear")) == Extraction()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"params_dtype": Named("torch.float32")}, "its table is float32"),
        ({"output_dtype": Named("torch.float32")}, "its result is float32"),
        ({"max_norm": 1.0}, "shortens"),
        ({"org_num_embeddings": 128000}, "added words"),
        ({"quantization": Quantization("gguf", "int8", "format")}, "quantised by gguf"),
    ],
)
def test_another_function_is_named(layer: Layer, changed: dict[str, Any], reason: str) -> None:
    found = extract(layer(**changed))
    assert not found.kernels
    assert not_covered(found) == ["VocabParallelEmbedding"]
    assert reason in found.not_covered[0].reason


@pytest.mark.parametrize(
    "changed",
    [
        {"params_dtype": Named("torch.bfloat16")},
        {"output_dtype": Named("torch.float16")},
        {"org_num_embeddings": 128256},
        {"org_num_embeddings": 0},
    ],
)
def test_what_changes_nothing(layer: Layer, changed: dict[str, Any]) -> None:
    assert list(names(extract(layer(**changed)))) == ["embedding_v128256_h4096"]


@pytest.mark.parametrize(
    "name",
    [
        *("num_embeddings", "embedding_dim", "params_dtype", "output_dtype"),
        *("org_num_embeddings", "padding_size", "enable_tp", "max_norm"),
    ],
)
@pytest.mark.parametrize("value", [Unknown("it is read"), Alternatives((2, 4))])
def test_what_is_not_known_is_a_problem(layer: Layer, name: str, value: Any) -> None:
    found = extract(layer(**{name: value}), tp=2)
    assert not found.kernels
    (problem,) = found.problems
    assert name in problem.reason
    assert [u.path for u in problem.uses] == ["embed_tokens"]


def test_an_unknown_quantisation_or_dtype_is_a_problem(layer: Layer) -> None:
    for changed in ({"quantization": Unknown("a file")}, {"params_dtype": "half"}):
        found = extract(layer(**changed))
        assert not found.kernels
        assert len(found.problems) == 1


def test_one_that_is_not_called_is_named(layer: Layer) -> None:
    silent = layer(calls=())
    assert not_covered(extract(silent)) == ["embedding_v128256_h4096 whose call was not found"]
    idle = attrs.evolve(silent, idle=True)
    assert not_covered(extract(idle)) == ["embedding_v128256_h4096 that is not run"]
    other = layer(calls=(call(TENSOR, method="weight_loader"),))
    assert not extract(other).kernels


def tower(*own: str, run: bool = True, leaf: bool = False, **more: Any) -> ModuleNode:
    """A part of a tower with parameters of its own."""
    parameters = {name: ParameterRef(f"tower.{name}", (8, 8, 64), None) for name in own}
    cls = "sglang.srt.models.example.Part"
    calls = [call(TENSOR)] if run else []
    return module("tower", cls, attributes={**parameters, **more}, calls=calls, leaf=leaf)


def test_positions_and_class_tokens_of_towers_are_named() -> None:
    stretched = extract(tower("weight", interpolation_mode="bicubic"))
    assert not_covered(stretched) == ["positions of patches, interpolated"]
    assert stretched.claimed == {"tower"}
    first = extract(tower("class_embedding", "position_embedding"))
    assert not_covered(first) == ["class token before patches"]
    assert first.claimed == {"tower"}


@pytest.mark.parametrize(
    "other",
    [
        tower(interpolation_mode="bicubic"),
        tower("weight", "position_embedding"),
        tower("class_embedding", run=False),
        tower("class_embedding", leaf=True),
        tower(class_embedding=None),
        tower(class_embedding=ParameterRef("elsewhere.class_embedding", (64,), None)),
    ],
)
def test_other_parts_of_towers_are_left_alone(other: ModuleNode) -> None:
    found = extract(other)
    assert not found.claimed
    assert not found.not_covered
