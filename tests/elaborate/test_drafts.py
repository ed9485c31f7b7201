"""Draft models on a real source are whole, and their norms are called as SGLang calls them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from fibcore.configs.model_config import ModelConfig
from fibcore.elaborate import elaborate
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree
from fibcore.sources.tree import SourceTree
from tests.conftest import NoSourceError, sglang_folder

LLAMA = {
    "model_type": "llama",
    "attention_bias": False,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "num_attention_heads": 32,
    "num_hidden_layers": 1,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}
MIMO = {
    **LLAMA,
    "model_type": "mimo",
    "attention_bias": True,
    "head_dim": 128,
    "num_hidden_layers": 36,
    "num_nextn_predict_layers": 1,
    "vocab_size": 151680,
}
BLOCKS = {
    **LLAMA,
    "model_type": "qwen3",
    "block_size": 16,
    "dflash_config": {"mask_token_id": 5, "target_layer_ids": [1, 9, 17]},
    "head_dim": 128,
    "layer_types": ["full_attention"] * 3,
    "num_hidden_layers": 3,
    "num_target_layers": 36,
}
CONVOLVED = {**BLOCKS["dflash_config"], "conv_kernel_size": 4, "conv_group_size": 64}
DSPARK = {**BLOCKS, "enable_confidence_head": True, "markov_rank": 256}
LILICORR = {
    **BLOCKS["dflash_config"],
    "lilicorr_candidate_topk": 8,
    "lilicorr_factor_dim": 64,
    "lilicorr_hidden_size": 256,
    "lilicorr_logit_scale": 10.0,
    "lilicorr_mlp_ratio": 4.0,
    "lilicorr_num_heads": 4,
    "lilicorr_num_layers": 2,
    "lilicorr_vector_eps": 1e-6,
}
# Class, config, and how often norms of which size are called plainly and with a residual. A DFlash
# draft has two plain ones: the first layer's, and that of what it gets of the target model.
DRAFTS: dict[str, tuple[str, Mapping[str, Any], dict[tuple[int, str], int]]] = {
    "EAGLE": ("LlamaForCausalLMEagle", LLAMA, {(4096, "fused"): 1}),
    "EAGLE-3": (
        "LlamaForCausalLMEagle3",
        {**LLAMA, "draft_vocab_size": 32000},
        {(4096, "plain"): 2, (4096, "fused"): 2},
    ),
    "MiMo MTP": ("MiMoMTP", MIMO, {(4096, "plain"): 4, (4096, "fused"): 1}),
    "DFlash": (
        "DFlashDraftModel",
        BLOCKS,
        {(4096, "plain"): 2, (4096, "fused"): 6, (128, "plain"): 6},
    ),
    "DFlash with convolutions": (
        "DFlashDraftModel",
        {**BLOCKS, "dflash_config": CONVOLVED},
        {(4096, "plain"): 2, (4096, "fused"): 6, (128, "plain"): 6},
    ),
    **{
        f"DSpark, {head}": (
            "Qwen3DSparkModel",
            {**DSPARK, "markov_head_type": head},
            {(4096, "plain"): 2, (4096, "fused"): 6, (128, "plain"): 6},
        )
        for head in ("vanilla", "gated", "rnn")
    },
    "LiLiCorr": (
        "LiLiCorrDraftModel",
        {**BLOCKS, "dflash_config": LILICORR},
        {(4096, "plain"): 2, (4096, "fused"): 6, (128, "plain"): 6, (256, "plain"): 6},
    ),
}


def drafted(architecture: str, config: Mapping[str, Any]) -> ModelTree:
    try:
        folder = sglang_folder("0.5.23")
    except NoSourceError as error:
        pytest.skip(str(error))
    return elaborate(
        SourceTree(folder / "sglang", "0.5.23", None, "PyPI"),
        ModelConfig("draft", None, {**config, "architectures": [architecture]}, "given"),
        Serving(),
    )


@pytest.mark.parametrize("name", DRAFTS)
def test_drafts_are_whole(name: str) -> None:
    architecture, config, expected = DRAFTS[name]
    tree = drafted(architecture, config)
    assert tree.missing == ()
    norms = [n for n in tree.walk() if n.cls.endswith("layernorm.RMSNorm")]
    assert all(len(n.calls) == 1 for n in norms), [n.path for n in norms if len(n.calls) != 1]
    found = Counter(
        (
            int(n.arguments["hidden_size"]),
            "plain" if n.calls[0].argument(1, "residual") is None else "fused",
        )
        for n in norms
    )
    assert found == expected


def test_a_draft_of_a_targets_config_is_what_the_loader_makes_of_it() -> None:
    """The config of a draft names the draft, as models ask (`architectures[0]`)."""
    tree = drafted("MiMoMTP", MIMO)
    assert tree.architecture == "MiMoMTP"
    assert sum(n.cls.endswith("QKVParallelLinear") for n in tree.walk()) == 1


def test_layers_have_calls_of_what_a_method_of_workers_takes_away() -> None:
    """`prune_to_ctx_kv_injection` assigns None to the MLPs, on ranks that write keys alone."""
    layers = {"num_hidden_layers": 5, "layer_types": ["full_attention"] * 5}
    tree = drafted("Qwen3DSparkModel", {**DSPARK, "markov_head_type": "vanilla", **layers})
    found = [n for n in tree.walk() if n.path.endswith((".o_proj", ".down_proj", ".act_fn"))]
    assert len(found) == 15
    assert [n.path for n in found if n.idle or len(n.calls) != 1] == []
