"""Which layers a quantisation config covers, on SGLang's own quantisation classes."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from fibcore.errors import ConfigError, ServingError
from fibcore.model.tree import ModelTree, Quantization

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "vocab_size": 1024,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 2048,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}


FP8 = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True, "dynamic": False}


INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True}


AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}


MODELOPT = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}


def compressed(weights: dict[str, Any], *ignore: str, targets: Any = ("Linear",)) -> dict[str, Any]:
    group = {"targets": list(targets), "weights": weights, "input_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized" if weights["type"] == "float" else "pack-quantized",
        "ignore": list(ignore),
        "config_groups": {"group_0": group},
    }


def found(tree: ModelTree, name: str) -> list[Any]:
    return [n.quantization for n in tree.walk() if n.path.endswith(name)]


@pytest.mark.parametrize(
    ("section", "dtype", "scheme"),
    [
        (compressed(FP8, "lm_head"), "float8_e4m3fn", "channel"),
        (compressed(INT4, "lm_head"), "int4", "group"),
        (AWQ, "int4", "group"),
        (GPTQ, "int4", "group"),
        (MODELOPT, "float8_e4m3fn", "tensor"),
        ({"quant_method": "fp8", "activation_scheme": "static"}, "float8_e4m3fn", "tensor"),
    ],
    ids=["compressed fp8", "compressed int4", "awq", "gptq", "modelopt fp8", "fp8"],
)
def test_every_linear_layer_and_not_the_head(
    real: Callable[..., ModelTree], section: dict[str, Any], dtype: str, scheme: str
) -> None:
    tree = real({**LLAMA, "quantization_config": section})
    for name in ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"):
        kinds = found(tree, name)
        assert len(kinds) == 3
        for kind in kinds:
            assert isinstance(kind, Quantization), kind
            assert (kind.weight_dtype, kind.scheme) == (dtype, scheme)
    assert found(tree, "lm_head") == [None]


def test_layers_that_compressed_tensors_ignores(real: Callable[..., ModelTree]) -> None:
    names = [f"model.layers.1.self_attn.{p}_proj" for p in "qkv"]
    section = compressed(FP8, "lm_head", "re:.*layers.2.mlp.*", *names)
    tree = real({**LLAMA, "quantization_config": section})
    assert [k is None for k in found(tree, "qkv_proj")] == [False, True, False]
    assert [k is None for k in found(tree, "gate_up_proj")] == [False, False, True]
    assert [k is None for k in found(tree, "o_proj")] == [False, False, False]


def test_a_merged_projection_that_is_ignored_in_part(real: Callable[..., ModelTree]) -> None:
    section = compressed(FP8, "model.layers.0.self_attn.q_proj")
    kinds = found(real({**LLAMA, "quantization_config": section}), "qkv_proj")
    assert "compressed-tensors" in str(kinds[0])
    assert not isinstance(kinds[0], Quantization)
    assert isinstance(kinds[1], Quantization)


def test_targets_that_are_names(real: Callable[..., ModelTree]) -> None:
    section = compressed(FP8, "re:.*mlp.*", targets=["re:.*o_proj"])
    tree = real({**LLAMA, "quantization_config": section})
    assert all(isinstance(k, Quantization) for k in found(tree, "o_proj"))
    assert found(tree, "down_proj") == [None] * 3
    for kind in found(tree, "qkv_proj"):  # neither ignored nor in a group
        assert "without a group" in str(kind)


def test_a_head_is_quantised_where_the_release_has_such_and_the_config_names_it(
    real: Callable[..., ModelTree],
) -> None:
    section = compressed(FP8, targets=["Linear", "re:.*lm_head"])
    tree = real({**LLAMA, "quantization_config": section})
    (head,) = found(tree, "lm_head")
    since = (tree.source_version or "") == "0.5.23"  # and 0.5.9, which has none
    assert isinstance(head, Quantization) == since
    plain = real({**LLAMA, "quantization_config": compressed(FP8)})
    assert found(plain, "lm_head") == [None]


def test_names_of_layers_to_leave_out_are_read_as_the_release_reads_them(
    real: Callable[..., ModelTree],
) -> None:
    section = compressed(FP8, "lm_head", "mlp.down_proj", "self_attn.O_")
    tree = real({**LLAMA, "quantization_config": section})
    assert found(tree, "down_proj") == [None] * 3
    # 0.5.9 takes any part of a path, in capitals or not.
    kinds = [kind is None for kind in found(tree, "o_proj")]
    assert kinds == [tree.source_version == "0.5.9"] * 3


MIXTURE = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 1024,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_hidden_layers": 2,
    "vocab_size": 1024,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 768,
}
BLOCKS = {
    "quant_method": "fp8",
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "weight_block_size": [128, 128],
}


def test_fp8_blocks_that_ranks_would_cut_are_refused(real: Callable[..., ModelTree]) -> None:
    config = {**LLAMA, "quantization_config": BLOCKS, "num_key_value_heads": 4, "head_dim": 128}
    tree = real({**config, "intermediate_size": 768}, tp=2)
    node = tree.find("model.layers.0.mlp.gate_up_proj")
    assert node is not None
    assert isinstance(node.quantization, Quantization)
    assert node.quantization.block == (128, 128)
    with pytest.raises(ServingError, match="cannot be served at tp=4") as caught:
        real({**config, "intermediate_size": 768}, tp=4)
    assert "192 is not divisible" in str(caught.value)


def test_fp8_blocks_that_merged_layers_would_share_are_refused_on_one_rank(
    real: Callable[..., ModelTree],
) -> None:
    config = {**LLAMA, "quantization_config": BLOCKS, "num_key_value_heads": 4, "head_dim": 128}
    with pytest.raises(ConfigError) as caught:
        real({**config, "intermediate_size": 448})
    assert "448 is not divisible" in str(caught.value)


def test_fp8_blocks_of_experts_that_ranks_would_cut_are_refused(
    real: Callable[..., ModelTree],
) -> None:
    config = {**MIXTURE, "quantization_config": BLOCKS}
    (kind,) = set(found(real(config, tp=2), "experts"))
    assert isinstance(kind, Quantization)
    assert kind.block == (128, 128)
    with pytest.raises(ServingError, match="cannot be served at tp=4") as caught:
        real(config, tp=4)
    assert "192 is not divisible by weight quantization block_n = 128" in str(caught.value)
    real(config, tp=4, ep=4)
    real({**MIXTURE}, tp=4)


def test_groups_of_awq_that_ranks_would_cut_are_refused(real: Callable[..., ModelTree]) -> None:
    config = {**LLAMA, "quantization_config": AWQ, "num_key_value_heads": 4, "head_dim": 128}
    real({**config, "intermediate_size": 768}, tp=2)
    with pytest.raises(ServingError, match="cannot be served at tp=4") as caught:
        real({**config, "intermediate_size": 768}, tp=4)
    assert "input_size_per_partition = 192 is not divisible" in str(caught.value)


def test_groups_of_awq_that_a_layer_does_not_fill_are_refused_on_one_rank(
    real: Callable[..., ModelTree],
) -> None:
    config = {**LLAMA, "quantization_config": AWQ, "num_key_value_heads": 4, "head_dim": 128}
    with pytest.raises(ConfigError) as caught:
        real({**config, "intermediate_size": 448})
    assert "input size is not aligned" in str(caught.value)


def own_match(folder: Path) -> Callable[..., bool]:
    """The release's own search through a list of ignored layers, run by Python."""
    path = folder / "sglang" / "srt" / "layers" / "quantization" / "utils.py"
    wanted = ("is_layer_skipped", "_module_path_match", "_FALLBACK_FUSED_SHARDS")
    body = [
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if getattr(node, "name", None) in wanted
        or (isinstance(node, ast.AnnAssign) and ast.unparse(node.target) in wanted)
    ]
    space: dict[str, Any] = {"MappingProxyType": MappingProxyType, "Mapping": Mapping, "List": list}
    exec(compile(ast.Module(body, []), str(path), "exec"), space)  # noqa: S102 - three functions
    found: Callable[..., bool] = space["is_layer_skipped"]
    return found


