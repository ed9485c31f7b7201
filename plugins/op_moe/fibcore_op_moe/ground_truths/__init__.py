"""The implementations that an MoE definition's reference is compared with, the preferred first.

FlashInfer's fused kernels need Blackwell; elsewhere its routing, segment GEMM and activation are
put together, or its CUTLASS kernel is used where it is built. SGLang's native functions run
anywhere. What numbers a kernel takes is from FlashInfer 0.6.13
(`csrc/trtllm_fused_moe_kernel_launcher.cu`, `fused_moe/fused_routing_dsv3.py`).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

from fibcore.plugin import Definition, GroundTruth, named_after
from fibcore_op_moe.activations import GELU, GELU_TANH, SWIGLU
from fibcore_op_moe.assembling import source, swap_function
from fibcore_op_moe.formats import BF16
from fibcore_op_moe.identity import kernel_of
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.names import OP_TYPE, routing_suffix
from fibcore_op_moe.routings import DS

BLACKWELL = ((10, 0), (10, 3))

FLASHINFER_ACTIVATIONS = {
    SWIGLU: "silu_and_mul",
    GELU: "gelu_and_mul",
    GELU_TANH: "gelu_tanh_and_mul",
}
"""FlashInfer's functions of gate and up, by what experts compute between their products."""


def choose(definition: Definition) -> Sequence[GroundTruth]:
    """All ground truths of a definition.

    Empty where its form or routing is not known, and for another plugin's op types.
    """
    moe = kernel_of(definition) if definition.op_type == OP_TYPE else None
    if moe is None:
        return ()
    truths = []
    if trtllm_takes(moe):
        truths.append(_trtllm(moe))
    plain = moe.activation is SWIGLU and not moe.biased
    cutlass = "flashinfer_cutlass_bf16_moe" in moe.routing.ground_truths
    if moe.weights == BF16 and plain and cutlass:
        truths.append(
            _truth(
                moe,
                "flashinfer_cutlass_bf16_moe",
                "flashinfer.fused_moe.cutlass_fused_moe",
                capability=((9, 0), (9, 0)),
                solution=False,  # where its kernels are not built, it says so and gives up
            )
        )
    gated = moe.activation in FLASHINFER_ACTIVATIONS and not moe.biased
    segments = "flashinfer_moe_segment_gemm" in moe.routing.ground_truths
    if segments and gated and not moe.weights.packed:
        truths.append(_segment_gemm(moe))
    if moe.weights == BF16 and plain and cutlass and not moe.intermediate_size % 32:
        truths.append(_cute_dsl(moe))  # after those that were seen to agree on a Hopper GPU
    if "sglang_moe" in moe.routing.ground_truths:
        truths.append(_native(moe, "sglang"))
    if not segments or not plain or moe.weights.packed or moe.weights.channel_scaled:
        truths.append(_native(moe, "torch"))
    return tuple(truths)


def trtllm_takes(moe: Moe) -> bool:
    """Whether FlashInfer's fused kernel for these weights computes this function."""
    if not moe.in_trtllm or moe.weights.packed:
        return False  # its weights of four bits are in an order of their own
    if moe.activation is not SWIGLU or moe.biased:
        return False
    if moe.hidden_size % 128 or moe.intermediate_size % 128 or moe.num_experts % 4:
        return False
    if moe.num_experts <= moe.top_k or moe.num_experts > 512:
        return False
    if moe.routing is not DS:
        return moe.top_k <= 32
    size = moe.num_experts // moe.num_groups
    return (
        moe.top_k <= (8 if moe.num_experts <= 384 else 22)
        and moe.top_groups <= 4
        and (moe.num_groups == 1 or size <= 32)
        and moe.top_k < moe.top_groups * size
    )


def flashinfer_routes(moe: Moe) -> bool:
    """Whether `fused_topk_deepseek` takes this routing.

    Its check wants groups x kept groups >= top-k, which one group alone never gives.
    """
    if moe.routing is not DS or moe.top_k > min(8, moe.num_groups * moe.top_groups):
        return False
    if moe.num_groups == 1:
        return moe.num_experts <= 384
    size = moe.num_experts // moe.num_groups
    return (
        moe.num_groups <= 8
        and moe.num_experts <= 256
        and moe.top_groups <= 4
        and size <= 32
        and size * moe.top_groups <= 128
    )


def _trtllm(moe: Moe) -> GroundTruth:
    kernel = moe.weights.trtllm
    return _truth(
        moe,
        f"flashinfer_{kernel}",
        f"flashinfer.fused_moe.{kernel}",
        capability=BLACKWELL,
    )


