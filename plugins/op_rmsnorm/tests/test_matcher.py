"""The RMSNorm matcher on hand-written trees that mirror both SGLang versions."""

from __future__ import annotations

import attrs
import pytest

from fibcore.plugin import (
    Alternatives,
    Call,
    Extraction,
    ModuleNode,
    ModuleRef,
    Named,
    Operation,
    ParameterRef,
    Serving,
    Unknown,
    with_origins,
)
from fibcore.testing.trees import PLACE, TENSOR, call, module, tree
from fibcore_op_rmsnorm import matcher

LAYERS = "sglang.srt.layers.layernorm."
FLA = "sglang.srt.layers.attention.fla."
HIDDEN = with_origins(4096, frozenset({"config:hidden_size"}))
EPS = with_origins(1e-5, frozenset({"config:rms_norm_eps"}))

# The constructor's arguments with defaults filled in, as each version declares them.
RMSNORM_059 = {
    "hidden_size": HIDDEN,
    "eps": EPS,
    "var_hidden_size": None,
    "cast_x_before_out_mul": False,
    "fp32_residual": False,
    "has_weight": True,
    "weight_dtype": None,
    "override_orig_dtype": None,
}
RMSNORM_0523 = {**RMSNORM_059, "x_pad_to_multiple": 0, "force_native": False}


def norm(path: str, *calls: Call, cls: str = "RMSNorm", **changed: object) -> ModuleNode:
    arguments = {**RMSNORM_0523, **changed}
    return module(path, LAYERS + cls, arguments, bases=("torch.nn.Module",), calls=calls)


def other(
    path: str, cls: str, *calls: Call, bases: tuple[str, ...] = (), **arguments: object
) -> ModuleNode:
    return module(path, cls, arguments, bases=bases, calls=calls)


def extract(*nodes: ModuleNode) -> Extraction:
    return matcher.extract(tree(*nodes), Serving())


def names(found: Extraction) -> dict[str, list[str]]:
    return {k.name: [u.path for u in k.uses] for k in found.kernels}


@pytest.mark.parametrize("arguments", [RMSNORM_059, RMSNORM_0523], ids=["0.5.9", "0.5.23"])
def test_a_llama_block_gives_one_plain_and_one_fused_kernel(arguments: dict[str, object]) -> None:
    def node(path: str, *calls: Call) -> ModuleNode:
        return module(path, LAYERS + "RMSNorm", arguments, calls=calls)

    found = extract(
        node("model.layers.0.input_layernorm", call(TENSOR), call(TENSOR, TENSOR)),
        node("model.layers.0.post_attention_layernorm", call(TENSOR, TENSOR)),
        node("model.norm", call(TENSOR, residual=TENSOR)),
    )
    assert names(found) == {
        "rmsnorm_h4096": ["model.layers.0.input_layernorm"],
        "fused_add_rmsnorm_h4096": [
            "model.layers.0.input_layernorm",
            "model.layers.0.post_attention_layernorm",
            "model.norm",
        ],
    }
    assert not found.problems
    assert not found.not_covered
    assert found.claimed == {
        "model.layers.0.input_layernorm",
        "model.layers.0.post_attention_layernorm",
        "model.norm",
    }


def test_facts_and_tags() -> None:
    (kernel,) = extract(norm("model.norm", call(TENSOR, TENSOR))).kernels
    assert kernel.op_type == "rmsnorm"
    assert kernel.parameters == {
        "hidden_size": 4096,
        "eps": 1e-5,
        "gemma": False,
        "fused_add": True,
    }
    assert kernel.facts["hidden_size"].origins == ("config:hidden_size",)
    assert kernel.facts["eps"].origins == ("config:rms_norm_eps",)
    assert kernel.facts["eps"].value == 1e-5
    assert kernel.tags == ("fi_api:flashinfer.norm.fused_add_rmsnorm", "fused")
    assert kernel.uses[0].path == "model.norm"


def test_an_explicit_none_residual_is_plain() -> None:
    assert list(names(extract(norm("n", call(TENSOR, None))))) == ["rmsnorm_h4096"]
    assert list(names(extract(norm("n", call(TENSOR, residual=None))))) == ["rmsnorm_h4096"]


