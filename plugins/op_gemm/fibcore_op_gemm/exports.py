"""GEMMs in the formats of tuners: one entry of `FORMATS` each.

Sizes are those of one rank, as tuners want them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs

from fibcore.plugin import (
    Exported,
    ExportedFile,
    ExportFormat,
    ExportRequest,
    ServedKernel,
    amd_fp8,
    csv_text,
    json_text,
    testlist,
)
from fibcore_op_gemm import formats
from fibcore_op_gemm.formats import BLOCK, AnyFormat
from fibcore_op_gemm.names import OP_TYPE, SHAPES

_RANK = {SHAPES.name: "rank"}


@attrs.frozen
class Gemm:
    """A product of a model, at any number of rows.

    Attributes:
        model: The model's slug.
        tp: Tensor-parallel size.
        ep: Expert-parallel size.
        name: The definition's name.
        matrices: The format of its matrices.
        n: Columns of the result.
        k: Columns of A.
        batch: Matrices; None where there is one.
        layers: Layers that run it.
        biased: Those of them that add a bias.
    """

    model: str
    tp: int
    ep: int
    name: str
    matrices: AnyFormat
    n: int
    k: int
    batch: int | None
    layers: int
    biased: int


def gemms(request: ExportRequest) -> list[Gemm]:
    """The products of all models."""
    return [_gemm(served) for served in request.kernels]


def _gemm(served: ServedKernel) -> Gemm:
    parameters, facts = served.kernel.parameters, served.kernel.facts
    batch = parameters.get("batch_size")
    biased = facts.get("biased_layers")
    return Gemm(
        model=served.model,
        tp=served.serving.tp,
        ep=served.serving.ep,
        name=served.definition.name,
        matrices=formats.named(str(parameters["format"])),
        n=int(parameters["N"]),
        k=int(parameters["K"]),
        batch=None if batch is None else int(batch),
        layers=len(served.kernel.uses),
        biased=0 if biased is None else int(biased.value),
    )


def _shapes(found: Iterable[Gemm]) -> dict[tuple[AnyFormat, int, int, int | None], Gemm]:
    """Each size once, whatever models have it."""
    several: dict[tuple[AnyFormat, int, int, int | None], Gemm] = {}
    for one in found:
        several.setdefault((one.matrices, one.n, one.k, one.batch), one)
    return several


# -- all products, with their layers ------------------------------------------------------------

_COLUMNS = ("model", "tp", "ep", "definition", "format", "dtype", "B", "N", "K", "layers", "biased")


def _table(request: ExportRequest) -> Exported:
    found = gemms(request)
    rows = tuple(_row(one) for one in found)
    grid = [(*row[:7], m, *row[7:]) for row in rows for m in request.rows]
    columns = (*_COLUMNS[:7], "M", *_COLUMNS[7:])
    data = [{**dict(zip(_COLUMNS, row, strict=True)), "M": list(request.rows)} for row in rows]
    files = (
        ExportedFile("gemm_shapes.csv", csv_text(columns, grid)),
        ExportedFile("gemm_shapes.json", json_text(data)),
    )
    return Exported(files, _COLUMNS, rows)


def _row(one: Gemm) -> tuple[str | int, ...]:
    return (
        *(one.model, one.tp, one.ep, one.name, one.matrices.name, one.matrices.dtype),
        *(one.batch or 1, one.n, one.k, one.layers, one.biased),
    )


# -- aiter: lists of untuned GEMMs below aiter/configs ------------------------------------------

_SIZES = ("M", "N", "K")
_BF16_FILE, _FP8_ROW_FILE = "bf16_untuned_gemm.csv", "a8w8_bpreshuffle_untuned_gemm.csv"
# The files of each format; none where aiter tunes none. Its tuner of `a8w8_untuned_gemm.csv` draws
# int8 alone. fp8 blocks have a kernel for weights as they are, and one for shuffled ones: SGLang
# calls the first before gfx950 and the other there.
_AITER: Mapping[AnyFormat, tuple[str, ...]] = {
    formats.PLAIN: (_BF16_FILE,),
    formats.FP8_BLOCK: (
        "a8w8_blockscale_untuned_gemm.csv",
        "a8w8_blockscale_bpreshuffle_untuned_gemm.csv",
    ),
    formats.FP8_ROW: (_FP8_ROW_FILE,),
    formats.INT8_ROW: ("a8w8_untuned_gemm.csv",),
    formats.MXFP4: ("a4w4_blockscale_untuned_gemm.csv",),
    formats.BMM_BF16: ("bf16_untuned_batched_gemm.csv",),
}
_AITER_COLUMNS = {
    _BF16_FILE: (*_SIZES, "bias", "dtype", "outdtype", "scaleAB"),
    _FP8_ROW_FILE: (*_SIZES, "q_dtype_w"),
    "bf16_untuned_batched_gemm.csv": ("B", *_SIZES),
}


def _aiter(request: ExportRequest) -> Exported:
    lines: dict[str, dict[tuple[str | int | bool, ...], None]] = {}
    left_out: dict[str, str] = {}
    for one in gemms(request):
        names = _AITER.get(one.matrices, ())
        if not names:
            left_out[one.name] = f"aiter has no list of untuned {one.matrices.name}"
        for name in names:
            table = lines.setdefault(name, {})
            table.update(dict.fromkeys(_aiter_lines(one, name, request)))
    files = [
        ExportedFile(name, csv_text(_AITER_COLUMNS.get(name, _SIZES), table))
        for name, table in lines.items()
    ]
    rows = tuple(
        (file.path, line.replace(",", " ")) for file in files for line in file.text.splitlines()[1:]
    )
    return Exported(tuple(files), ("file", "line"), rows, left_out)


def _aiter_lines(
    one: Gemm, name: str, request: ExportRequest
) -> Iterator[tuple[str | int | bool, ...]]:
    for m in request.rows:
        if "batched" in name:
            yield one.batch or 1, m, one.n, one.k
        elif name == _BF16_FILE:
            # The dataset has these in float16; models run them in bfloat16.
            for bias in sorted({one.biased > 0, one.biased == one.layers}):
                yield m, one.n, one.k, bias, "torch.bfloat16", "torch.bfloat16", False
        elif name == _FP8_ROW_FILE:
            for dtype in amd_fp8(request.devices):
                yield m, one.n, one.k, dtype
        else:
            yield m, one.n, one.k


# -- DeepGEMM ----------------------------------------------------------------------------------

_DEEPGEMM: Mapping[AnyFormat, str] = {
    formats.FP8_BLOCK: "fp8_gemm_nt",
    formats.PLAIN: "bf16_gemm_nt",
    formats.BMM_FP8_BLOCK: "fp8_einsum",
}


def _deepgemm(request: ExportRequest) -> Exported:
    left_out: dict[str, str] = {}
    rows: dict[tuple[str | int, ...], None] = {}
    for one in gemms(request):
        function = _DEEPGEMM.get(one.matrices)
        if function is None:
            left_out[one.name] = f"DeepGEMM has no {one.matrices.name}"
            continue
        for m in request.rows:
            rows[(function, m, one.n, one.k, one.batch or 1)] = None
    columns = ("function", "M", "N", "K", "groups")
    files = (ExportedFile("deepgemm_dense.csv", csv_text(columns, rows)),) if rows else ()
    return Exported(files, columns, tuple(rows), left_out)


# -- SGLang: tuned configs of block-scaled products ----------------------------------------------


def config_name(n: int, k: int, device: str) -> str:
    """The file in which SGLang looks for the tuned config of an fp8 block product.

    Args:
        n: Columns of the result, of one rank.
        k: Columns of A, of one rank.
        device: What the driver calls the GPU.
    """
    where = device.replace(" ", "_")
    return f"N={n},K={k},device_name={where},dtype=fp8_w8a8,block_shape=[{BLOCK}, {BLOCK}].json"


def _sglang(request: ExportRequest) -> Exported:
    left_out: dict[str, str] = {}
    rows: list[tuple[str | int, ...]] = []
    gaps: list[str] = []
    for (matrices, n, k, _), one in _shapes(gemms(request)).items():
        if matrices is not formats.FP8_BLOCK:
            left_out[one.name] = "SGLang has tuned configs of fp8 blocks alone"
            continue
        for device in request.devices:
            key = config_name(n, k, device.reported)
            there = request.shipped is not None and key in request.shipped
            known = "unknown" if request.shipped is None else "yes" if there else "no"
            rows.append((device.name, n, k, known, key))
            if known == "no":
                gaps.append(key)
    columns = ("gpu", "N", "K", "shipped", "key")
    data = [dict(zip(columns, row, strict=True)) for row in rows]
    files = (ExportedFile("sglang_fp8_gemm_keys.json", json_text(data)),) if rows else ()
    return Exported(files, columns, tuple(rows), left_out, tuple(gaps))


# -- FlashInfer: lines of benchmarks/flashinfer_benchmark.py --testlist --------------------------

_ROUTINES: Mapping[AnyFormat, Callable[[Gemm, int], str]] = {
    formats.FP8_BLOCK: lambda g, m: f"gemm_fp8_nt_groupwise --m {m} --n {g.n} --k {g.k}",
    formats.PLAIN: lambda g, m: f"mm_bf16 --m {m} --n {g.n} --k {g.k} --out_dtype bfloat16",
    formats.NVFP4: lambda g, m: (
        f"mm_fp4 --m {m} --n {g.n} --k {g.k} --out_dtype bfloat16 --use_nvfp4"
    ),
    formats.MXFP4: lambda g, m: f"mm_fp4 --m {m} --n {g.n} --k {g.k} --out_dtype bfloat16",
    formats.MXFP8: lambda g, m: f"mm_mxfp8 --m {m} --n {g.n} --k {g.k} --out_dtype bfloat16",
    formats.BMM_FP8: lambda g, m: (
        f"bmm_fp8 --batch_size {g.batch or 1} --m {m} --n {g.n} --k {g.k} "
        "--input_dtype fp8_e4m3 --mat2_dtype fp8_e4m3 --out_dtype bfloat16"
    ),
    formats.BMM_BF16: lambda g, m: (
        f"bmm_bf16 --batch_size {g.batch or 1} --m {m} --n {g.n} --k {g.k} --out_dtype bfloat16"
    ),
}


def _testlist(request: ExportRequest) -> Exported:
    left_out: dict[str, str] = {}
    lines: list[str] = []
    for (matrices, *_), one in _shapes(gemms(request)).items():
        routine = _ROUTINES.get(matrices)
        if routine is None:
            left_out[one.name] = f"FlashInfer's benchmark has no routine for {matrices.name}"
            continue
        lines += (f"--routine {routine(one, m)} --case_tag {one.name}" for m in request.rows)
    return testlist("testlist_gemm.txt", lines, left_out)


FORMATS = (
    ExportFormat("gemm-csv", "GEMM shapes of a rank, as CSV and JSON", (OP_TYPE,), _table, _RANK),
    ExportFormat(
        "aiter", "AMD aiter's lists of untuned GEMMs and experts", (OP_TYPE,), _aiter, _RANK
    ),
    ExportFormat("deepgemm", "DeepGEMM's sizes and groups", (OP_TYPE,), _deepgemm, _RANK),
    ExportFormat(
        "sglang-fp8-gemm",
        "keys of SGLang's tuned fp8 block GEMMs, and which it ships",
        (OP_TYPE,),
        _sglang,
        _RANK,
        consumer="sglang",
    ),
    ExportFormat(
        "flashinfer-testlist",
        "lines for FlashInfer's benchmark, one a case",
        (OP_TYPE,),
        _testlist,
        _RANK,
    ),
)
"""The formats that this plugin writes."""
