"""Configs from files: what is read, what is merged, and what is refused and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fibcore.configs import model_config as configs
from fibcore.configs.checks import LIMITS, check_config
from fibcore.configs.model_config import ModelConfig, load_config_file
from fibcore.errors import ConfigError

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 100,
}


def write(path: Path, data: object) -> Path:
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def test_a_file_and_a_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "config.json", LLAMA)
    for given in (path, tmp_path, str(path)):
        config = load_config_file(given, "tiny")
        assert config == ModelConfig("tiny", None, LLAMA, f"file:{path}")
        assert config.architecture == "LlamaForCausalLM"


def test_a_byte_order_mark_and_infinity_are_read(tmp_path: Path) -> None:
    text = json.dumps({**LLAMA, "time_step_limit": [0.0, float("inf")]})
    path = tmp_path / "c.json"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_config_file(path, "tiny").data["time_step_limit"] == [0.0, float("inf")]


def test_architecture_of_data_without_one() -> None:
    for data in ({}, {"architectures": []}, {"architectures": "x"}, {"architectures": [1]}):
        with pytest.raises(ConfigError, match="architectures"):
            _ = ModelConfig("x", None, data, "given").architecture


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,\n  "b": }', r"line 2 column 8: not JSON"),
        ("", "line 1 column 1: not JSON"),
        ("[1]", "not a model's config"),
        ('"x"', "found: str"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 200 + "1" + "}" * 200, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "a number that no float holds"),
        ('{"a": ' + "9" * 400 + "}", "a number that no float holds"),
        (r'{"a": {"b": ["x", "\ud800"]}}', r"a\.b\[1\]: not text that UTF-8 can hold"),
    ],
)
def test_not_a_json_object(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config_file(write(tmp_path / "c.json", text), "x")
    assert str(tmp_path / "c.json") in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config_file(tmp_path / "none.json", "x")
    with pytest.raises(ConfigError, match="No such file"):
        load_config_file(tmp_path, "x")
    binary = tmp_path / "b.json"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config_file(binary, "x")
    monkeypatch.setattr(configs, "MAX_BYTES", 10)
    with pytest.raises(ConfigError, match="where at most 10 are read"):
        load_config_file(write(tmp_path / "c.json", LLAMA), "x")


@pytest.mark.parametrize(
    "key",
    [
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_hidden_layers",
        "vocab_size",
    ],
)
@pytest.mark.parametrize("null", [False, True])
def test_a_needed_key_that_is_missing_is_named(key: str, null: bool) -> None:
    data = {**LLAMA, key: None}
    if not null:
        del data[key]
    with pytest.raises(ConfigError) as caught:
        check_config(data, "c.json")
    assert caught.value.where == f"c.json: {key}"
    assert caught.value.expected
    assert "needed key" in caught.value.message


def test_the_architecture_or_the_model_type() -> None:
    check_config({**LLAMA, "architectures": None}, "c.json")  # the model type tells
    for data in ({**LLAMA, "architectures": "x"}, {**LLAMA, "architectures": []}):
        with pytest.raises(ConfigError, match="not a list of class names"):
            check_config(data, "c.json")
    with pytest.raises(ConfigError, match="a needed key is missing") as caught:
        check_config({"hidden_size": 4}, "c.json")
    assert caught.value.where == "c.json: architectures"
    assert "model_type" in (caught.value.hint or "")


def test_sizes_of_other_names_are_left_to_the_model() -> None:
    # whisper has no num_attention_heads, but heads of an encoder and of a decoder.
    check_config({"architectures": ["X"], "model_type": "whisper", "d_model": 8}, "c.json")


@pytest.mark.parametrize(
    ("kind", "key"),
    [("mixtral", "num_local_experts"), ("qwen3_moe", "num_experts"), ("kimi_k2", "kv_lora_rank")],
)
def test_needed_keys_of_a_model_type(kind: str, key: str) -> None:
    everything = {**LLAMA, **dict.fromkeys(LIMITS, 4), "model_type": kind}
    check_config(everything, "c.json")
    del everything[key]
    with pytest.raises(ConfigError, match=key):
        check_config(everything, "c.json")


@pytest.mark.parametrize(
    "key", ["hidden_size", "num_attention_heads", "vocab_size", "head_dim", "kv_lora_rank"]
)
@pytest.mark.parametrize(
    "value", [0, -1, True, "4096", 4096.0, 10**9, 10**30, {}, [4, 0], float("nan")]
)
def test_sizes_that_cannot_be(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config({**LLAMA, key: value}, "c.json")
    assert caught.value.where == f"c.json: {key}"
    assert caught.value.expected == f"an integer from 1 to {LIMITS[key]}"
    assert caught.value.found == repr(value[1] if isinstance(value, list) else value)


def test_sizes_that_can_be() -> None:
    # Nothing, none at all, and one a layer are all in use.
    check_config({**LLAMA, "head_dim": None, "num_experts": 0, "q_lora_rank": None}, "c.json")
    check_config({**LLAMA, "num_key_value_heads": [2, 4], "intermediate_size": [8, 9]}, "c.json")
    with pytest.raises(ConfigError, match="num_experts"):
        check_config({**LLAMA, "num_experts": -1}, "c.json")


@pytest.mark.parametrize("key", ["rms_norm_eps", "rope_theta", "layer_norm_epsilon"])
@pytest.mark.parametrize("value", [0, -1e-5, "1e-5", True, float("nan"), float("inf"), [0]])
def test_numbers_that_cannot_be(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config({**LLAMA, key: value}, "c.json")
    assert (caught.value.where, caught.value.expected) == (f"c.json: {key}", "a positive number")


def test_sizes_of_an_attention_that_a_model_has_not_got() -> None:
    check_config({**LLAMA, "v_head_dim": 0, "use_mla": False}, "c.json")
    with pytest.raises(ConfigError, match="v_head_dim"):
        check_config({**LLAMA, "v_head_dim": 0}, "c.json")


def test_a_base_frequency_for_each_layer() -> None:
    check_config({**LLAMA, "rope_theta": [1e6, 1e4]}, "c.json")


def test_objects_that_are_no_configs_are_for_the_model_alone() -> None:
    check_config({**LLAMA, "mixer_config": {"jet": {"norm_eps": "1e-5"}}}, "c.json")
    with pytest.raises(ConfigError, match=r"mixer_config\.norm_eps"):
        check_config({**LLAMA, "mixer_config": {"norm_eps": "1e-5"}}, "c.json")


def test_nested_configs_are_checked_and_need_less() -> None:
    text = {k: v for k, v in LLAMA.items() if k not in ("architectures", "vocab_size")}
    data = {"architectures": ["X"], "model_type": "x", "text_config": text}
    check_config(data, "c.json")
    with pytest.raises(ConfigError) as caught:
        check_config({**data, "text_config": {**text, "hidden_size": 0}}, "c.json")
    assert caught.value.where == "c.json: text_config.hidden_size"


def test_models_without_attention_need_no_heads() -> None:
    data = {k: v for k, v in LLAMA.items() if "heads" not in k}
    check_config({**data, "model_type": "mamba2"}, "c.json")
    with pytest.raises(ConfigError, match="num_attention_heads"):
        check_config(data, "c.json")


def test_heads_that_cannot_be_shared_out() -> None:
    with pytest.raises(ConfigError, match="KV heads") as caught:
        check_config({**LLAMA, "num_key_value_heads": 3}, "c.json")
    assert caught.value.expected == "a divisor of num_attention_heads = 4"


def test_modelopt_file_beside_the_config(tmp_path: Path) -> None:
    path = write(tmp_path / "config.json", LLAMA)
    quantization = {
        "quant_algo": "NVFP4",
        "kv_cache_quant_algo": "FP8",
        "group_size": 16,
        "exclude_modules": ["lm_head"],
    }
    producer = {"name": "modelopt", "version": "0.33.0"}
    write(tmp_path / "hf_quant_config.json", {"producer": producer, "quantization": quantization})
    assert load_config_file(path, "x").data["quantization_config"] == {
        "quant_method": "modelopt",
        "quant_algo": "NVFP4",
        "kv_cache_quant_algo": "FP8",
        "group_size": 16,
        "ignore": ["lm_head"],
        "producer": producer,
    }
    # What the config says itself comes first.
    own = {"quant_method": "fp8"}
    write(path, {**LLAMA, "quantization_config": own})
    assert load_config_file(path, "x").data["quantization_config"] == own


@pytest.mark.parametrize("data", [{"quantization": 4}, {"quantization": {"quant_algo": 4}}])
def test_a_modelopt_file_that_is_none(tmp_path: Path, data: object) -> None:
    path = write(tmp_path / "config.json", LLAMA)
    write(tmp_path / "hf_quant_config.json", data)
    with pytest.raises(ConfigError, match="hf_quant_config"):
        load_config_file(path, "x")