def test_a_residual_that_may_be_none_gives_both() -> None:
    residual = Alternatives((None, Alternatives((TENSOR,))))
    found = extract(norm("n", call(TENSOR, residual)))
    assert list(names(found)) == ["rmsnorm_h4096", "fused_add_rmsnorm_h4096"]
    assert not found.problems


def test_other_methods_that_forward_are_calls_too() -> None:
    fusing = call(TENSOR, TENSOR, method="forward_with_allreduce_fusion")
    assert list(names(extract(norm("n", fusing)))) == ["fused_add_rmsnorm_h4096"]
    explicit = call(TENSOR, method="__call__")
    assert list(names(extract(norm("n", explicit)))) == ["rmsnorm_h4096"]


def test_a_norm_that_is_known_not_to_run_is_named() -> None:
    found = extract(attrs.evolve(norm("a"), idle=True))
    assert not found.kernels
    assert not found.problems
    (op,) = found.not_covered
    assert op.what == "rmsnorm_h4096 that is not run"
    assert [u.path for u in op.uses] == ["a"]


def test_without_a_call_nothing_is_guessed() -> None:
    found = extract(
        norm("a"),
        norm("b", call(TENSOR, method="fuse_input_quant")),
        norm("c", call(TENSOR, TENSOR, method="forward_with_allreduce_fusion_quant_per_group")),
    )
    assert not found.kernels
    (problem,) = found.problems
    assert problem.what == "rmsnorm_h4096 or fused_add_rmsnorm_h4096"
    assert "no call" in problem.reason
    assert [u.path for u in problem.uses] == ["a", "b", "c"]
    assert found.claimed == {"a", "b", "c"}


def test_a_residual_that_is_not_known_to_be_a_tensor_is_a_problem() -> None:
    found = extract(norm("n", call(TENSOR), call(TENSOR, Unknown("an attribute set at run time"))))
    assert list(names(found)) == ["rmsnorm_h4096"]
    (problem,) = found.problems
    assert "set at run time" in problem.reason


def test_quantised_output_is_named_as_not_covered() -> None:
    found = extract(norm("n", call(TENSOR, TENSOR, method="forward_with_per_tensor_quant_fusion")))
    assert not found.kernels
    assert not found.problems
    assert found.not_covered[0].what == "RMSNorm with quantised output"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"var_hidden_size": 2048}, "first 2048 elements"),
        ({"weight_dtype": Named("torch.float32")}, "weight is float32"),
        ({"override_orig_dtype": Named("torch.float32")}, "output is float32"),
    ],
)
def test_options_that_make_another_function(changed: dict[str, object], reason: str) -> None:
    found = extract(norm("n", call(TENSOR), **changed))
    assert not found.kernels
    (missing,) = found.not_covered
    assert missing.what == "RMSNorm"
    assert reason in missing.reason
    assert found.claimed == {"n"}


@pytest.mark.parametrize(
    "changed",
    [
        {"var_hidden_size": 4096},
        {"weight_dtype": Named("torch.bfloat16")},
        {"fp32_residual": True},
        {"force_native": True},
        {"x_pad_to_multiple": 256},
    ],
)
def test_options_that_leave_the_function_alone(changed: dict[str, object]) -> None:
    assert list(names(extract(norm("n", call(TENSOR), **changed)))) == ["rmsnorm_h4096"]


def test_a_norm_that_sums_over_ranks_first_is_its_kernel_and_the_sum_is_named_elsewhere() -> None:
    summing = call(TENSOR, TENSOR, method="forward_with_allreduce_fusion")
    found = matcher.extract(tree(norm("n", summing)), Serving(tp=2))
    assert list(names(found)) == ["fused_add_rmsnorm_h4096"]
    assert not found.not_covered


def test_early_rounding_is_noted() -> None:
    (kernel,) = extract(norm("n", call(TENSOR), cast_x_before_out_mul=True)).kernels
    assert "before the weight" in kernel.notes[0]