def test_layers_of_a_long_list_are_ignored_as_the_source_ignores_them(
    real: Callable[..., ModelTree], sglang: Callable[[str], Path]
) -> None:
    names = [
        f"model.layers.{layer}.{part}"
        for layer in (0, 1, 2, 11, 20)
        for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj")
    ]
    names.remove("model.layers.2.mlp.down_proj")
    names += ["lm_head", "model.layers.7"]
    section = {**BLOCKS, "modules_to_not_convert": names}
    tree = real({**LLAMA, "num_hidden_layers": 24, "quantization_config": section})
    skipped = own_match(sglang(tree.source_version or ""))
    # `Fp8Config.from_config` keeps each name with and without its first part.
    bare = [name.removeprefix("model.") for name in names]
    ignored = [*bare, *(f"model.{name}" for name in bare)]
    plain = 0
    for layer in range(24):
        for part in ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.down_proj"):
            node = tree.find(f"model.layers.{layer}.{part}")
            assert node is not None
            assert (node.quantization is None) is skipped(node.path, ignored), node.path
            plain += node.quantization is None
    assert plain >= 7


KIMI_K3 = Path(__file__).parents[4] / "shared" / "configs" / "moonshotai--Kimi-K3.json"


@pytest.mark.skipif(not KIMI_K3.is_file(), reason=f"there is no {KIMI_K3}")
def test_experts_of_a_config_that_the_model_makes_itself(
    real: Callable[..., ModelTree], request: pytest.FixtureRequest
) -> None:
    """What compressed-tensors packs as MXFP4 is read by SGLang's method of that name."""
    if "0.5.9" in request.node.name:
        pytest.skip("that release has no Kimi-K3")
    config = json.loads(KIMI_K3.read_text("utf-8"))
    config["text_config"]["num_hidden_layers"] = 4
    experts = found(real(config), "mlp.experts")
    kind = Quantization("mxfp4", "float4_e2m1", "group", group_size=32)
    assert experts == [kind] * 3


