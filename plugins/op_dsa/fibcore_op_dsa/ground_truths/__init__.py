"""Chooses the implementations that a definition of sparse attention is compared with."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import attrs

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_dsa.definitions import kind_of
from fibcore_op_dsa.names import (
    FLASHINFER,
    FLASHINFER_TRTLLM,
    FLASHMLA,
    STEMS,
    flashinfer_has,
)

BLACKWELL = (10, 0)
HOPPER = (9, 0)
ADA = (8, 9)
"""The first GPUs whose tensor cores multiply fp8."""
FP8_MULTIPLE = 16
"""Rows, columns and inner size of a product of fp8 in cuBLASLt are multiples of it, but one."""
FLASHMLA_KEYS = 64
"""FlashMLA's kernel reads so many of the chosen keys at a time."""

_SCALED = STEMS["scaled"]
# Functions that stand beside the one that does their work.
_FILES = {
    f"sglang_{_SCALED}": "sglang_dsa_sparse_attention",
    f"flashinfer_{_SCALED}": "flashinfer_dsa_sparse_attention",
    f"sgl_kernel_{_SCALED}": f"flash_mla_{_SCALED}",
}


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """Kernels where they have the sizes, then SGLang, then torch in float64.

    Empty for a definition whose tensors are not this plugin's, and for other op types.
    """
    kind = kind_of(definition)
    if kind == "attention":
        return tuple(_attention(definition))
    if kind == "scaled":
        return tuple(_scaled(definition))
    return tuple(_indexer(definition)) if kind == "indexer" else ()


def _attention(definition: Definition) -> list[GroundTruth]:
    axes = definition.const_axes
    found = []
    if flashinfer_has(axes["head_dim_ckv"], axes["head_dim_kpe"]):
        gpu: dict[str, Any] = {"device": "cuda", "packages": ("flashinfer",)}
        found = [
            # wgmma, which the fa3 kernels use, is Hopper's alone; fa2 needs bfloat16 tensor cores.
            _truth(
                f"{FLASHINFER} (fa3)",
                "flashinfer",
                "flashinfer_dsa_sparse_attention_fa3",
                min_capability=HOPPER,
                max_capability=HOPPER,
                **gpu,
            ),
            _truth(
                f"{FLASHINFER_TRTLLM} (sparse_mla_top_k)",
                "flashinfer",
                "flashinfer_dsa_sparse_attention_trtllm",
                min_capability=BLACKWELL,
                solution=False,  # it gives no log-sum-exp
                **gpu,
            ),
            _truth(
                f"{FLASHINFER} (fa2)",
                "flashinfer",
                "flashinfer_dsa_sparse_attention_fa2",
                min_capability=(8, 0),
                **gpu,
            ),
        ]
    return [
        *found,
        _truth(
            "sglang TorchNativeAttnBackend._run_sdpa_forward_decode",
            "sglang",
            "sglang_dsa_sparse_attention",
            solution=False,  # it gives no log-sum-exp
        ),
        _truth("torch in float64", "torch", "torch_dsa_sparse_attention"),
    ]


def _scaled(definition: Definition) -> list[GroundTruth]:
    """FlashMLA's kernel as its two packages have it, then kernels on what SGLang dequantises."""
    axes = definition.const_axes
    found = []
    if flashinfer_has(axes["head_dim_ckv"], axes["head_dim_kpe"]):
        gpu: dict[str, Any] = {"device": "cuda", "min_capability": HOPPER}
        flashmla = {**gpu, "max_capability": HOPPER}
        if axes["topk"] % FLASHMLA_KEYS == 0:
            found = [
                _truth(
                    FLASHMLA, "torch", f"flash_mla_{_SCALED}", packages=("flash_mla",), **flashmla
                ),
                _truth(
                    "sgl_kernel.flash_mla.flash_mla_with_kvcache",
                    "torch",
                    f"sgl_kernel_{_SCALED}",
                    packages=("sgl_kernel",),
                    **flashmla,
                ),
            ]
        found.append(
            _truth(
                f"{FLASHINFER} (fa3) of dequantised keys",
                "flashinfer",
                f"flashinfer_{_SCALED}",
                packages=("flashinfer",),
                **flashmla,
            )
        )
    return [
        *found,
        _truth(
            "sglang _dequantize_k_cache_ref and torch-native attention",
            "sglang",
            f"sglang_{_SCALED}",
            solution=False,  # it gives no log-sum-exp
        ),
        _truth("torch in float64", "torch", f"torch_{_SCALED}"),
    ]


def _indexer(definition: Definition) -> list[GroundTruth]:
    """Those that need no compiler come first; FlashInfer's is used where it is built already."""
    axes = definition.const_axes
    found = []
    if not axes["num_index_heads"] % FP8_MULTIPLE and not axes["index_head_dim"] % FP8_MULTIPLE:
        found.append(
            _truth(
                "torch._scaled_mm of fp8 and torch.topk",
                "torch",
                "torch_scaled_mm_dsa_topk_indexer",
                device="cuda",
                min_capability=ADA,
            )
        )
    found += [
        _truth(
            "sglang fp8_paged_mqa_logits_torch and torch.topk",
            "sglang",
            "sglang_dsa_topk_indexer",
        ),
        _truth(
            "deep_gemm.fp8_paged_mqa_logits and torch.topk",
            "torch",
            "deep_gemm_dsa_topk_indexer",
            device="cuda",
            min_capability=HOPPER,
            packages=("deep_gemm",),
        ),
        _truth(
            "flashinfer.top_k_page_table_transform of scores in float64",
            "flashinfer",
            "flashinfer_dsa_topk_indexer",
            device="cuda",
            packages=("flashinfer",),
            solution=False,  # where it is not built, it says so and gives up
        ),
        _truth("torch in float64", "torch", "torch_dsa_topk_indexer"),
    ]
    # How many keys are chosen is to be seen in the output alone.
    topk = {"TOPK": definition.const_axes["topk"]}
    return [attrs.evolve(truth, source=render(truth.source, topk)) for truth in found]


def _truth(name: str, kind: str, entry: str, **more: Any) -> GroundTruth:
    """The ground truth whose file is called after its function, less the backend."""
    stem = _FILES.get(entry, entry.removesuffix("_fa2").removesuffix("_fa3"))
    text = (files(__package__) / f"{stem}.py").read_text(encoding="utf-8")
    return GroundTruth(name, kind, entry, text, **more)
