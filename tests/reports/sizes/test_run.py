"""Tests of `fibcore.sizes` on a real release, with numbers that are worked out by hand."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import fibcore
from fibcore.errors import UsageError
from fibcore.ops.registry import Registry
from fibcore.reports.sizes import Size, SizesReport

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 1024,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
EXPERTS = {
    **LLAMA,
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "head_dim": 128,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 256,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "quantization_config": {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
    },
}
Sizes = Callable[..., SizesReport]


@pytest.fixture(scope="module")
def sizes(sglang: Callable[[str], Path], op_plugins: Registry) -> Sizes:
    folder = sglang("0.5.9")

    def found(config: Mapping[str, Any], **asked: Any) -> SizesReport:
        return fibcore.sizes("m", config=config, sglang=folder, registry=op_plugins, **asked)

    return found


def by_sizes(report: SizesReport) -> dict[tuple[int, int, int], Size]:
    return {(size.tp, size.ep, size.dp): size for size in report.sizes}


def test_heads_decide_and_kv_heads_are_replicated(sizes: Sizes) -> None:
    report = sizes(LLAMA, tp=(1, 3, 4, 16))
    found = by_sizes(report)
    assert {key: size.works for key, size in found.items()} == {
        (1, 1, 1): True,
        (3, 1, 1): False,
        (4, 1, 1): True,
        (16, 1, 1): False,
    }
    assert "total_num_heads = 8, tp_size = 3" in found[3, 1, 1].reasons[0]
    assert found[3, 1, 1].where.startswith("sglang/srt/models/llama.py:")
    # Two layers of one key and one value head of 64 elements in bfloat16; one rank alone has two.
    assert found[4, 1, 1].kv_per_token == 2 * 2 * 64 * 2
    assert found[1, 1, 1].kv_per_token == 2 * found[4, 1, 1].kv_per_token  # type: ignore[operator]
    assert report.exit_code == 0


def test_weights_of_a_rank_are_those_of_its_layers(sizes: Sizes) -> None:
    found = by_sizes(sizes(LLAMA, tp=(1, 2)))
    layer = 512 * (8 + 2 * 2) * 64 + 512 * 512 + 3 * 512 * 1024
    vocabulary = 2 * 1024 * 512
    whole = 2 * (2 * layer + vocabulary)
    norms = 5 * 512 * 2
    assert found[1, 1, 1].weights is not None
    assert found[2, 1, 1].weights is not None
    assert whole <= found[1, 1, 1].weights <= whole + norms
    assert whole // 2 <= found[2, 1, 1].weights <= whole // 2 + norms


def test_blocks_of_experts_decide_and_whole_experts_help(sizes: Sizes) -> None:
    found = by_sizes(sizes(EXPERTS, tp=(1, 4)))
    assert set(found) == {(1, 1, 1), (4, 1, 1), (4, 4, 1), (4, 1, 4), (4, 4, 4)}
    (why,) = found[4, 1, 1].reasons
    assert "64 is not divisible by weight quantization block_n = 128" in why
    assert found[4, 4, 1].works
    assert found[4, 4, 4].works
    # With attention of its own, a rank has all KV heads.
    assert found[4, 4, 4].kv_per_token == found[1, 1, 1].kv_per_token


def test_blocks_of_linear_layers_decide(sizes: Sizes) -> None:
    quantised = {**LLAMA, "quantization_config": EXPERTS["quantization_config"], "head_dim": 128}
    found = by_sizes(sizes({**quantised, "intermediate_size": 1280}, tp=(2, 4)))
    assert found[2, 1, 1].works
    (why,) = found[4, 1, 1].reasons
    assert "320 is not divisible by weight quantization block_n = 128" in why
    assert "fp8.py:" in found[4, 1, 1].where


def test_scales_of_blocks_are_weights_too(sizes: Sizes) -> None:
    found = by_sizes(sizes(EXPERTS, tp=(1, 2), ep=1, dp=1))
    plain = {key: value for key, value in EXPERTS.items() if key != "quantization_config"}
    in_bfloat16 = by_sizes(sizes(plain, tp=1, ep=1, dp=1))[1, 1, 1].weights
    assert found[1, 1, 1].weights is not None
    assert in_bfloat16 is not None
    assert in_bfloat16 / 2 < found[1, 1, 1].weights < in_bfloat16


def test_memory_decides(sizes: Sizes) -> None:
    report = sizes(LLAMA, tp=1, gpu_memory="1M")
    assert "of 0 GiB are usable" in report.sizes[0].reasons[0]
    assert report.exit_code == 1
    (size,) = sizes(LLAMA, tp=1, gpu_memory="1G").sizes
    assert size.weights is not None
    assert size.kv_per_token is not None
    assert size.tokens == (int(2**30 * 0.9) - size.weights) // size.kv_per_token


def test_data_for_json_has_what_works(sizes: Sizes) -> None:
    data = sizes(LLAMA, tp=(1, 3)).to_dict()
    assert [entry["works"] for entry in data["sizes"]] == [True, False]
    assert data["sizes"][0]["dp"] == 1


def test_memory_has_to_be_a_size(sizes: Sizes) -> None:
    with pytest.raises(UsageError, match="no such size"):
        sizes(LLAMA, gpu_memory="much")


def test_a_checkpoint_of_float32_is_served_in_16_bits(sizes: Sizes) -> None:
    (short,) = sizes(LLAMA, tp=1).sizes
    (long,) = sizes({**LLAMA, "torch_dtype": "float32"}, tp=1).sizes
    (told,) = sizes(LLAMA, launch="--dtype float32").sizes
    assert (long.weights, long.kv_per_token) == (short.weights, short.kv_per_token)
    assert short.weights is not None
    assert short.kv_per_token is not None
    assert (told.weights, told.kv_per_token) == (2 * short.weights, 2 * short.kv_per_token)