@pytest.mark.parametrize(
    "changed",
    [
        {"hidden_size": Unknown("config.hidden_size is missing")},
        {"hidden_size": Alternatives((4096, 8192))},
        {"hidden_size": True},
        {"hidden_size": 0},
        {"eps": Unknown("config.rms_norm_eps is missing")},
        {"eps": None},
        {"has_weight": Unknown("a flag")},
        {"weight_dtype": Alternatives((None, Named("torch.float32")))},
    ],
)
def test_unknown_constants_are_problems(changed: dict[str, object]) -> None:
    found = extract(norm("n", call(TENSOR), **changed))
    assert not found.kernels
    assert not found.not_covered
    (problem,) = found.problems
    assert next(iter(changed)) in problem.reason


def test_epsilons_of_one_model_may_differ_and_the_first_stays() -> None:
    (kernel,) = extract(
        norm("a", call(TENSOR)), norm("b", call(TENSOR), eps=1e-6), norm("c", call(TENSOR))
    ).kernels
    assert kernel.parameters["eps"] == 1e-5
    assert [u.path for u in kernel.uses] == ["a", "b", "c"]
    assert kernel.notes == ("eps is 1e-05 here, 1e-06 at b",)


def test_gemma_norms_have_their_own_name() -> None:
    found = extract(
        other("a", LAYERS + "GemmaRMSNorm", call(TENSOR, TENSOR), hidden_size=2304, eps=1e-6),
        # Gemma3RMSNorm takes dim, and a residual only since 0.5.23.
        other("b", LAYERS + "Gemma3RMSNorm", call(TENSOR), dim=1152, eps=1e-6),
        other("c", LAYERS + "Gemma3RMSNorm", call(TENSOR, TENSOR), dim=1152, eps=1e-6),
    )
    assert list(names(found)) == [
        "gemma_fused_add_rmsnorm_h2304",
        "gemma_rmsnorm_h1152",
        "gemma_fused_add_rmsnorm_h1152",
    ]
    assert found.kernels[0].tags == ("fi_api:flashinfer.norm.gemma_fused_add_rmsnorm", "fused")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"scale_shift": 0.0, "with_scale": True}, ["rmsnorm_h256"]),
        ({"scale_shift": 1.0, "with_scale": True}, ["gemma_rmsnorm_h256"]),
        ({"scale_shift": 1.0, "with_scale": False}, ["rmsnorm_h256"]),
        ({"scale_shift": 0.5, "with_scale": True}, []),
    ],
)
def test_gemma4_is_either(arguments: dict[str, object], expected: list[str]) -> None:
    found = extract(
        other("n", LAYERS + "Gemma4RMSNorm", call(TENSOR), dim=256, eps=1e-6, **arguments)
    )
    assert list(names(found)) == expected
    assert len(found.not_covered) == (not expected)


def test_known_subclasses_are_plain_and_others_are_not_trusted() -> None:
    base = (LAYERS + "RMSNorm",)
    gemma3n = "sglang.srt.models.gemma3n_causal.Gemma3nRMSNorm"
    found = extract(
        other("a", gemma3n, call(TENSOR), bases=base, dim=2048, eps=1e-6, with_scale=True),
        other("b", gemma3n, call(TENSOR), bases=base, dim=2048, eps=1e-6, with_scale=False),
        other("c", "sglang.srt.models.new.NewNorm", call(TENSOR), bases=base, **RMSNORM_0523),
    )
    assert names(found) == {"rmsnorm_h2048": ["a", "b"]}
    assert [(m.what, m.uses[0].path) for m in found.not_covered] == [("NewNorm", "c")]


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (LAYERS + "RMSNorm", {"hidden_size": 128, "eps": 1e-5, "has_weight": False}),
        (LAYERS + "RMSNormWithoutScale", {"hidden_size": 128, "eps": 1e-6}),
        (LAYERS + "Gemma4RMSNorm", {"dim": 128, "eps": 1e-6, "with_scale": False}),
        (
            "sglang.srt.models.embedding_gemma2.EmbeddingGemma2RMSNorm",
            {"dim": 128, "eps": 1e-6, "with_scale": False},
        ),
        (
            "torch.nn.RMSNorm",
            {"normalized_shape": (128,), "eps": 1e-6, "elementwise_affine": False},
        ),
    ],
)
def test_norms_without_weight_have_one_of_ones(cls: str, arguments: dict[str, object]) -> None:
    (kernel,) = extract(other("n", cls, call(TENSOR), **arguments)).kernels
    assert kernel.name == "rmsnorm_h128"
    assert kernel.notes == ("it has no weight: the kernel's is all ones",)


