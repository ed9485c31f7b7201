"""The matcher on hand-written calls that mirror releases of SGLang."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from fibcore.plugin import Extraction, Launch, Operation, ParameterRef, Serving, TensorRef, Unknown
from fibcore.plugin import with_origins as origins
from fibcore.testing.trees import TENSOR, module, operation, tree
from fibcore_op_move import matcher

Write = Callable[..., Operation]
COMMUNICATION = "sglang.srt.distributed.communication_op."


def extract(*calls: Operation, config: dict[str, Any] | None = None) -> Extraction:
    made = attrs.evolve(tree(kernel_calls=calls), config=config or {})
    return matcher.extract(made, Serving(options={"page_size": (1, 64)}))


def names(found: Extraction) -> dict[str, list[str]]:
    return {k.name: [u.path for u in k.uses] for k in found.kernels}


def test_writes_of_every_page_size(write: Write) -> None:
    layers = [f"layers.{n}.attn" for n in range(2)]
    found = extract(*(write(module=path) for path in layers))
    assert names(found) == {
        "append_paged_kv_cache_kv8_d128_ps1": layers,
        "append_paged_kv_cache_kv8_d128_ps64": layers,
    }
    assert {kernel.choice for kernel in found.kernels} == {"write to the KV cache"}
    key = "sglang.srt.mem_cache.memory_pool.MHATokenToKVPool.set_kv_buffer"
    assert found.claimed == {f"{path}:{key}" for path in layers}
    assert not found.not_covered
    assert not found.problems


def test_linear_attention_writes_no_keys(write: Write) -> None:
    attention = module("a.attn", "sglang.srt.layers.radix_attention.RadixAttention")
    holder = "sglang.srt.models.bailing_moe_linear.BailingMoELinearAttention"
    call = write(module="a.attn")
    model = tree(module("a", holder, children=[attention]), kernel_calls=[call])
    found = matcher.extract(model, Serving())
    assert not found.kernels
    assert len(found.claimed) == 1
    assert not found.not_covered


def test_latent_caches_leave_the_size_of_pages_open(write: Write) -> None:
    found = extract(write("mla", (1, 512), (1, 64)))
    assert list(names(found)) == ["append_paged_mla_kv_cache_ckv512_kpe64"]


def test_numbers_remember_where_they_are_from(write: Write) -> None:
    heads = origins(8, frozenset({"config:num_key_value_heads", "serving:tp"}))
    kernel = extract(write(first=(heads, 128))).kernels[0]
    assert kernel.facts["num_kv_heads"].origins == ("config:num_key_value_heads", "serving:tp")
    assert kernel.facts["page_size"].origins == ("serving:page_sizes",)


@pytest.mark.parametrize(
    "change",
    [
        {"first": (Unknown("heads"), 128)},
        {"first": (8, Unknown("size"))},
        {"second": (8, Unknown("size"))},
        {"first": (8,)},
    ],
)
def test_what_is_not_known_is_a_problem(write: Write, change: dict[str, Any]) -> None:
    found = extract(write(**change))
    assert not found.kernels
    (problem,) = found.problems
    assert problem.what == "append_paged_kv_cache kernel"


def test_a_tensor_of_which_nothing_is_known_is_a_problem(write: Write) -> None:
    call = write()
    nothing = attrs.evolve(call, args=(*call.args[:2], TensorRef(None), TENSOR))
    assert extract(nothing).problems


def test_values_may_have_another_size(write: Write) -> None:
    found = extract(write(first=(8, 192), second=(8, 128)))
    assert list(names(found)) == [
        "append_paged_kv_cache_kv8_qk192_vo128_ps1",
        "append_paged_kv_cache_kv8_qk192_vo128_ps64",
    ]
    assert found.kernels[0].tags == ()
    in_fp8 = {"quantization_config": {"kv_cache_quant_algo": "FP8"}}
    (op,) = extract(write(first=(8, 192), second=(8, 128)), config=in_fp8).not_covered
    assert op.what == "append_paged_kv_cache of two widths with float8_e4m3fn KV cache"
    assert extract(write(first=(8, 128), second=(4, 128))).problems


def test_latent_vectors_without_a_rope_part_are_a_copy(write: Write) -> None:
    found = extract(write("mla", (1, 512), (1, 0)))
    (op,) = found.not_covered
    assert (op.what, op.moves) == ("append_paged_mla_kv_cache of latent vectors alone", "copy")
    assert not found.problems
    assert extract(write("mla", (1, 512), (1, Unknown("size")))).problems


@pytest.mark.parametrize(
    "quantization",
    [
        {"kv_cache_quant_algo": "FP8"},
        {"quantization": {"kv_cache_quant_algo": "fp8"}},
        {"quant_algo": "NVFP4", "kv_cache_scheme": {"type": "float", "num_bits": 8}},
        {"quant_algo": "NVFP4", "kv_cache_scheme": "FP8"},
    ],
)
@pytest.mark.parametrize("nested", [True, False])
def test_a_cache_of_fp8_is_another_kernel(
    write: Write, quantization: dict[str, Any], nested: bool
) -> None:
    config = {"quantization_config": quantization}
    found = extract(write(), config={"text_config": config} if nested else config)
    assert not found.not_covered
    kernel = found.kernels[0]
    assert kernel.name == "append_paged_kv_cache_fp8_kv8_d128_ps1"
    assert kernel.tags == ("quantization:float8_e4m3fn",)


def test_a_cache_of_other_numbers_is_no_copy(write: Write) -> None:
    made = attrs.evolve(tree(kernel_calls=[write()]), kv_cache_dtype="fp8_e5m2")
    (op,) = matcher.extract(made, Serving(options={"page_size": (1,)})).not_covered
    assert (op.what, op.moves) == ("append_paged_kv_cache with float8_e5m2 KV cache", "")


@pytest.mark.parametrize(
    "quantization",
    [
        {"kv_cache_scheme": {"type": "float", "num_bits": 8}},  # of another tool's format
        {"quant_algo": "NVFP4", "kv_cache_scheme": {"type": "int", "num_bits": 8}},
        {"kv_cache_quant_algo": None},
        "fp8",
    ],
)
def test_other_settings_leave_the_cache_as_it_is(write: Write, quantization: Any) -> None:
    assert extract(write(), config={"quantization_config": quantization}).kernels


@pytest.mark.parametrize(
    ("function", "choice"),
    [
        (f"{COMMUNICATION}tensor_model_parallel_all_reduce", "sum over ranks"),
        ("sgl_kernel.all_reduce_reg", "sum over ranks"),
        ("sglang.srt.layers.layer_boundary.ops.sum_output", "sum over ranks"),
        ("sglang.srt.layers.dp_attention.attn_tp_all_gather_into_tensor", ""),
        ("torch.distributed.all_to_all_single", ""),
        ("torch.distributed.broadcast", ""),
    ],
)
def test_collectives_are_named(function: str, choice: str) -> None:
    found = extract(operation(function, TENSOR))
    (op,) = found.not_covered
    assert (op.what, op.moves, op.choice) == (function.rpartition(".")[2], "collective", choice)
    assert op.reason == "it moves data between ranks, which no definition of one device can"
    assert found.claimed == {f":{function}"}


def test_a_collective_with_a_norm_says_which_weight_it_reads() -> None:
    function = "sglang.srt.layers.flashinfer_comm_fusion.flashinfer_allreduce_residual_rmsnorm"
    weights = [ParameterRef(f"layers.{n}.input_layernorm.weight", (64,)) for n in range(2)]
    found = extract(*(operation(function, TENSOR, TENSOR, weight) for weight in weights))
    (op,) = found.not_covered
    assert op.what == "flashinfer_allreduce_residual_rmsnorm"
    assert op.reason.endswith("; it reads input_layernorm.weight besides")
    assert len(op.uses) == 2
    assert op.inside
    assert not op.choice


def test_a_collective_of_one_stage_is_told_apart() -> None:
    sums = operation(f"{COMMUNICATION}tensor_model_parallel_all_reduce", TENSOR)
    found = extract(sums, attrs.evolve(sums, stage="prefill"))
    assert [op.stage for op in found.not_covered] == ["", "prefill"]
    assert found.not_covered[1].reason.endswith("; in steps of prefill")


def test_other_caches_are_copies() -> None:
    (op,) = extract(operation("sgl_kernel.set_kv_buffer_kernel", TENSOR)).not_covered
    assert (op.what, op.moves) == ("set_kv_buffer_kernel", "copy")


def test_what_computes_and_what_is_the_modules_own_is_left_to_others(write: Write) -> None:
    quantises = operation("sgl_kernel.sgl_per_token_quant_fp8", TENSOR)
    own = operation("torch.nn.functional.linear", TENSOR, beside=False)
    assert extract(quantises, own, attrs.evolve(write(), beside=False)) == Extraction()


def test_latents_of_sparse_attention_keep_the_dtype_of_the_model(write: Write) -> None:
    config = {"quantization_config": {"kv_cache_quant_algo": "FP8"}}
    call = write("mla", (1, 512), (1, 64), module="layer.attn")
    for switch, name in (
        ("use_dsa", "append_paged_mla_kv_cache_ckv512_kpe64"),
        ("use_mla", "append_paged_mla_kv_cache_fp8_ckv512_kpe64"),
    ):
        attention = module("layer.attn", "sglang.srt.layers.radix_attention.RadixAttention")
        layer = module("layer", "Attention", attributes={switch: True}, children=[attention])
        made = attrs.evolve(tree(layer, kernel_calls=[call]), config=config)
        (kernel,) = matcher.extract(made, Serving(options={"page_size": (1,)})).kernels
        assert kernel.name == name
        told = attrs.evolve(made, kv_cache_dtype="fp8_e4m3")
        (kernel,) = matcher.extract(told, Serving(options={"page_size": (1,)})).kernels
        # Told to, it keeps scales among the numbers, which is another layout.
        scaled = switch == "use_dsa"
        assert ("fp8_block_scale" in kernel.name) is scaled
        # Kernels of other GPUs may read plain rows, and the launch does not say which is chosen.
        found = matcher.extract(told, Serving(gpu="B200"))
        assert [op.what for op in found.not_covered] == [
            "append_paged_mla_kv_cache with float8_e4m3fn KV cache"
        ] * scaled


def test_bytes_of_a_row_with_scales(write: Write) -> None:
    attention = module("layer.attn", "sglang.srt.layers.radix_attention.RadixAttention")
    layer = module("layer", "Attention", attributes={"use_nsa": True}, children=[attention])

    def found(latent: int, serving: Serving) -> Extraction:
        call = write("mla", (1, latent), (1, 64), module="layer.attn")
        made = attrs.evolve(tree(layer, kernel_calls=[call]), kv_cache_dtype="fp8_e4m3")
        return matcher.extract(made, serving)

    (kernel,) = found(512, Serving()).kernels
    assert kernel.name == "append_paged_mla_kv_cache_fp8_block_scale_ckv512_kpe64"
    assert kernel.parameters["kv_dim"] == 656
    (op,) = found(320, Serving()).not_covered
    assert op.what == "append_paged_mla_kv_cache of 320 elements with scales of 128"
    plain = Launch("a line", arguments={"dsa_decode_backend": "trtllm"})
    (kernel,) = found(512, Serving(gpu="B200", launch=plain)).kernels
    assert kernel.name == "append_paged_mla_kv_cache_fp8_ckv512_kpe64"
