"""Names of tuned configs are what SGLang's and vLLM's own functions make of the sizes."""

from __future__ import annotations

import ast
import os
import runpy
from pathlib import Path
from typing import Any

import attrs
import pytest

from fibcore.plugin import Device, ExportRequest, Fact, Kernel, ServedKernel, Serving, SourcePlace
from fibcore_op_moe import definitions, fibcore_exports
from fibcore_op_moe.activations import BY_NAME
from fibcore_op_moe.exports import Tuned, sglang_name, tuned, vllm_name
from fibcore_op_moe.formats import BF16, FP8_BLOCK, NVFP4, W4A16_NVFP4
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.names import OP_TYPE
from fibcore_op_moe.routings import DS, RENORM

DEEPSEEK = Moe(FP8_BLOCK, DS, 8, 8, 4, 256, 256, 7168, 256)
MIXTRAL = Moe(BF16, RENORM, 2, 0, 0, 8, 8, 4096, 7168)
H100 = Device("H100", "NVIDIA H100 80GB HBM3")
RELU2 = BY_NAME["relu2"]
PLACE = SourcePlace("sglang/srt/models/example.py", 7)
SGLANG_KEY = (
    "E=257,N=256,device_name=NVIDIA_H100_80GB_HBM3,dtype=fp8_w8a8,block_shape=[128, 128].json"
)


def served(moe: Moe, shared: int = 0) -> ServedKernel:
    facts = {"routed_scaling_factor": Fact(2.5, (), PLACE)}
    if shared:
        facts["num_fused_shared_experts"] = Fact(shared, (), PLACE)
    kernel = Kernel(OP_TYPE, moe.name, moe.parameters(), facts, ())
    return ServedKernel("example", Serving(tp=8), kernel, definitions.define(kernel))


def written(name: str, *kernels: ServedKernel, **more: Any) -> Any:
    (one,) = (found for found in fibcore_exports() if found.name == name)
    return one.write(ExportRequest(kernels, (1, 16), (H100,), **more))


def test_shared_experts_count_where_sglang_fuses_them() -> None:
    assert tuned(served(DEEPSEEK, 1), with_shared=True) == Tuned(257, 256, "fp8_w8a8", True, False)
    assert tuned(served(DEEPSEEK, 1), with_shared=False) == Tuned(256, 256, "fp8_w8a8", True, False)
    assert tuned(served(MIXTRAL), with_shared=True) == Tuned(8, 7168, None, False, False)


def test_experts_that_compute_otherwise_are_no_line_and_have_their_own_width() -> None:
    odd = attrs.evolve(DEEPSEEK, activation=RELU2)
    assert list(written("flashinfer-testlist", served(odd)).left_out) == [odd.name]
    assert written("deepgemm", served(odd)).rows[0][3] == DEEPSEEK.intermediate_size


def test_what_the_source_lacks_is_a_gap() -> None:
    kernels = served(DEEPSEEK, 1), served(MIXTRAL)
    exported = written("sglang-moe", *kernels, shipped=frozenset({SGLANG_KEY}))
    assert [row[3] for row in exported.rows] == ["yes", "no"]
    assert exported.gaps == ("E=8,N=7168,device_name=NVIDIA_H100_80GB_HBM3.json",)
    unknown = written("sglang-moe", *kernels)
    assert [row[3] for row in unknown.rows] == ["unknown", "unknown"]
    assert not unknown.gaps


def test_weights_that_the_kernel_does_not_have_are_left_out() -> None:
    packed = [Moe(w, RENORM, 2, 0, 0, 8, 8, 4096, 2048) for w in (NVFP4, W4A16_NVFP4)]
    exported = written("vllm-moe", *(served(one) for one in packed))
    assert list(exported.left_out) == [one.name for one in packed]
    assert not exported.files


def test_grouped_products_of_deepgemm() -> None:
    exported = written("deepgemm", served(DEEPSEEK))
    assert exported.rows[:2] == (
        ("m_grouped_fp8_gemm_nt_contiguous", 256, 8, 512, 7168),
        ("m_grouped_fp8_gemm_nt_contiguous", 256, 8, 7168, 256),
    )


def test_lines_for_flashinfers_benchmark() -> None:
    (line,), *_ = written("flashinfer-testlist", served(DEEPSEEK)).rows
    assert "--num_experts 256 --top_k 8 --n_group 8 --topk_group 4" in line
    assert "--routing_method deepseek_v3" in line


@pytest.mark.parametrize("blocks", [None, [128, 128]])
@pytest.mark.parametrize("channels", [False, True])
def test_sglangs_function_makes_the_same_name(
    tmp_path: Path, blocks: list[int] | None, channels: bool
) -> None:
    root = os.environ.get("FIBCORE_SGLANG")
    if root is None:
        pytest.skip("FIBCORE_SGLANG names no source of SGLang")
    (path,) = Path(root).rglob("fused_moe_triton_config.py")
    theirs = _function(path, tmp_path, get_device_name=lambda: H100.reported)
    config = Tuned(257, 256, "fp8_w8a8", blocks is not None, channels)
    expected = theirs(257, 256, "fp8_w8a8", blocks, channels)
    assert sglang_name(config, H100.reported) == expected


def test_vllms_names_have_no_blanks() -> None:
    config = Tuned(8, 7168, "fp8_w8a8", True, False)
    assert vllm_name(config, "NVIDIA H200").endswith("fp8_w8a8,block_shape=[128,128].json")


def _function(path: Path, folder: Path, **namespace: Any) -> Any:
    """SGLang's function that names a config, alone."""
    (found,) = (
        node
        for node in ast.parse(path.read_text()).body
        if getattr(node, "name", None) == "get_config_file_name"
    )
    alone = folder / "alone.py"
    alone.write_text(f"from __future__ import annotations\n{ast.unparse(found)}\n")
    return runpy.run_path(str(alone), namespace)["get_config_file_name"]
