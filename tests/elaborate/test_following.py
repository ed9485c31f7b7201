"""Calls of kernels that are no module, on real sources: the sampler, quantised inputs."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from fibcore.elaborate.following import _Kind
from fibcore.elaborate.python.launches import Launch
from fibcore.elaborate.python.values import Ext, Mod, Param
from fibcore.model.tree import (
    ModelTree,
    ModuleRef,
    Operation,
    ParameterRef,
    SourcePlace,
    TensorRef,
    Unknown,
    origins_of,
)

Real = Callable[..., ModelTree]
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 1024,
    "intermediate_size": 2048,
    "max_position_embeddings": 8192,
    "num_attention_heads": 8,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}
BLOCK = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
DYNAMIC = {"quant_method": "fp8", "activation_scheme": "dynamic"}
STATIC = {"quant_method": "fp8", "activation_scheme": "static"}
LAYERS = range(LLAMA["num_hidden_layers"])


def quantised(how: Mapping[str, Any]) -> dict[str, Any]:
    return {**LLAMA, "quantization_config": how}


def in_sampler(tree: ModelTree, name: str) -> Operation:
    (found,) = [o for o in tree.kernel_calls if o.module == "sampler" and o.name == name]
    return found


def before(tree: ModelTree, linear: str, *names: str) -> list[Operation]:
    """The calls of functions with these names in a linear layer, of all layers."""
    paths = [f"model.layers.{n}.{linear}" for n in LAYERS]
    found = [o for o in tree.kernel_calls if o.module in paths and o.name in names]
    assert [o.module for o in found] == paths
    return found


def sizes(tensor: Any) -> tuple[Any, ...]:
    """The shape of a tensor, sizes that are not known as None."""
    assert isinstance(tensor, (TensorRef, ParameterRef))
    return tuple(None if isinstance(size, Unknown) else size for size in tensor.shape or ())


# -- the sampler -------------------------------------------------------------------------------


def test_the_sampler_stands_beside_the_model(real: Real) -> None:
    tree = real(LLAMA)
    sampler = tree.parts["sampler"]
    assert sampler.cls == "sglang.srt.layers.sampler.Sampler"
    assert tree.find("sampler") is None
    assert not tree.not_followed
    assert tree.node_of(in_sampler(tree, "softmax")) is sampler


def test_sampling_by_top_k_and_top_p(real: Real) -> None:
    found = in_sampler(real(LLAMA), "top_k_top_p_sampling_from_probs")
    probs, top_k, top_p = found.args
    assert (sizes(probs), probs.dtype) == ((None, 128256), "float32")
    assert (sizes(top_k), top_k.dtype) == ((None,), "int32")
    assert (sizes(top_p), top_p.dtype) == ((None,), "float32")
    assert found.kwargs["filter_apply_order"] == "joint"
    assert origins_of(probs.shape[1]) == {"config:vocab_size"}
    assert found.goes_through("_sample_from_probs")
    assert found.place.file == "sglang/srt/layers/sampler.py"  # not where it is imported lazily


def test_how_requests_are_sampled_is_theirs_to_say(real: Real) -> None:
    tree = real(LLAMA)
    calls = [o for o in tree.kernel_calls if o.module == "sampler"]
    ways = {o.name: {str(c) for c in o.conditions} for o in calls}
    greedy, simple = "(sampling_info.is_all_greedy)", "(simple_sampling_case)"
    by_min_p = "(sampling_info.need_min_p_sampling)"
    assert ways["softmax"] == {f"not {greedy}"}
    assert ways["top_k_top_p_sampling_from_probs"] == {
        f"not {each}" for each in (greedy, simple, by_min_p)
    }
    for name in ("top_k_renorm_prob", "top_p_renorm_prob", "min_p_sampling_from_probs"):
        assert ways[name] == {f"not {greedy}", f"not {simple}", by_min_p}
    assert all(o.possible and o.beside for o in calls)


def test_no_log_probabilities_where_no_request_asks_for_them(real: Real) -> None:
    assert not [o for o in real(LLAMA).kernel_calls if "log_softmax" in o.name]


def test_a_model_without_logits_has_no_sampler(made: Any) -> None:
    source = """
