"""Quantisation sections of configs: what is of another type is an error that names the key."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fibcore.configs.model_config import load_config_file
from fibcore.errors import ConfigError

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 256,
}
GROUP = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float"}}


def load(folder: Path, **keys: Any) -> dict[str, Any]:
    """The config that a file with these keys is read as."""
    path = folder / "config.json"
    path.write_text(json.dumps({**LLAMA, **keys}))
    return dict(load_config_file(path, "x").data)


@pytest.mark.parametrize("section", ["fp8", "", 8, 0, True, False, ["fp8"], [], {}])
@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
def test_a_section_that_is_no_object_is_no_model_of_bfloat16(
    tmp_path: Path, key: str, section: object
) -> None:
    for nested in (False, True):
        keys = {"text_config": {**LLAMA, key: section}} if nested else {key: section}
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, **keys)
        place = f"text_config.{key}" if nested else key
        assert str(caught.value.where).endswith(f"config.json: {place}")
        assert caught.value.expected is not None
        assert caught.value.found == f"{type(section).__name__} {section!r}"


def test_null_says_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, quantization_config=None, compression_config=None) == {
        **LLAMA,
        "quantization_config": None,
        "compression_config": None,
    }


@pytest.mark.parametrize(
    ("section", "place"),
    [
        ({"quant_method": 8}, "quant_method"),
        ({"quant_method": ["fp8"]}, "quant_method"),
        ({"quant_method": "gptq", "bits": "4"}, "bits"),
        ({"quant_method": "gptq", "bits": True}, "bits"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128.5}, "group_size"),
        ({"quant_method": "gptq", "bits": 4, "dynamic": ["-:x"]}, "dynamic"),
        ({"quant_method": "gptq", "bits": 4, "dynamic": {"+:x": 8}}, "dynamic"),
        ({"quant_method": "gptq", "dynamic": {"+:x": {"bits": "8"}}}, "dynamic.+:x.bits"),
        ({"quant_method": "fp8", "weight_block_size": 128}, "weight_block_size"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, "weight_block_size"),
        ({"quant_method": "fp8", "weight_block_size": [128, "128"]}, "weight_block_size"),
        ({"quant_method": "fp8", "weight_block_size": [128, 0]}, "weight_block_size"),
        ({"quant_method": "fp8", "modules_to_not_convert": "lm_head"}, "modules_to_not_convert"),
        ({"quant_method": "fp8", "ignored_layers": [1]}, "ignored_layers"),
        ({"quant_method": "fp8", "activation_scheme": {}}, "activation_scheme"),
        ({"quant_method": "compressed-tensors", "ignore": 5}, "ignore"),
        ({"quant_method": "compressed-tensors", "config_groups": [GROUP]}, "config_groups"),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": 1}}, "config_groups"),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"g": {"targets": "Linear"}}},
            "config_groups.g.targets",
        ),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": 8}}},
            "config_groups.g.weights",
        ),
        (
            {"quant_method": "x", "config_groups": {"g": {"weights": {"num_bits": "8"}}}},
            "config_groups.g.weights.num_bits",
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": "x"},
            "quantized_layers",
        ),
        ({"quant_method": "modelopt", "quantization": "NVFP4"}, "quantization"),
        ({"quant_method": "modelopt"}, "quant_algo"),
        ({"quantization": {"quant_algo": None}}, "quant_algo"),
        ({"quant_method": "auto-round", "extra_config": {"a": "b"}}, "extra_config"),
        ({"quant_method": "quark", "layer_quant_config": []}, "layer_quant_config"),
    ],
)
def test_a_key_of_another_type_is_an_error_with_its_place(
    tmp_path: Path, section: dict[str, Any], place: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, quantization_config=section)
    assert str(caught.value.where).endswith(f"config.json: quantization_config.{place}")


@pytest.mark.parametrize(
    "section",
    [
        {"quant_method": "fp8", "weight_block_size": None, "ignored_layers": None},
        {"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": []},
        {"quant_method": "gptq", "bits": 4, "group_size": -1, "dynamic": {"-:.*": {}, "+:x": {}}},
        {
            "quant_method": "compressed-tensors",
            "config_groups": {
                "g": {
                    **GROUP,
                    "input_activations": {"num_bits": 8, "dynamic": "local", "type": "float"},
                }
            },
            "sparsity_config": {"format": "dense"},
            "kv_cache_scheme": None,
        },
        {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]},
        {"quantization": {"quant_algo": "NVFP4", "exclude_modules": []}},
        # Names of layers may be those of keys.
        {"quantized_layers": {"bits": {"quant_algo": "FP8"}}, "quant_algo": "MIXED_PRECISION"},
        {"quant_method": "quark", "global_quant_config": {"weight": [{"dtype": "int4"}]}},
        {"quant_method": "auto-round", "block_name_to_quantize": "model.layers"},
    ],
)
def test_what_the_formats_have_is_taken(tmp_path: Path, section: dict[str, Any]) -> None:
    assert load(tmp_path, quantization_config=section)["quantization_config"] == section


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"text_config": ["x"]}, "text_config"),
        ({"vision_config": "x"}, "vision_config"),
        ({"rope_scaling": "yarn"}, "rope_scaling"),
        ({"rope_parameters": []}, "rope_parameters"),
        ({"model_type": 5}, "model_type"),
        ({"layer_types": "full_attention"}, "layer_types"),
        ({"sliding_window": "4096"}, "sliding_window"),
        ({"sliding_window": {"size": 4}}, "sliding_window"),
        ({"n_shared_experts": "1"}, "n_shared_experts"),
        ({"first_k_dense_replace": True}, "first_k_dense_replace"),
        ({"text_config": {**LLAMA, "sliding_window": "4096"}}, "text_config.sliding_window"),
    ],
)
def test_other_keys_of_another_type_are_an_error(
    tmp_path: Path, keys: dict[str, Any], place: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **keys)
    assert str(caught.value.where).endswith(f"config.json: {place}")


class TestQuantFile:
    """hf_quant_config.json beside a config that says nothing of quantisation itself."""

    def write(self, folder: Path, text: str) -> None:
        (folder / "hf_quant_config.json").write_text(text)

    def test_null_in_the_config_leaves_it_to_the_file(self, tmp_path: Path) -> None:
        self.write(tmp_path, '{"quantization": {"quant_algo": "FP8", "exclude_modules": ["a"]}}')
        for keys in ({}, {"quantization_config": None}, {"quantization": {"bits": 4}}):
            assert load(tmp_path, **keys)["quantization_config"] == {
                "quant_algo": "FP8",
                "quant_method": "modelopt",
                "ignore": ["a"],
            }

    def test_the_config_comes_first(self, tmp_path: Path) -> None:
        self.write(tmp_path, '{"quantization": {"quant_algo": "FP8"}}')
        section = {"quant_method": "fp8"}
        assert load(tmp_path, compression_config=section).get("quantization_config") is None

    def test_no_algorithm_is_no_quantisation(self, tmp_path: Path) -> None:
        self.write(tmp_path, '{"quantization": {"quant_algo": null}}')
        assert load(tmp_path)["quantization_config"] is None

    @pytest.mark.parametrize(
        "text", ["[]", "{}", '{"quantization": "FP8"}', '{"quantization": {"quant_algo": 8}}', "["]
    )
    def test_what_is_no_such_file_is_an_error(self, tmp_path: Path, text: str) -> None:
        self.write(tmp_path, text)
        with pytest.raises(ConfigError, match=r"hf_quant_config\.json"):
            load(tmp_path)

    @pytest.mark.skipif(os.name != "posix", reason="FIFOs are POSIX's")
    def test_what_is_no_file_is_an_error(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "hf_quant_config.json")
        with pytest.raises(ConfigError, match="a FIFO"):
            load(tmp_path)
        (tmp_path / "hf_quant_config.json").unlink()
        (tmp_path / "hf_quant_config.json").symlink_to("nowhere")
        with pytest.raises(ConfigError, match="No such file"):
            load(tmp_path)
