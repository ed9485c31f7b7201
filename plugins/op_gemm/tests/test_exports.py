"""GEMMs of a rank in the formats of tuners."""

from __future__ import annotations

import csv
import io
from typing import Any

from fibcore.plugin import (
    Device,
    ExportRequest,
    Fact,
    Kernel,
    ServedKernel,
    Serving,
    SourcePlace,
    Use,
)
from fibcore_op_gemm import definitions, fibcore_exports
from fibcore_op_gemm.exports import config_name
from fibcore_op_gemm.formats import BMM_BF16, FP8_BLOCK, NVFP4, PLAIN, W4A16_NVFP4, Format
from fibcore_op_gemm.names import OP_TYPE, kernel_name

PLACE = SourcePlace("sglang/srt/models/example.py", 7)
H100 = Device("H100", "NVIDIA H100 80GB HBM3")
KEY = "N=512,K=256,device_name=NVIDIA_H100_80GB_HBM3,dtype=fp8_w8a8,block_shape=[128, 128].json"


def served(matrices: Format, n: int = 512, k: int = 256, biased: int = 0) -> ServedKernel:
    parameters: dict[str, Any] = {"N": n, "K": k, "format": matrices.name}
    if matrices.batched:
        parameters["batch_size"] = 16
    facts = {"biased_layers": Fact(biased, (), PLACE)} if biased else {}
    uses = tuple(Use(f"layers.{number}", "Linear", PLACE) for number in range(2))
    kernel = Kernel(OP_TYPE, kernel_name(matrices, n, k), parameters, facts, uses)
    return ServedKernel("example", Serving(tp=2), kernel, definitions.define(kernel))


def written(name: str, *kernels: ServedKernel, **more: Any) -> Any:
    (one,) = (found for found in fibcore_exports() if found.name == name)
    return one.write(ExportRequest(kernels, (1, 64), (H100,), **more))


def table(exported: Any, path: str) -> list[dict[str, str]]:
    (text,) = (file.text for file in exported.files if file.path == path)
    return list(csv.DictReader(io.StringIO(text)))


def test_every_format_asks_for_the_shapes_of_a_rank() -> None:
    assert {tuple(one.options.items()) for one in fibcore_exports()} == {(("gemm_shapes", "rank"),)}


def test_the_table_has_a_row_for_every_number_of_rows() -> None:
    rows = table(written("gemm-csv", served(PLAIN), served(BMM_BF16)), "gemm_shapes.csv")
    assert [(row["B"], row["M"], row["N"], row["K"]) for row in rows] == [
        ("1", "1", "512", "256"),
        ("1", "64", "512", "256"),
        ("16", "1", "512", "256"),
        ("16", "64", "512", "256"),
    ]
    assert {row["layers"] for row in rows} == {"2"}


def test_aiters_lists_have_its_columns() -> None:
    exported = written(
        "aiter", served(PLAIN, biased=1), served(FP8_BLOCK), served(NVFP4), served(W4A16_NVFP4)
    )
    plain = table(exported, "bf16_untuned_gemm.csv")
    assert list(plain[0]) == ["M", "N", "K", "bias", "dtype", "outdtype", "scaleAB"]
    # One of two layers has a bias: the kernel runs with and without.
    assert [(row["M"], row["bias"]) for row in plain] == [
        ("1", "False"),
        ("1", "True"),
        ("64", "False"),
        ("64", "True"),
    ]
    assert list(table(exported, "a8w8_blockscale_untuned_gemm.csv")[0]) == ["M", "N", "K"]
    assert list(exported.left_out) == [
        "gemm_nvfp4_n_512_k_256",
        "gemm_w4a16_nvfp4_n_512_k_256",
    ]


def test_a_layer_that_always_has_a_bias() -> None:
    rows = table(written("aiter", served(PLAIN, biased=2)), "bf16_untuned_gemm.csv")
    assert {row["bias"] for row in rows} == {"True"}


def test_keys_of_tuned_configs() -> None:
    assert config_name(512, 256, H100.reported) == KEY
    kernels = served(FP8_BLOCK), served(FP8_BLOCK, n=1024)
    exported = written("sglang-fp8-gemm", *kernels, shipped=frozenset({KEY}))
    assert [row[3] for row in exported.rows] == ["yes", "no"]
    assert len(exported.gaps) == 1


def test_deepgemm_and_flashinfer() -> None:
    assert written("deepgemm", served(FP8_BLOCK)).rows[0] == ("fp8_gemm_nt", 1, 512, 256, 1)
    (line,), *_ = written("flashinfer-testlist", served(FP8_BLOCK)).rows
    assert line.startswith("--routine gemm_fp8_nt_groupwise --m 1 --n 512 --k 256 ")
