"""Mistral's params.json: recognised, translated key by key, and refused where SGLang refuses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fibcore.configs.mistral import is_params, translate, wants_params
from fibcore.configs.model_config import load_config_file
from fibcore.elaborate import elaborate
from fibcore.errors import ConfigError
from fibcore.model.serving import Serving
from fibcore.model.tree import origins_of
from fibcore.sources.tree import SourceTree

DENSE: dict[str, Any] = {
    "dim": 256,
    "n_layers": 4,
    "head_dim": 32,
    "hidden_dim": 512,
    "n_heads": 8,
    "n_kv_heads": 2,
    "norm_eps": 1e-5,
    "vocab_size": 1024,
    "rope_theta": 1e6,
}
LARGE: dict[str, Any] = {
    **{k: v for k, v in DENSE.items() if k != "head_dim"},
    "q_lora_rank": 96,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
    "llama_4_scaling": {"original_max_position_embeddings": 8192, "beta": 0.1},
    "yarn": {"factor": 36, "original_max_position_embeddings": 8192, "beta": 32, "alpha": 1},
    "moe": {
        "num_experts": 16,
        "num_experts_per_tok": 4,
        "num_shared_experts": 1,
        "expert_hidden_dim": 128,
        "first_k_dense_replace": 1,
        "route_every_n": 1,
        "routed_scale": 1.0,
        "num_expert_groups": 1,
        "num_expert_groups_per_tok": 1,
    },
}


def translated(params: dict[str, Any], name: str = "models/some") -> Any:
    return translate(params, name, "params.json")


def test_the_form_is_told_by_its_keys() -> None:
    assert is_params(DENSE)
    assert not is_params({**DENSE, "architectures": ["X"]})
    assert not is_params({"hidden_size": 4})


def test_a_dense_model() -> None:
    found = translated({**DENSE, "q_lora_rank": None})
    assert found.data == {
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "head_dim": 32,
        "intermediate_size": 512,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "vocab_size": 1024,
        "rope_theta": 1e6,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "max_seq_len": 128_000,
        "max_position_embeddings": 128_000,
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "rope_is_neox_style": False,
    }
    assert found.origins["hidden_size"] == "params.json:dim"
    assert found.origins["vocab_size"] == "params.json:vocab_size"
    assert found.origins["hidden_act"] == "default:params.json.hidden_act"


def test_large_models_are_those_of_deepseek() -> None:
    data = translated(LARGE).data
    assert data["architectures"] == ["MistralLarge3ForCausalLM"]
    assert data["model_type"] == "deepseek_v3"
    assert (data["n_routed_experts"], data["n_shared_experts"], data["moe_layer_freq"]) == (
        16,
        1,
        1,
    )
    assert (data["n_group"], data["topk_group"], data["scoring_func"]) == (1, 1, "softmax")
    assert translated(LARGE).origins["n_routed_experts"] == "params.json:moe.num_experts"
    assert data["rope_scaling"] == {
        "rope_type": "deepseek_yarn",
        "mscale_all_dim": 1,
        "rope_theta": 1e6,
        "factor": 36,
        "original_max_position_embeddings": 8192,
        "beta_fast": 32,
        "beta_slow": 1,
    }


@pytest.mark.parametrize(
    ("params", "name", "architecture"),
    [
        (DENSE, "mistral-medium-eagle", "MistralForCausalLMEagle"),
        (LARGE, "Mistral-Large-3-Eagle", "MistralLarge3ForCausalLMEagle"),
        (
            {k: v for k, v in LARGE.items() if k != "moe"},
            "mistral-small-4-eagle",
            "MistralLarge3ForCausalLMEagle",
        ),
    ],
)
def test_draft_models_are_told_by_their_name(
    params: dict[str, Any], name: str, architecture: str
) -> None:
    assert translated(params, name).data["architectures"] == [architecture]


def test_mixtral_says_that_sglang_reads_another_file() -> None:
    found = translated({**DENSE, "moe": {"num_experts": 8, "num_experts_per_tok": 2}})
    assert found.data["architectures"] == ["MixtralForCausalLM"]
    assert (found.data["num_local_experts"], found.data["num_experts_per_tok"]) == (8, 2)
    assert "config.json" in found.notes[0]


def test_vision_models_hold_the_language_model() -> None:
    vision = {"hidden_size": 64, "num_hidden_layers": 2, "patch_size": 14}
    found = translated({**DENSE, "vision_encoder": vision})
    assert found.data["architectures"] == ["PixtralForConditionalGeneration"]
    assert found.data["text_config"]["hidden_size"] == 256
    assert found.data["vision_config"] == {"model_type": "pixtral", **vision}
    assert found.origins["text_config.hidden_size"] == "params.json:dim"
    assert found.origins["vision_config.patch_size"] == "params.json:vision_encoder.patch_size"


def test_audio_models_hold_whisper() -> None:
    encoder = {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128, "vocab_size": 100}
    audio = {"encoder_args": encoder, "downsample_args": {"downsample_factor": 4}}
    data = translated({**DENSE, "multimodal": {"whisper_model_args": audio}}).data
    assert data["architectures"] == ["VoxtralForConditionalGeneration"]
    assert (data["audio_config"]["d_model"], data["audio_config"]["downsample_factor"]) == (64, 4)


@pytest.mark.parametrize(
    ("scheme", "activation"), [("TENSOR", "static"), (None, "static"), ("NO_SCALES", "dynamic")]
)
def test_quantised_models(scheme: str | None, activation: str) -> None:
    section = {"qformat_weight": "fp8_e4m3", "qscheme_act": scheme}
    data = translated({**DENSE, "quantization": section}).data
    assert data["quantization_config"] == {"quant_method": "fp8", "activation_scheme": activation}


def test_windows_by_layer() -> None:
    data = translated({**DENSE, "sliding_window": [None, 4096]}).data
    assert data["sliding_window"] == 4096
    assert data["layer_types"] == ["full_attention", "sliding_attention"] * 2


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"quantization": {"qformat_weight": "int4"}}, "quantization"),
        ({"quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "ROW"}}, "quantization"),
        ({"yarn": {"factor": 2, "gamma": 1}}, "yarn.gamma"),
        ({"moe": LARGE["moe"]}, "llama_4_scaling"),
    ],
)
def test_what_sglang_does_not_read_is_an_error(change: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        translated({**DENSE, **change})
    assert caught.value.where == f"params.json: {where}"
    assert caught.value.expected


def test_which_file_of_a_folder_is_read(tmp_path: Path) -> None:
    own = {
        **dict.fromkeys(("hidden_size", "num_attention_heads", "num_hidden_layers"), 4),
        "vocab_size": 8,
        "intermediate_size": 8,
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
    }
    for name, kind in (
        ("Ministral", "LlamaForCausalLM"),
        ("Mistral-Large-3", "MistralForCausalLM"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "params.json").write_text(json.dumps(DENSE))
        assert load_config_file(folder, "x").architecture == "MistralForCausalLM"
        (folder / "config.json").write_text(json.dumps(own))
        assert load_config_file(folder, "x").architecture == kind
    assert wants_params("mistralai/Mistral-Small-4-119B")
    assert not wants_params("mistralai/Mistral-7B-v0.3")


def test_numbers_name_mistrals_keys(tmp_path: Path, sglang_source: Path) -> None:
    path = tmp_path / "params.json"
    path.write_text(json.dumps(DENSE))
    version = sglang_source.name.partition("-")[2]
    source = SourceTree(sglang_source / "sglang", version, None, "PyPI")
    tree = elaborate(source, load_config_file(path, "x"), Serving(tp=2))
    assert not tree.partial
    attention = tree.find("model.layers.1.self_attn.attn")
    assert attention is not None
    heads = attention.argument("num_heads")
    assert heads == 4
    assert origins_of(heads) == {"params.json:n_heads", "serving:tp"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("moe", [8]),
        ("multimodal", "x"),
        ("multimodal", {"vision_encoder_args": [1]}),
        ("multimodal", {"whisper_model_args": {"encoder_args": 5}}),
        ("vision_encoder", 5),
        ("quantization", "fp8"),
        ("quantization", ["fp8"]),
        ("yarn", [1]),
    ],
)
def test_a_part_of_another_type_is_an_error(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "params.json"
    plain = {"dim": 64, "n_layers": 2, "n_heads": 4, "vocab_size": 256, "hidden_dim": 128}
    path.write_text(json.dumps({**plain, key: value}))
    with pytest.raises(ConfigError, match="not a value that the key can have"):
        load_config_file(path, "x")


def test_windows_of_more_layers_than_there_can_be_are_not_written_out(tmp_path: Path) -> None:
    path = tmp_path / "params.json"
    plain = {"dim": 64, "n_heads": 4, "vocab_size": 256, "hidden_dim": 128}
    path.write_text(json.dumps({**plain, "n_layers": 10**12, "sliding_window": [8, None]}))
    with pytest.raises(ConfigError, match="not a size that can be"):
        load_config_file(path, "x")
