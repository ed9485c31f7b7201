"""Latent attention in the formats of benchmarks."""

from __future__ import annotations

from typing import cast

from fibcore.plugin import (
    Exported,
    ExportFormat,
    ExportRequest,
    ServedKernel,
    attention_testlist,
)
from fibcore_op_mla.names import KINDS, Kind


def _testlist(request: ExportRequest) -> Exported:
    return attention_testlist(request, "testlist_mla.txt", _options)


def _options(served: ServedKernel) -> str | None:
    """One latent vector for all heads, which the benchmark counts as theirs; no narrow caches."""
    if "cache_dtype" in served.kernel.parameters:
        return None
    kind = KINDS[cast("Kind", served.kernel.parameters["kind"])]
    axes = served.definition.const_axes
    heads = axes["num_qo_heads"]
    if "qk_dim" in axes:
        sizes = (
            f"--num_kv_heads {axes['num_kv_heads']} --head_dim_qk {axes['qk_dim']}"
            f" --head_dim_vo {axes['vo_dim']}"
        )
    else:
        sizes = (
            f"--num_kv_heads {heads} --head_dim_ckv {axes['head_dim_ckv']}"
            f" --head_dim_kpe {axes['head_dim_kpe']} --page_size {axes['page_size']}"
        )
    return (
        f"{kind.flashinfer.rpartition('.')[2]} --num_qo_heads {heads} {sizes}"
        " --q_dtype bfloat16 --kv_dtype bfloat16"
    )


FORMATS = (
    ExportFormat(
        "flashinfer-testlist",
        "lines for FlashInfer's benchmark, one a case",
        tuple(dict.fromkeys(kind.op_type for kind in KINDS.values())),
        _testlist,
    ),
)
"""The formats that this plugin writes."""
