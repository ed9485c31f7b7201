"""What LoRA adapters add to a model, on real releases."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fibcore.configs.catalogue import resolve_model
from fibcore.elaborate import elaborate
from fibcore.elaborate.launching import read_launch
from fibcore.errors import UsageError
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree
from fibcore.sources.tree import tree_at

CONFIG = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 1024,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "torch_dtype": "bfloat16",
    "head_dim": 64,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 256,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
Served = Callable[..., ModelTree]
SHRINK, EXPAND = "chunked_sgmv_lora_shrink_forward", "chunked_sgmv_lora_expand_forward"


@pytest.fixture
def served(sglang: Callable[[str], Path]) -> Served:
    def found(line: str, version: str = "0.5.23") -> ModelTree:
        source = tree_at(sglang(version) / "sglang", "sglang", "tests")
        serving = Serving(launch=read_launch(source, line).launch)
        return elaborate(source, resolve_model("small", config_file=CONFIG).config, serving)

    return found


def added(tree: ModelTree) -> Counter[tuple[str, str]]:
    calls = [call for call in tree.kernel_calls if "max_lora_rank" in call.kwargs]
    return Counter((call.module.rpartition(".")[2], call.name) for call in calls)


@pytest.mark.parametrize("version", ["0.5.9", "0.5.18", "0.5.23"])
def test_wrapped_layers_launch_the_backends_kernels(served: Served, version: str) -> None:
    tree = served(
        "--enable-lora --max-lora-rank 16 --lora-target-modules q_proj k_proj o_proj", version
    )
    assert not tree.missing
    assert added(tree) == {
        ("qkv_proj", SHRINK): 2,
        ("qkv_proj", EXPAND): 2,
        ("o_proj", SHRINK): 2,
        ("o_proj", EXPAND): 2,
    }


def test_another_backend_has_other_kernels(served: Served) -> None:
    line = "--enable-lora --max-lora-rank 16 --lora-target-modules q_proj --lora-backend triton"
    assert set(added(served(line))) == {
        ("qkv_proj", "sgemm_lora_a_fwd"),
        ("qkv_proj", "qkv_lora_b_fwd"),
    }


def test_releases_without_a_registry_choose_by_a_function(served: Served) -> None:
    line = "--enable-lora --max-lora-rank 16 --lora-target-modules o_proj"
    assert set(added(served(f"{line} --lora-backend csgmv", "0.5.3"))) == {
        ("o_proj", SHRINK),
        ("o_proj", EXPAND),
    }


def test_everything_is_wrapped_experts_too(served: Served) -> None:
    found = added(served("--enable-lora --max-lora-rank 16 --lora-target-modules all"))
    assert found["experts", "FusedMoEWithLoRA"] == 2
    assert found["embed_tokens", "chunked_embedding_lora_a_forward"] == 1
    assert found["lm_head", EXPAND] == 1


def test_an_adapter_at_hand_says_what_it_is_for(served: Served, tmp_path: Path) -> None:
    config: Any = {"r": 32, "target_modules": ["o_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    tree = served(f"--lora-paths one={tmp_path}")
    assert set(added(tree)) == {("o_proj", SHRINK), ("o_proj", EXPAND)}
    ranks = [c.kwargs["max_lora_rank"] for c in tree.kernel_calls if "max_lora_rank" in c.kwargs]
    assert set(ranks) == {32}
    (tmp_path / "adapter_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match="config of an adapter"):
        served(f"--lora-paths one={tmp_path}")


def test_what_is_not_known_is_missing(served: Served) -> None:
    tree = served("--enable-lora --lora-paths a=some/adapter")
    assert [m.path for m in tree.missing] == ["lora"]
    assert not added(tree)


def test_without_adapters_nothing_is_added(served: Served) -> None:
    assert not added(served("--tp 1"))