DEEPSEEK_V4 = KIMI_K3.with_name("deepseek-ai--DeepSeek-V4-Flash.json")


@pytest.mark.skipif(not DEEPSEEK_V4.is_file(), reason="the shared configs are not here")
@pytest.mark.parametrize(
    ("told", "in_section", "weights"),
    [
        ("fp4", {}, "float4_e2m1"),
        ("fp8", {}, "float8_e4m3fn"),
        (None, {}, "float4_e2m1"),  # as SGLANG_DSV4_FP4_EXPERTS has it by default
        ("fp4", {"routed_experts_quant_method": "fp8"}, "float8_e4m3fn"),
        ("fp8", {"routed_experts_quant_method": "mxfp4"}, "float4_e2m1"),
    ],
)
def test_experts_of_four_bits_beside_layers_of_fp8(
    real: Callable[..., ModelTree],
    request: pytest.FixtureRequest,
    told: str | None,
    in_section: dict[str, str],
    weights: str,
) -> None:
    if "0.5.9" in request.node.name:
        pytest.skip("that release has no DeepSeek-V4")
    config = json.loads(DEEPSEEK_V4.read_text(encoding="utf-8"))
    config |= {"num_hidden_layers": 2, "compress_ratios": config["compress_ratios"][:3]}
    config["expert_dtype"] = told
    if told is None:
        del config["expert_dtype"]
    config["quantization_config"] |= in_section
    tree = real(config)
    experts = {q.weight_dtype for q in found(tree, ".experts")}
    assert experts == {weights}
    assert {q.weight_dtype for q in found(tree, ".o_proj") + found(tree, ".wq_b") if q} == {
        "float8_e4m3fn"
    }
