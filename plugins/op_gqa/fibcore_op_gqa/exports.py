"""Attention in the formats of benchmarks."""

from __future__ import annotations

from typing import cast

from fibcore.plugin import (
    Exported,
    ExportFormat,
    ExportRequest,
    ServedKernel,
    attention_testlist,
)
from fibcore_op_gqa.definitions import extras_of
from fibcore_op_gqa.names import KINDS, PLAIN, Kind


def _testlist(request: ExportRequest) -> Exported:
    return attention_testlist(request, "testlist_gqa.txt", _options)


def _options(served: ServedKernel) -> str | None:
    """Plain attention alone: windows, sinks, masks and narrow caches are no options there."""
    if extras_of(served.definition) != PLAIN:
        return None
    kind = KINDS[cast("Kind", served.kernel.parameters["kind"])]
    axes = served.definition.const_axes
    page = f" --page_size {axes['page_size']}" if "page_size" in axes else ""
    return (
        f"{kind.flashinfer.rpartition('.')[2]} --num_qo_heads {axes['num_qo_heads']}"
        f" --num_kv_heads {axes['num_kv_heads']} --head_dim_qk {axes['head_dim']}"
        f" --head_dim_vo {axes['head_dim']}{page} --q_dtype bfloat16 --kv_dtype bfloat16"
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