def _cute_dsl(moe: Moe) -> GroundTruth:
    """Hopper's, which routes as the one of CUTLASS does."""
    file, other = "flashinfer_cute_dsl_bf16_moe", "flashinfer_cutlass_bf16_moe"
    own, text = (source("ground_truths", f"{name}.py") for name in (file, other))
    text = text.replace(other, file).replace(other.upper(), file.upper())
    text = swap_function(text, file, own)
    before, about = (ast.get_docstring(ast.parse(one), clean=False) or "" for one in (text, own))
    text = text.replace(before, about, 1)
    like = _truth(
        moe,
        other,
        "flashinfer.fused_moe.cute_dsl_fused_moe_bf16",
        capability=((9, 0), (9, 0)),
        solution=False,  # where FlashInfer has none of its kernels, it says so and gives up
    )
    suffix = _suffix(moe)
    constants = {"ROUTING": moe.routing.name, **_constants(moe)}
    return attrs.evolve(
        like, entry=f"{file}_{suffix}", source=named_after(text, file, suffix, constants)
    )


def _segment_gemm(moe: Moe) -> GroundTruth:
    routes, activate = flashinfer_routes(moe), FLASHINFER_ACTIVATIONS[moe.activation]
    return _truth(
        moe,
        "flashinfer_moe_segment_gemm",
        ("flashinfer.fused_moe.fused_topk_deepseek, " if routes else "torch routing, ")
        + f"flashinfer.gemm.SegmentGEMMWrapper, flashinfer.activation.{activate}",
        capability=((8, 9) if routes else (8, 0), None),
        suffix=_computed(moe) + ("" if routes else "_torch_routing"),
        more={"ROUTES": routes, "ACTIVATION": activate},
    )


def _native(moe: Moe, kind: Literal["sglang", "torch"]) -> GroundTruth:
    """A ground truth that takes every form, written against SGLang's functions or torch alone."""
    suffix, routing = _suffix(moe) + _computed(moe), moe.routing
    name = {
        "sglang": f"sglang {routing_function(moe)}, {_dequantising(moe)}moe_forward_native",
        "torch": "torch float32, dequantised an expert at a time",
    }[kind]
    constants = {
        **_constants(moe),
        "SCORING": routing.scoring,
        "CHOICE": routing.choice,
        "RENORMALIZED": routing.renormalized,
        "ON_INPUT": routing.weight_on_input,
        "ACTIVATION": moe.activation.name,
    }
    return GroundTruth(
        name=name,
        kind=kind,
        entry=f"{kind}_moe_{suffix}",
        source=named_after(
            source("ground_truths", f"{kind}_moe.py"), f"{kind}_moe", suffix, constants
        ),
        solution=kind == "torch",
    )


def routing_function(moe: Moe) -> str:
    """SGLang's function that routes, for people."""
    if moe.routing.scoring == "sparsemixer":
        return "sparsemixer"
    return "HashTopK" if moe.routing.choice == "hash" else "select_experts"


def _dequantising(moe: Moe) -> str:
    """SGLang's function that dequantises, for people, and what comes after it."""
    if not moe.weights.packed or moe.weights.scale_dtype == "bfloat16":
        return ""
    powers = moe.weights.scale_dtype == "int8"
    return "MXFP4QuantizeUtil.dequantize, " if powers else "dequantize_nvfp4, "


def _suffix(moe: Moe) -> str:
    """What sets the entries of different routings apart in one module."""
    return routing_suffix(moe.routing, moe.top_k, moe.groups)


def _computed(moe: Moe) -> str:
    """What sets the entries of different activations apart."""
    return f"_{moe.activation.in_name}" if moe.activation.in_name else ""


def _constants(moe: Moe) -> dict[str, object]:
    groups = {"NUM_GROUPS": moe.num_groups or 1, "TOP_GROUPS": moe.top_groups or 1}
    return {"TOP_K": moe.top_k, **groups}


def _truth(
    moe: Moe,
    file: str,
    name: str,
    *,
    capability: tuple[tuple[int, int], tuple[int, int] | None],
    suffix: str = "",
    more: Mapping[str, object] | None = None,
    solution: bool = True,
) -> GroundTruth:
    """A ground truth of FlashInfer, from the file below `ground_truths/` that its entry names."""
    suffix = _suffix(moe) + suffix
    return GroundTruth(
        name=name,
        kind="flashinfer",
        entry=f"{file}_{suffix}",
        source=named_after(
            source("ground_truths", f"{file}.py"),
            file,
            suffix,
            {"ROUTING": moe.routing.name, **_constants(moe), **(more or {})},
        ),
        device="cuda",
        min_capability=capability[0],
        max_capability=capability[1],
        packages=("flashinfer",),
        solution=solution,
    )
