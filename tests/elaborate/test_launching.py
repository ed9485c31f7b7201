"""Tests of `fibcore.elaborate.launching`: what the server makes of a launch, on real releases."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fibcore.configs.catalogue import resolve_model
from fibcore.elaborate import draft_of, elaborate, settle
from fibcore.elaborate.launching import read_launch
from fibcore.errors import ServingError
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree, Quantization
from fibcore.sources.tree import SourceTree, tree_at

SMALL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "num_hidden_layers": 1,
    "vocab_size": 1024,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "torch_dtype": "bfloat16",
}
# A model whose source divides attention by its own group.
EXPERTS = {
    **SMALL,
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "head_dim": 32,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 256,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}


@pytest.fixture
def source(sglang_source: Path) -> SourceTree:
    return tree_at(sglang_source / "sglang", "sglang", "tests")


@pytest.fixture
def newest(sglang: Callable[[str], Path]) -> SourceTree:
    return tree_at(sglang("0.5.23") / "sglang", "sglang", "tests")


def settled(source: SourceTree, line: str, config: Any = SMALL, **more: Any) -> Serving:
    read = read_launch(source, line)
    serving = Serving(tp=read.tp, ep=read.ep, launch=read.launch, **more)
    return settle(source, resolve_model("small", config_file=config).config, serving)


def tree(source: SourceTree, serving: Serving, config: Any = SMALL) -> ModelTree:
    return elaborate(source, resolve_model("small", config_file=config).config, serving)


def heads(found: ModelTree) -> set[tuple[Any, Any]]:
    layers = [n for n in found.root.walk() if n.class_name == "RadixAttention"]
    return {(n.argument("num_heads"), n.argument("num_kv_heads")) for n in layers}


@pytest.mark.parametrize(
    ("line", "attention", "expected"),
    [
        ("--tp 4 --dp-size 4 --enable-dp-attention", 1, {(16, 8)}),
        ("--tp 4 --dp-size 2 --enable-dp-attention", 2, {(8, 4)}),
        ("--tp 4 --dp-size 2", 4, {(4, 2)}),  # replicas, each with all ranks
    ],
)
def test_attention_is_split_over_what_the_launch_leaves(
    source: SourceTree, line: str, attention: int, expected: set[tuple[int, int]]
) -> None:
    serving = settled(source, line, EXPERTS)
    assert (serving.tp, serving.attention_tp) == (4, attention)
    assert heads(tree(source, serving, EXPERTS)) == expected


def test_context_parallel_ranks_have_heads_together(newest: SourceTree) -> None:
    serving = settled(newest, "--tp 4 --attn-cp-size 2", EXPERTS)
    assert serving.attention_tp == 2
    assert heads(tree(newest, serving, EXPERTS)) == {(8, 4)}


def test_the_servers_own_checks_refuse(source: SourceTree) -> None:
    with pytest.raises(ServingError, match="SGLang refuses these options") as caught:
        settled(source, "--tp 4 --dp-size 3 --enable-dp-attention")
    assert "size == 0 does not hold" in str(caught.value.found)
    assert str(caught.value.where).startswith("sglang/srt/")


def test_an_expert_backend_settles_the_expert_parallel_size(source: SourceTree) -> None:
    serving = settled(source, "--tp 8 --moe-a2a-backend deepep")
    assert (serving.tp, serving.ep, serving.expert_tp) == (8, 8, 1)


def test_what_decides_nothing_is_not_effective(newest: SourceTree) -> None:
    serving = settled(newest, "--tp 2 --port 1 --mem-fraction-static 0.7")
    assert serving.launch is not None
    assert serving.launch.effective.isdisjoint({"port", "mem_fraction_static"})


def formats(found: ModelTree) -> set[Any]:
    linears = [n for n in found.root.walk() if n.class_name.endswith("ParallelLinear")]
    return {n.quantization for n in linears}


def test_plain_weights_are_quantised_as_the_launch_says(newest: SourceTree) -> None:
    found = formats(tree(newest, settled(newest, "--quantization fp8")))
    assert found == {Quantization("fp8", "float8_e4m3fn", "channel", None, None, "dynamic")}


def test_a_format_that_the_server_makes_and_is_not_known_here_is_unknown(
    newest: SourceTree,
) -> None:
    found = formats(tree(newest, settled(newest, "--quantization mxfp4")))
    assert not any(isinstance(answer, Quantization) or answer is None for answer in found)


def test_a_checkpoint_that_is_quantised_otherwise_is_refused(newest: SourceTree) -> None:
    config = {
        **SMALL,
        "quantization_config": {
            "quant_method": "fp8",
            "activation_scheme": "dynamic",
            "weight_block_size": [128, 128],
        },
    }
    serving = settled(newest, "--quantization awq", config)
    with pytest.raises(ServingError, match="refuses this quantisation"):
        tree(newest, serving, config)
    (same,) = formats(tree(newest, settled(newest, "--quantization fp8", config), config))
    assert same == Quantization("fp8", "float8_e4m3fn", "block", (128, 128), None, "dynamic")


def test_the_cache_dtype_and_keys_of_the_config_reach_the_tree(newest: SourceTree) -> None:
    line = """--kv-cache-dtype fp8_e4m3 --dtype half --json-model-override-args '{"a_key": 3}'"""
    found = tree(newest, settled(newest, line))
    assert found.kv_cache_dtype == "fp8_e4m3"
    assert (found.config["torch_dtype"], found.config["a_key"]) == ("float16", 3)


def test_8_bit_weights_are_those_of_the_gpu(newest: SourceTree) -> None:
    serving = settled(newest, "--quantization fp8", gpu="MI300")
    found = formats(tree(newest, serving))
    assert {one.weight_dtype for one in found} == {"float8_e4m3fnuz"}


def test_aiter_is_called_where_its_variable_is_set(newest: SourceTree) -> None:
    config = {
        **EXPERTS,
        "quantization_config": {
            "quant_method": "fp8",
            "activation_scheme": "dynamic",
            "weight_block_size": [128, 128],
        },
    }
    called = {}
    for line in ("--tp 1", "SGLANG_USE_AITER=1 --tp 1"):
        found = tree(newest, settled(newest, line, config, gpu="MI300"), config)
        called[line] = {c.name for c in found.kernel_calls if c.function.startswith("aiter.")}
    assert not called["--tp 1"]
    assert any("quant" in name for name in called["SGLANG_USE_AITER=1 --tp 1"])


LATENT = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "num_hidden_layers": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": None,
    "kv_lora_rank": 128,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 64,
    "v_head_dim": 64,
    "moe_intermediate_size": 128,
    "moe_layer_freq": 1,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "vocab_size": 128,
    "rope_scaling": {
        "type": "yarn",
        "factor": 40,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096,
    },
}


def test_aiter_s_rotary_embedding_is_a_module_that_leaves_the_scaling(newest: SourceTree) -> None:
    scaling = {}
    for line in ("--tp 1", "SGLANG_USE_AITER=1 --tp 1"):
        found = tree(newest, settled(newest, line, LATENT, gpu="MI300"), LATENT)
        assert not found.missing
        modules = {node.path: node for node in found.walk()}
        attention = modules["model.layers.0.self_attn"]
        scaling[modules["model.layers.0.self_attn.rotary_emb"].cls] = attention.attributes[
            "scaling"
        ]
    ours, theirs = scaling
    assert ours.startswith("sglang.")
    assert theirs == "aiter.rotary_embedding.RotaryEmbedding"
    assert scaling[ours] == scaling[theirs] > 128**-0.5


def _sums(found: ModelTree) -> list[tuple[str, str, str]]:
    """Sums over ranks of layers: function, stage, and the norm whose weight one reads."""
    return [
        (o.name, o.stage, getattr(o.kwargs.get("weight"), "path", ""))
        for o in found.kernel_calls
        if ("reduce" in o.name or o.name == "sum_output") and "embed" not in o.module
    ]


def test_sums_and_norms_are_one_kernel_where_the_server_fuses_them(newest: SourceTree) -> None:
    config = {**SMALL, "num_hidden_layers": 2}
    for line in ("--tp 2 --enable-flashinfer-allreduce-fusion", "--tp 2"):
        found = _sums(tree(newest, settled(newest, line, config), config))
        if line == "--tp 2":
            assert found == [("sum_output", "", "")] * 4
            continue
        fused = "flashinfer_allreduce_residual_rmsnorm"
        assert [norm for name, stage, norm in found if (name, stage) == (fused, "decode")] == [
            "model.layers.0.post_attention_layernorm.weight",
            "model.layers.1.input_layernorm.weight",
            "model.layers.1.post_attention_layernorm.weight",
        ]
        # Long steps add up by themselves, and so does the last layer in every step.
        assert found.count(("sum_output", "prefill", "")) == 4
        assert found.count(("sum_output", "decode", "")) == 1
        assert len(found) == 8


@pytest.mark.parametrize("version", ["0.5.9", "0.5.18"])
def test_older_releases_fuse_where_a_layer_says_so(
    sglang: Callable[[str], Path], version: str
) -> None:
    source = tree_at(sglang(version) / "sglang", "sglang", "tests")
    config = {**EXPERTS, "num_hidden_layers": 2}
    found = _sums(tree(source, settled(source, "--tp 2", config), config))
    fused = [norm for name, stage, norm in found if "rmsnorm" in name and stage == "decode"]
    assert [norm.split(".")[-2:] for norm in fused] == [
        ["post_attention_layernorm", "weight"],
        ["input_layernorm", "weight"],
        ["post_attention_layernorm", "weight"],
    ]
    if version != "0.5.9":  # which has no option against it
        line = "--tp 2 --enforce-disable-flashinfer-allreduce-fusion"
        off = _sums(tree(source, settled(source, line, config), config))
        assert off
        assert not [name for name, stage, _ in off if "rmsnorm" in name or stage == "decode"]


def test_servers_fuse_for_models_that_they_know(sglang: Callable[[str], Path]) -> None:
    """A launch without options fuses where the model is one of a list in the source.

    Steps of few tokens add up by themselves in the last layer: no norm of a layer comes behind it.
    """
    source = tree_at(sglang("0.5.9") / "sglang", "sglang", "tests")
    found = _sums(tree(source, Serving(tp=2), {**EXPERTS, "num_hidden_layers": 2}))
    assert len([name for name, stage, _ in found if "rmsnorm" in name and stage == "decode"]) == 3
    own = [stage for name, stage, _ in found if name == "tensor_model_parallel_all_reduce"]
    assert sorted(own) == ["", "prefill", "prefill", "prefill"]
    dense = _sums(tree(source, Serving(tp=2), {**SMALL, "num_hidden_layers": 2}))
    assert [name for name, *_ in dense] == ["tensor_model_parallel_all_reduce"] * 4
    assert {stage for _, stage, _ in dense} == {""}


def test_adapters_are_missing(newest: SourceTree) -> None:
    found = tree(newest, settled(newest, "--enable-lora --lora-paths a=b"))
    assert [m.path for m in found.missing] == ["lora"]


def test_code_of_others_is_refused(newest: SourceTree) -> None:
    with pytest.raises(ServingError, match="from elsewhere than SGLang"):
        settled(newest, "--model-impl transformers")


@pytest.mark.parametrize("version", ["0.5.9", "0.5.23"])
def test_the_draft_model_of_a_checkpoint(sglang: Callable[[str], Path], version: str) -> None:
    source = tree_at(sglang(version) / "sglang", "sglang", "tests")
    model = resolve_model("deepseek-v3")
    read = read_launch(source, "--tp 8 --speculative-algorithm EAGLE")
    serving = Serving(tp=8, launch=read.launch)
    found = draft_of(source, model.config, serving, architecture=model.architecture)
    assert found == "DeepseekV3ForCausalLMNextN"
    llama = resolve_model("llama")
    assert draft_of(source, llama.config, serving, architecture=llama.architecture) is None


@pytest.mark.parametrize(("gpu", "major"), [("H100", 9), ("H200", 9), ("B200", 10), ("MI300", 9)])
def test_facts_of_the_gpu_reach_the_environment(gpu: str, major: int) -> None:
    from fibcore.elaborate.sglang.environment import Environment

    environment = Environment(Serving(gpu=gpu), "0.5.23")
    capability: Any = environment.function("get_device_capability", "sglang.srt.utils.common")
    hip: Any = environment.function("is_hip", "sglang.srt.utils.common")
    assert capability[0] == major
    assert hip is (gpu == "MI300")
    assert environment.function("is_sm100_supported", "sglang.srt.utils") is (gpu == "B200")