def test_a_router_that_writes_its_scale_into_its_norm_is_claimed() -> None:
    cls, arguments = LAYERS + "Gemma4RMSNorm", {"dim": 128, "eps": 1e-6, "with_scale": False}
    node = module("r.norm", cls, arguments, calls=[call(TENSOR)])
    router = module("r", "sglang.srt.models.gemma4_causal.Gemma4Router", children=[node])
    assert extract(router).claimed == {"r.norm"}
    folded = attrs.evolve(router, attributes={"_scale_fused": True})
    found = extract(folded)
    assert found.claimed == {"r", "r.norm"}
    assert not found.not_covered


def test_a_router_that_scales_what_its_norm_gives_is_named() -> None:
    cls, arguments = LAYERS + "Gemma4RMSNorm", {"dim": 128, "eps": 1e-6, "with_scale": False}
    node = module("r.norm", cls, arguments, calls=[call(TENSOR)])
    scale = {"_fused_scale": Unknown("a tensor computed from a parameter")}
    router = module("r", "sglang.srt.models.gemma4_causal.Gemma4Router", children=[node])
    found = extract(attrs.evolve(router, attributes=scale))
    assert {op.what: [use.path for use in op.uses] for op in found.not_covered} == {
        "scale of a router's rows": ["r"]
    }
    assert found.claimed == {"r", "r.norm"}


@pytest.mark.parametrize(
    ("cls", "arguments", "notes"),
    [
        ("sglang.srt.models.iquest_q1.IQuestQ1RMSNorm", {"hidden_size": 64, "eps": 1e-6}, ()),
        ("sglang.srt.models.inkling_common.norm.RMSNorm", {"hidden_size": 64, "eps": 1e-6}, ()),
        (
            "sglang.srt.layers.muse_spark.muse_spark_layers.MuseSpark1xRMSNorm",
            {"hidden_size": 64, "eps": 1e-6, "has_weight": True, "zero_centered_gamma": True},
            (),
        ),
        ("torch.nn.RMSNorm", {"normalized_shape": 64, "eps": 1e-6}, ()),
        (
            "sglang.srt.models.dots_vlm_vit.RMSNorm",
            {"dim": 64, "eps": 1e-6},
            ("rounds to the activations' dtype before the weight is applied",),
        ),
    ],
)
def test_models_have_norms_of_their_own(
    cls: str, arguments: dict[str, object], notes: tuple[str, ...]
) -> None:
    (kernel,) = extract(other("n", cls, call(TENSOR), **arguments)).kernels
    assert kernel.name == "rmsnorm_h64"
    assert kernel.notes == notes


def test_torchs_norm_without_epsilon_is_named() -> None:
    for shape, eps in ((64, None), ((8, 64), 1e-6)):
        found = extract(
            other("n", "torch.nn.RMSNorm", call(TENSOR), normalized_shape=shape, eps=eps)
        )
        assert not found.kernels
    assert found.problems


@pytest.mark.parametrize(
    "cls",
    [LAYERS + "LayerNorm", "sglang.srt.models.commandr.LayerNorm", "torch.nn.GroupNorm"],
)
def test_norms_that_take_the_mean_off_are_left_to_others(cls: str) -> None:
    assert extract(other("n", cls, call(TENSOR), hidden_size=4096, eps=1e-5)) == Extraction()


@pytest.mark.parametrize(
    ("cls", "what", "reason"),
    [
        (FLA + "layernorm_gated.LayerNorm", "gated LayerNorm", "by an activation of a gate"),
        (
            "sglang.srt.models.gigachat35.GigaChat35GatedRMSNorm",
            "GigaChat35GatedRMSNorm",
            "by an activation of a gate",
        ),
        (
            "sglang.srt.models.minimax_m2.MiniMaxM2RMSNormTP",
            "MiniMaxM2RMSNormTP",
            "a row that the ranks share",
        ),
    ],
)
def test_other_norms_are_reported_by_name(cls: str, what: str, reason: str) -> None:
    found = extract(other("n", cls, call(TENSOR), hidden_size=4096, eps=1e-5))
    assert not found.kernels
    assert not found.problems
    assert [m.what for m in found.not_covered] == [what]
    assert reason in found.not_covered[0].reason


