"""The matcher on hand-written trees that mirror releases of SGLang."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from fibcore.plugin import (
    Alternatives,
    Call,
    Extraction,
    ModuleNode,
    Named,
    Operation,
    ParameterRef,
    Serving,
    Unknown,
)
from fibcore.plugin import with_origins as origins
from fibcore.testing.trees import PLACE, TENSOR, call, module, tree
from fibcore_op_rope import matcher

Layer = Callable[..., ModuleNode]

NAME = "rope_with_cos_sin_cache_neox_style_d128_rd128"
TURN = call(TENSOR, TENSOR, TENSOR)
STORE = Named("sglang.kernels.ops.attention.rope.FusedSetKVBufferArg")


def extract(*nodes: ModuleNode, operations: tuple[Operation, ...] = ()) -> Extraction:
    return matcher.extract(tree(*nodes, operations=operations), Serving(tp=8, ep=8))


def names(found: Extraction) -> dict[str, list[str]]:
    return {k.name: [u.path for u in k.uses] for k in found.kernels}


def not_covered(found: Extraction) -> list[str]:
    return [op.what for op in found.not_covered]


def test_layers_with_the_same_kernel_are_its_uses(layer: Layer) -> None:
    found = extract(
        layer("a"),
        layer("b"),
        layer("c", rotary_dim=64),
        layer("d", is_neox_style=False, head_size=64, rotary_dim=64),
    )
    assert names(found) == {
        NAME: ["a", "b"],
        "rope_with_cos_sin_cache_neox_style_d128_rd64": ["c"],
        "rope_with_cos_sin_cache_gptj_style_d64_rd64": ["d"],
    }
    assert found.claimed == {"a", "b", "c", "d"}
    assert not found.not_covered
    assert not found.problems


def test_numbers_remember_their_config_keys(layer: Layer) -> None:
    size = origins(128, frozenset({"config:head_dim"}))
    turned = origins(64, frozenset({"config:head_dim", "config:partial_rotary_factor"}))
    (kernel,) = extract(layer(head_size=size, rotary_dim=turned)).kernels
    assert kernel.facts["head_size"].origins == ("config:head_dim",)
    assert kernel.facts["rotary_dim"].origins == (
        "config:head_dim",
        "config:partial_rotary_factor",
    )
    assert kernel.facts["is_neox_style"].value is True
    assert kernel.tags == ("fi_api:flashinfer.rope.apply_rope_with_cos_sin_cache",)


@pytest.mark.parametrize(
    ("cls", "scaling"),
    [
        ("LinearScalingRotaryEmbedding", "linear"),
        ("rope_variant.DynamicNTKScalingRotaryEmbedding", "NTK"),
        ("rope_variant.DynamicNTKAlphaRotaryEmbedding", "NTK"),
        ("yarn.YaRNScalingRotaryEmbedding", "YaRN"),
        ("DeepseekScalingRotaryEmbedding", "YaRN"),
        ("rope_variant.Llama3RotaryEmbedding", "Llama 3"),
        ("rope_variant.Phi3LongRoPEScaledRotaryEmbedding", "LongRoPE"),
    ],
)
def test_a_scaling_is_a_note_and_no_other_kernel(layer: Layer, cls: str, scaling: str) -> None:
    (kernel,) = extract(layer(cls=cls), layer("other")).kernels
    assert kernel.name == NAME
    assert kernel.notes == (
        f"scaling of its table: {scaling}",
        f"scaling is {scaling!r} here, 'none' at other",
    )


def test_gemma_4_turns_whole_heads(layer: Layer) -> None:
    size = origins(512, frozenset({"config:global_head_dim"}))
    node = layer(cls="rope_variant.Gemma4RotaryEmbedding", head_size=size, rotary_dim=128)
    (kernel,) = extract(node).kernels
    assert kernel.name == "rope_with_cos_sin_cache_neox_style_d512_rd512"
    assert kernel.facts["rotary_dim"].value == 512
    assert kernel.facts["rotary_dim"].origins == ("config:global_head_dim",)


def test_one_that_turns_nothing_is_named(layer: Layer) -> None:
    # GLM-5.3's indexer, where heads have no part that is turned.
    for sizes in ({"head_size": 0, "rotary_dim": 0}, {"rotary_dim": 0}):
        found = extract(layer(**sizes))
        assert (found.kernels, found.problems) == ((), ())
        assert [gap.what for gap in found.not_covered] == ["RotaryEmbedding"]


@pytest.mark.parametrize("name", ["head_size", "rotary_dim", "is_neox_style"])
@pytest.mark.parametrize("value", [Unknown("it is read"), Alternatives((2, 4)), "two", None])
def test_what_is_not_known_is_a_problem(layer: Layer, name: str, value: Any) -> None:
    found = extract(layer(**{name: value}))
    assert not found.kernels
    (problem,) = found.problems
    assert name in problem.reason
    assert [u.path for u in problem.uses] == ["rotary_emb"]


def test_an_argument_that_is_missing_is_a_problem(layer: Layer) -> None:
    node = layer()
    arguments = {k: v for k, v in node.arguments.items() if k != "rotary_dim"}
    (problem,) = extract(attrs.evolve(node, arguments=arguments)).problems
    assert "rotary_dim is not among" in problem.reason


@pytest.mark.parametrize(
    "cls",
    [
        "mrope.Ernie4_5_VLRotaryEmbedding",
        "bailing_mrope.BailingMRotaryEmbedding",
        "rope_variant.DualChunkRotaryEmbedding",
        "rope_variant.FourierRotaryEmbedding",
        "Llama4VisionRotaryEmbedding",
        "NewRotaryEmbedding",
    ],
)
def test_other_functions_are_named(layer: Layer, cls: str) -> None:
    found = extract(layer(cls=cls))
    assert not found.kernels
    assert not_covered(found) == [cls.rpartition(".")[2]]
    assert found.claimed == {"rotary_emb"}


@pytest.mark.parametrize(
    "cls",
    [
        "sglang.srt.models.gemma3_causal.Gemma3RotaryEmbedding",
        "sglang.srt.models.kimi_k25.Rope2DPosEmbRepeated",
        "transformers.models.pixtral.modeling_pixtral.PixtralRotaryEmbedding",
    ],
)
def test_those_of_a_models_own_are_named(cls: str) -> None:
    found = extract(module("m", cls, calls=(call(TENSOR, TENSOR),)))
    assert not found.kernels
    assert not_covered(found) == [cls.rpartition(".")[2]]


def test_other_classes_are_left_to_others() -> None:
    holder = module("m", "sglang.srt.models.x.RotaryEmbeddingHolder", children=[module("m.x", "X")])
    assert extract(module("x", "sglang.srt.layers.layernorm.RMSNorm"), holder) == Extraction()


@pytest.mark.parametrize(("rotary_dim", "reason"), [(21, "no pairs"), (192, "more than a head")])
def test_sizes_that_no_kernel_has_are_named(layer: Layer, rotary_dim: int, reason: str) -> None:
    found = extract(layer(rotary_dim=rotary_dim))
    assert not found.kernels
    assert not_covered(found) == ["RotaryEmbedding"]
    assert reason in found.not_covered[0].reason


STORES = f"{NAME} that writes the KV cache"


@pytest.mark.parametrize(
    ("calls", "kernels", "others"),
    [
        ((call(TENSOR, TENSOR, TENSOR, fused_set_kv_buffer_arg=None),), [NAME], []),
        ((call(TENSOR, TENSOR, TENSOR, None, STORE),), [], [STORES]),
        ((call(TENSOR, TENSOR, TENSOR, fused_set_kv_buffer_arg=TENSOR),), [], [STORES]),
        (
            (call(TENSOR, TENSOR, TENSOR, fused_set_kv_buffer_arg=Alternatives((STORE, None))),),
            [NAME],
            [STORES],
        ),
        ((call(TENSOR, TENSOR, TENSOR, TENSOR),), [NAME], []),
        ((call(TENSOR, TENSOR, TENSOR, method="forward_native"),), [NAME], []),
        ((call(TENSOR, method="get_cos_sin"),), [], ["table of RotaryEmbedding"]),
        ((call(TENSOR, method="get_cos_sin"), TURN), [NAME], []),
        (
            (call(TENSOR, method="_match_cos_sin_cache_dtype"),),
            [],
            [f"{NAME} whose call was not found"],
        ),
        ((), [], [f"{NAME} whose call was not found"]),
    ],
)
def test_calls_decide(
    layer: Layer, calls: tuple[Call, ...], kernels: list[str], others: list[str]
) -> None:
    found = extract(layer(calls=calls))
    assert list(names(found)) == kernels
    assert not_covered(found) == others
    assert not found.problems


def test_whether_a_call_writes_the_cache_has_to_be_known(layer: Layer) -> None:
    node = layer(calls=(call(TENSOR, TENSOR, TENSOR, fused_set_kv_buffer_arg=Unknown("a flag")),))
    found = extract(node)
    assert not found.kernels
    assert not found.not_covered
    (problem,) = found.problems
    assert "fused_set_kv_buffer_arg" in problem.reason


def test_one_that_is_known_not_to_run_is_named(layer: Layer) -> None:
    found = extract(attrs.evolve(layer(calls=()), idle=True))
    assert not_covered(found) == [f"{NAME} that is not run"]


def tower(*calls: Call, head_size: Any = 72, own: Any = None) -> ModuleNode:
    """A block of a tower with its attention, as it is constructed and called."""
    attributes = {"head_size": head_size, "customized_position_embedding_applier": own}
    cls = "sglang.srt.layers.attention.vision.VisionAttention"
    attention = module("visual.blocks.0.attn", cls, attributes=attributes, calls=calls)
    return module("visual.blocks.0", "sglang.srt.models.a.Block", children=[attention])


def test_attention_of_towers_turns_by_what_it_is_given(layer: Layer) -> None:
    by_name = call(TENSOR, rotary_pos_emb_cos=TENSOR, rotary_pos_emb_sin=TENSOR)
    table = layer("visual.rotary_pos_emb", calls=(call(TENSOR, method="get_cos_sin"),))
    for given in (by_name, call(TENSOR, TENSOR, (TENSOR, TENSOR))):
        found = extract(table, tower(given))
        assert names(found) == {"rope_with_cos_sin_neox_style_d72": ["visual.blocks.0.attn"]}
        # Rows of the table are no launch.
        assert not found.not_covered
        assert "visual.rotary_pos_emb" in found.claimed
    nothing = extract(tower(call(TENSOR, position_embeddings=None)))
    assert not nothing.kernels
    assert not nothing.not_covered


def test_towers_that_turn_otherwise_are_named_or_problems() -> None:
    given = call(TENSOR, position_embeddings=TENSOR)
    found = extract(tower(given, own=Named("sglang.srt.models.a._applier")))
    assert not found.kernels
    assert not_covered(found) == ["rotary embedding by _applier"]
    for changed in ({"head_size": 71}, {"head_size": Unknown("size")}, {"own": Unknown("own")}):
        found = extract(tower(given, **changed))
        assert not found.kernels
        assert [problem.what for problem in found.problems] == ["rotary embedding of a tower"]


def test_an_indexer_calls_its_own_or_hands_the_table_to_a_kernel(layer: Layer) -> None:
    own = layer("indexer.rotary_emb", calls=())
    cls = "sglang.srt.layers.attention.dsa.dsa_indexer.Indexer"

    def found(fuses: Any) -> Extraction:
        attributes, calls = {"use_dsa_indexer_fusion": fuses}, [TURN]
        return extract(
            module("indexer", cls, attributes=attributes, calls=calls, children=[own], leaf=False)
        )

    assert list(names(found(fuses=False))) == [NAME]
    assert not_covered(found(fuses=True)) == [
        f"{NAME} inside fused_q_indexer_rope_first_quant",
        f"{NAME} inside fused_k_indexer_norm_rope_store",
    ]
    assert "use_dsa_indexer_fusion" in found(fuses=Unknown("an option")).problems[0].reason


@pytest.mark.parametrize(
    "operation",
    [
        Operation("a.fused_norm_rope", "layers.0", (TENSOR,), {}, PLACE),
        Operation(
            "a.fused_norm_rope",
            "layers.1",
            ([ParameterRef("layers.0.rotary_emb.cos_sin_cache", None)],),
            {},
            PLACE,
        ),
    ],
)
def test_a_fused_function_gives_its_name(layer: Layer, operation: Operation) -> None:
    node = layer("layers.0.rotary_emb", calls=())
    noise = Operation("torch.matmul", "layers.0", (TENSOR,), {}, PLACE)
    found = extract(node, operations=(noise, operation))
    assert not_covered(found) == [f"{NAME} inside fused_norm_rope"]
    turned = extract(layer("layers.0.rotary_emb"), operations=(operation,))
    assert list(names(turned)) == [NAME]
