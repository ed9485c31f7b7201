"""Attention in the formats of benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fibcore.plugin import Exported, ExportedFile, ExportFormat, ExportRequest, ServedKernel
from fibcore_op_gqa.names import KINDS

KEYS = (1024, 8192)
"""Keys of a sequence at which attention is wanted."""

DECODE_BATCH = 256
"""The most sequences of a decode batch; more rows than that are a prefill's queries."""

# What FlashInfer's benchmark takes as routines; what it cannot be told is left out.
_ROUTINES = {kind.stem: kind.flashinfer.rpartition(".")[2] for kind in KINDS.values()}


def _testlist(request: ExportRequest) -> Exported:
    lines: dict[tuple[str], None] = {}
    left_out: dict[str, str] = {}
    for served in request.kernels:
        name = served.definition.name
        stem = name.partition("_h")[0]
        if stem not in _ROUTINES:
            left_out[name] = "FlashInfer's benchmark has no option for it"
            continue
        options = _sizes(served.definition.const_axes)
        for sizes in _batches(served, request):
            line = f"--routine {_ROUTINES[stem]} {options} {sizes} --case_tag {name}"
            lines[(line,)] = None
    text = "".join(f"{line}\n" for (line,) in lines)
    files = (ExportedFile("testlist_gqa.txt", text),) if lines else ()
    return Exported(files, ("line",), tuple(lines), left_out)


def _sizes(axes: Mapping[str, int]) -> str:
    page = f" --page_size {axes['page_size']}" if "page_size" in axes else ""
    return (
        f"--num_qo_heads {axes['num_qo_heads']} --num_kv_heads {axes['num_kv_heads']}"
        f" --head_dim_qk {axes['head_dim']} --head_dim_vo {axes['head_dim']}{page}"
        " --q_dtype bfloat16 --kv_dtype bfloat16"
    )


def _batches(served: ServedKernel, request: ExportRequest) -> Iterator[str]:
    """Decode: one query for each row. Prefill: as many queries as rows, of one sequence."""
    for rows in request.rows:
        if "stage:decode" in served.kernel.tags:
            if rows <= DECODE_BATCH:
                for keys in KEYS:
                    yield f"--batch_size {rows} --s_qo 1 --s_kv {keys}"
        elif rows > DECODE_BATCH:
            yield f"--batch_size 1 --s_qo {rows} --s_kv {rows} --causal"


FORMATS = (
    ExportFormat(
        "flashinfer-testlist",
        "lines for FlashInfer's benchmark, one a case",
        tuple(dict.fromkeys(kind.op_type for kind in KINDS.values())),
        _testlist,
    ),
)
"""The formats that this plugin writes."""