@pytest.mark.parametrize(
    ("cls", "bases"),
    [
        (FLA + "layernorm_gated.RMSNorm", ()),
        (FLA + "kda.FusedRMSNormGated", ()),
        ("sglang.srt.layers.attention.mamba.mixer2_rms_norm_gated.Mixer2RMSNormGated", ()),
        (
            "sglang.srt.models.bailing_moe_linear.BailingGroupRMSNormGate",
            (FLA + "layernorm_gated.RMSNorm",),
        ),
    ],
)
def test_gated_norms_of_another_op_type_are_left_to_it(cls: str, bases: tuple[str, ...]) -> None:
    node = other("n", cls, call(TENSOR, TENSOR), bases=bases, hidden_size=128, eps=1e-5)
    assert extract(node) == Extraction()


@pytest.mark.parametrize(
    ("holder", "name"),
    [
        ("bailing_moe_linear.BailingMoELinearAttention", "rmsnorm_h128_float32"),
        ("another.Attention", "rmsnorm_h128"),
    ],
)
def test_a_function_that_normalises_alone_is_the_norm(holder: str, name: str) -> None:
    node = norm("a.query_layernorm", hidden_size=128)
    attention = module("a.attn", "sglang.srt.layers.radix_attention.RadixAttention")
    layer = module("a", f"sglang.srt.models.{holder}", children=[node, attention])
    weight = ParameterRef("a.query_layernorm.weight", (128,), None)
    given = Operation(FLA + "layernorm_gated.layernorm_fn", "a", (TENSOR, weight), {}, PLACE)
    found = matcher.extract(tree(layer, operations=[given]), Serving())
    assert names(found) == {name: ["a.query_layernorm"]}
    assert not found.not_covered
    assert not found.problems


def test_a_norm_inside_a_fused_kernel_is_named_after_it() -> None:
    # Qwen3.5 in 0.5.23 never calls its norms of queries and keys: a kernel gets their weights.
    norms = [norm(f"layer.{name}_norm", hidden_size=256) for name in "qk"]
    fused = Operation(
        "sglang.kernels.ops.attention.fused_qk_rmsnorm_rope_gate.fused_qk_gemma_rmsnorm_rope_gate",
        "layer",
        (TENSOR, ParameterRef("layer.q_norm.weight", (256,))),
        {"k_weight": ParameterRef("layer.k_norm.weight", (256,))},
        PLACE,
    )
    unknown = attrs.evolve(fused, function="unknown function (Func[...])")
    found = matcher.extract(tree(*norms, operations=[unknown, fused]), Serving())
    assert not found.kernels
    assert not found.problems
    (missing,) = found.not_covered
    assert missing.what == "rmsnorm_h256 inside fused_qk_gemma_rmsnorm_rope_gate"
    assert [use.path for use in missing.uses] == ["layer.q_norm", "layer.k_norm"]
    # What is called as well is the plain kernel, and the fused one a faster way to it.
    called = norm("layer.q_norm", call(TENSOR), hidden_size=256)
    found = matcher.extract(tree(called, operations=[fused]), Serving())
    assert [k.name for k in found.kernels] == ["rmsnorm_h256"]
    assert not found.not_covered
    # Elementwise steps and functions that are not known name no kernel.
    step = attrs.evolve(fused, function="torch.Tensor.exp")
    found = matcher.extract(tree(*norms, operations=[unknown, step]), Serving())
    assert len(found.problems) == 1
    assert not found.not_covered


def test_other_modules_are_left_alone() -> None:
    found = extract(
        other("a", "sglang.srt.layers.linear.RowParallelLinear", call(TENSOR)),
        other("b", "sglang.srt.models.phi4mm_utils.MeanVarianceNormLayer"),
        other("c", "sglang.srt.layers.moe.topk.TopK"),
    )
    assert found == Extraction()