from torch import nn
class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
    def forward(self, x):
        return x
EntryClass = Model
"""
    tree = made.tree(source)
    assert (tree.kernel_calls, tree.parts, tree.not_followed) == ((), {}, ())


# -- inputs of quantised linear layers ---------------------------------------------------------

INPUTS = {
    "self_attn.qkv_proj": 1024,
    "self_attn.o_proj": 1024,
    "mlp.gate_up_proj": 1024,
    "mlp.down_proj": 2048,
}


@pytest.mark.parametrize("linear", INPUTS)
def test_fp8_in_blocks_quantises_groups_of_each_token(real: Real, linear: str) -> None:
    for call in before(real(quantised(BLOCK)), linear, "sglang_per_token_group_quant_fp8"):
        x, group = call.args
        assert (sizes(x), x.dtype, group) == ((None, INPUTS[linear]), "bfloat16", 128)
        assert not call.possible


def test_what_multiplies_the_quantised_input(real: Real) -> None:
    for call in before(real(quantised(BLOCK)), "mlp.down_proj", "w8a8_block_fp8_matmul_deepgemm"):
        _, weight, _, scale, block = call.args
        assert weight == ParameterRef(f"{call.module}.weight", (1024, 2048), "float8_e4m3fn")
        assert scale == ParameterRef(f"{call.module}.weight_scale_inv", (8, 16), "float32")
        assert list(block) == [128, 128]


def test_sizes_remember_where_they_came_from(real: Real) -> None:
    call = before(real(quantised(BLOCK)), "mlp.down_proj", "sglang_per_token_group_quant_fp8")[0]
    assert origins_of(call.args[0].shape[1]) == {"config:intermediate_size", "serving:tp"}


def test_ranks_share_the_input_of_a_row_parallel_layer(real: Real) -> None:
    tree = real(quantised(BLOCK), tp=2)
    (x, _) = before(tree, "mlp.down_proj", "sglang_per_token_group_quant_fp8")[0].args
    assert sizes(x) == (None, 1024)
    (x, _) = before(tree, "mlp.gate_up_proj", "sglang_per_token_group_quant_fp8")[0].args
    assert sizes(x) == (None, 1024)


def test_fp8_with_a_scale_for_each_token(real: Real) -> None:
    for call in before(
        real(quantised(DYNAMIC)), "self_attn.qkv_proj", "sglang_per_token_quant_fp8"
    ):
        assert sizes(call.args[0]) == (None, 1024)
        assert not call.possible


def test_fp8_with_a_scale_that_is_known(real: Real) -> None:
    for call in before(real(quantised(STATIC)), "self_attn.qkv_proj", "static_quant_fp8"):
        x, scale = call.args
        assert sizes(x) == (None, 1024)
        assert scale.path == f"{call.module}.input_scale"


def test_int8(real: Real) -> None:
    tree = real(quantised({"quant_method": "w8a8_int8"}))
    for call in before(tree, "mlp.down_proj", "per_token_quant_int8"):
        assert sizes(call.args[0]) == (None, 2048)


def test_plain_linear_layers_are_their_own_kernel(real: Real) -> None:
    modules = {o.module.rpartition(".")[2] for o in real(LLAMA).kernel_calls}
    assert modules == {"sampler", "attn"}


def test_layers_that_stay_unquantised_quantise_nothing(real: Real) -> None:
    config = quantised({**BLOCK, "modules_to_not_convert": ["model.layers.1.mlp.down_proj"]})
    paths = {o.module for o in real(config).kernel_calls}
    assert "model.layers.0.mlp.down_proj" in paths
    assert "model.layers.2.mlp.down_proj" in paths
    assert "model.layers.1.mlp.down_proj" not in paths


def test_what_is_beside_the_product_of_a_linear_layer(real: Real) -> None:
    tree = real(quantised(BLOCK))
    (quantised_input,) = before(tree, "mlp.down_proj", "sglang_per_token_group_quant_fp8")[:1]
    (product,) = before(tree, "mlp.down_proj", "w8a8_block_fp8_matmul_deepgemm")[:1]
    assert quantised_input.beside
    assert not product.beside


COMPRESSED = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "float", "strategy": "channel", "dynamic": False},
            "input_activations": {
                "num_bits": 8,
                "type": "float",
                "strategy": "token",
                "dynamic": True,
            },
        }
    },
}


def test_what_another_package_reads_is_not_followed_and_named(real: Real) -> None:
    tree = real(quantised(COMPRESSED))
    assert not tree.missing
    assert not [o for o in tree.kernel_calls if o.module.endswith("_proj")]
    assert {part.path.rpartition(".")[2] for part in tree.not_followed} == {
        name.rpartition(".")[2] for name in INPUTS
    }
    assert all("compressed_tensors" in part.reason for part in tree.not_followed)


# -- the cache, ranks --------------------------------------------------------------------------


def test_attention_writes_keys_and_values_to_the_cache(real: Real) -> None:
    for tp in (1, 2):
        tree = real(LLAMA, tp=tp)
        for call in before(tree, "self_attn.attn", "set_kv_buffer"):
            layer, places, keys, values = call.args
            assert layer == ModuleRef(call.module)
            assert (sizes(places), places.dtype) == ((None,), "int64")
            assert sizes(keys) == sizes(values) == (None, 2 // tp, 128)
            assert call.beside
            assert not call.possible


def test_ranks_add_up_what_they_look_up(real: Real) -> None:
    assert not [o for o in real(LLAMA).kernel_calls if "all_reduce" in o.name]
    tree = real(LLAMA, tp=2)
    found = [o for o in tree.kernel_calls if "all_reduce" in o.name]
    assert "model.embed_tokens" in [o.module for o in found]
    assert all(o.beside for o in found)
    # An LM head refuses to be called: the logits' processor reads its weight.
    assert not tree.not_followed


def test_ranks_add_up_what_layers_give(real: Real) -> None:
    tree = real(LLAMA, tp=2)
    sums = ("sum_output", "tensor_model_parallel_all_reduce")
    found = [o for o in tree.kernel_calls if o.name in sums and "layers." in o.module]
    assert all(o.beside for o in found)
    for layer in LAYERS:
        here = [o for o in found if o.module.startswith(f"model.layers.{layer}")]
        assert len(here) == 2, here
    assert not [o for o in real(LLAMA).kernel_calls if o.name in sums]


GEMMA = {
    **LLAMA,
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "head_dim": 128,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 128,
    "sliding_window": 512,
    "sliding_window_pattern": 2,
}


def test_functions_that_a_models_own_pass_calls(real: Real) -> None:
    tree = real(GEMMA)
    found = [o for o in tree.kernel_calls if o.name.startswith("apply_rotary_pos_emb")]
    assert [o.module for o in found] == [f"model.layers.{n}.self_attn" for n in LAYERS]
    assert all(o.beside and not o.possible and not o.conditions for o in found)
    assert len(found[0].args) == 4
    assert not [o for o in tree.operations if o.beside]
    cls = tree.node_of(found[0])
    assert cls is not None
    assert cls.class_name == "Gemma3Attention"


# -- experts -----------------------------------------------------------------------------------

EXPERTS = {
    **LLAMA,
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "head_dim": 128,
    "moe_intermediate_size": 512,
    "norm_topk_prob": True,
    "num_experts": 16,
    "num_experts_per_tok": 4,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
LATENT = {
    **LLAMA,
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "first_k_dense_replace": 1,
    "kv_lora_rank": 512,
    "moe_intermediate_size": 512,
    "moe_layer_freq": 1,
    "n_group": 4,
    "n_routed_experts": 64,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_experts_per_tok": 4,
    "num_key_value_heads": 8,
    "q_lora_rank": 256,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "topk_group": 2,
    "topk_method": "noaux_tc",
    "v_head_dim": 128,
}


def test_routers_choose_experts(real: Real) -> None:
    for call in before(real(EXPERTS), "mlp.topk", "topk_softmax", "moe_fused_gate"):
        assert not call.beside
        assert call.goes_through("select_experts")


def test_what_experts_are_given_is_quantised_in_groups(real: Real) -> None:
    tree = real({**EXPERTS, "quantization_config": BLOCK})
    found = [
        o
        for o in tree.kernel_calls
        if o.module == "model.layers.1.mlp.experts" and "per_token_group_quant" in o.name
    ]
    first = found[0]
    assert (sizes(first.args[0]), first.argument(1, "group_size")) == ((None, 1024), 128)
    assert first.beside
    widths = {o.args[0].shape[-1] for o in found if isinstance(o.args[0], TensorRef)}
    assert widths == {1024, 512}


def test_plain_experts_are_their_own_kernel(real: Real) -> None:
    assert not [o for o in real(EXPERTS).kernel_calls if o.module.endswith("experts")]


def test_the_bias_of_a_router_is_that_of_each_layer(real: Real) -> None:
    tree = real(LATENT)
    biases = {
        (o.module, value.path)
        for o in tree.kernel_calls
        if o.module.endswith("topk")
        for value in o.args
        if isinstance(value, ParameterRef)
    }
    assert biases == {
        (f"model.layers.{n}.mlp.topk", f"model.layers.{n}.mlp.gate.e_score_correction_bias")
        for n in (1, 2)
    }


def test_neighbours_of_a_shared_block_are_those_of_each_layer() -> None:
    """The block and its neighbour have the paths of the last layer that shares them."""
    block: Any = SimpleNamespace(node=SimpleNamespace(path="layers.3.mlp.topk"), mod=Mod(Ext("C")))
    paths = {id(block.mod): "layers.7.mlp.topk"}
    bias = Param((16,), None)

    def export(value: Any) -> Any:
        if value is bias:
            return ParameterRef("layers.7.mlp.gate.bias", value.shape)
        return ModuleRef(paths[id(value)])

    kind = _Kind(block, export)
    kind.add("", [Launch("kernel", (bias,), {}, SourcePlace("a.py", 1), (), (), possible=False)])
    (found,) = kind.at("layers.5.mlp.topk", frozenset([""]))
    assert found.args[0].path == "layers.5.mlp.gate.bias"


def test_latent_attention_writes_its_cache_once_however_it_is_called(real: Real) -> None:
    tree = real(LATENT)
    found = [o for o in tree.kernel_calls if o.name.endswith("kv_buffer")]
    assert [(o.name, o.module) for o in found] == [
        ("set_mla_kv_buffer", f"model.layers.{n}.self_attn.attn_mqa") for n in LAYERS
    ]
    for call in found:
        _, _, latent, rope = call.args
        assert sizes(latent) == (None, 1, 512)
        assert sizes(rope) == (None, 1, 64)
        assert not call.possible
        assert call.beside


def test_what_is_not_known_to_be_called_may_be_called(made: Any) -> None:
    source = """
from torch import nn
from sglang.srt.layers.linear import RowParallelLinear
class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.out = RowParallelLinear(config.hidden_size, 32)
    def forward(self, x):
        return foreign.run(self, x)
EntryClass = Model
"""
    made.write("srt/layers/linear.py", LINEAR)
    tree = made.tree(source, tp=2)
    assert [(o.module, o.function, o.possible) for o in tree.kernel_calls] == [
        ("out", "sgl_kernel.all_reduce", True)
    ]


LINEAR = """
import sgl_kernel
from torch import nn
class LinearBase(nn.Module):
    pass
class RowParallelLinear(LinearBase):
    def __init__(self, input_size, output_size, quant_config=None, prefix=""):
        super().__init__()
        self.input_size_per_partition = input_size // 2
        self.tp_size = 2
    def forward(self, x):
        if self.tp_size > 1:
            sgl_kernel.all_reduce(x)
        return x
"""


def test_a_tree_goes_to_other_processes(real: Real) -> None:
    tree = real(quantised(BLOCK))
    copy = pickle.loads(pickle.dumps(tree.followed))  # noqa: S301 - our own
    assert copy.get().kernel_calls == tree.kernel_calls