def test_q_and_k_norms_are_of_a_head(  # Qwen3: RMSNorm(head_dim) over tokens times heads
) -> None:
    head_dim = with_origins(128, frozenset({"config:head_dim"}))
    found = extract(
        norm("model.layers.0.self_attn.q_norm", call(TENSOR), hidden_size=head_dim),
        norm("model.layers.0.self_attn.k_norm", call(TENSOR), hidden_size=head_dim),
    )
    assert names(found) == {
        "rmsnorm_h128": ["model.layers.0.self_attn.q_norm", "model.layers.0.self_attn.k_norm"]
    }


def test_a_norm_that_is_folded_into_another_weight_is_no_kernel() -> None:
    # Attention residuals of Kimi-K3 multiply the weight of a norm by that of a projection.
    score = norm("layer.score_norm", hidden_size=256)
    folded = Operation(
        "torch.mul",
        "layer",
        (
            ParameterRef("layer.score_norm.weight", (256,)),
            ParameterRef("layer.proj.weight", (256,)),
        ),
        {},
        PLACE,
    )
    found = matcher.extract(tree(score, operations=[folded]), Serving())
    assert not found.kernels
    assert not found.problems
    assert [m.what for m in found.not_covered] == ["rmsnorm_h256 folded into another weight"]
    called = norm("layer.score_norm", call(TENSOR), hidden_size=256)
    found = matcher.extract(tree(called, operations=[folded]), Serving())
    assert [k.name for k in found.kernels] == ["rmsnorm_h256"]


@pytest.mark.parametrize("by_head", [True, False])
def test_attention_of_towers_says_how_it_applies_its_norms(by_head: bool) -> None:
    # Its forward pass stands among the kernels, which are not followed.
    size = 96 if by_head else 1536
    norms = [norm(f"blocks.0.attn.{name}_norm", hidden_size=size) for name in "qk"]
    attention = module(
        "blocks.0.attn",
        "sglang.srt.layers.attention.vision.VisionAttention",
        attributes={"qk_normalization_by_head_size": by_head, "qk_normalization": not by_head},
        children=norms,
    )
    found = extract(attention)
    assert not found.problems
    paths = ["blocks.0.attn.q_norm", "blocks.0.attn.k_norm"]
    assert names(found) == ({"rmsnorm_h96": paths} if by_head else {})
    missing = [(m.what, m.inside) for m in found.not_covered]
    assert missing == ([] if by_head else [("rmsnorm_h1536 inside VisionAttention", True)])


@pytest.mark.parametrize("leaf", [True, False])
def test_a_norm_that_a_building_block_is_called_with_is_inside_of_it(leaf: bool) -> None:
    one = norm("layer.pre_expert_norm")
    experts = module(
        "layer.experts",
        "sglang.srt.layers.muse_spark.muse_spark_fp4_moe.MuseSpark1xFp4Experts",
        calls=[call(TENSOR, pre_expert_norm=ModuleRef(one.path))],
        leaf=leaf,
    )
    found = extract(one, experts)
    inside = [m.what for m in found.not_covered if " inside " in m.what]
    assert inside == (["rmsnorm_h4096 inside MuseSpark1xFp4Experts"] if leaf else [])
    assert bool(found.problems) is not leaf


@pytest.mark.parametrize("is_called", [True, False])
def test_a_module_that_is_one_kernel_names_the_norms_it_is_made_with(is_called: bool) -> None:
    # Muse-Spark's boundaries: a norm, the residual and the next norm.
    norms = [norm(f"layer.{name}_norm") for name in ("post", "pre")]
    boundary = module(
        "layer.boundary",
        "sglang.kernels.ops.layernorm.muse_spark_norm_residual.FusedPostNormResidualPreNorm",
        {one.path.rpartition(".")[2]: ModuleRef(one.path) for one in norms},
        bases=("sglang.kernels.fused_op.BaseFusedOp", "torch.nn.Module"),
        calls=[call(TENSOR)] if is_called else [],
    )
    found = extract(*norms, boundary)
    inside = (m for m in found.not_covered if " inside " in m.what)
    missing = [(m.what, [u.path for u in m.uses], m.inside) for m in inside]
    what = "rmsnorm_h4096 inside FusedPostNormResidualPreNorm"
    assert missing == ([(what, [n.path for n in norms], True)] if is_called else [])
    assert bool(found.problems) is not is_called
