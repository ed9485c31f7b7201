"""What is exported is held against the sources of those who read it."""

from __future__ import annotations

import ast
import csv
import functools
import io
import json
import os
import re
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from wheels import unpacked

from fibcore.exporting.devices import USUAL
from fibcore.exporting.serving import found_kernels
from fibcore.extraction.request import Request
from fibcore.ops.exports import Exported, ExportRequest, ServedKernel
from fibcore.ops.registry import Registry
from fibcore.workspace import Workspace

SIZES = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "moe_intermediate_size": 256,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "num_hidden_layers": 2,
    "num_experts": 16,
    "num_experts_per_tok": 4,
    "vocab_size": 1024,
}
METHODS: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "blocks": {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
        "fmt": "e4m3",
    },
    "rows": {"quant_method": "w8a8_fp8"},
    "bytes": {"quant_method": "w8a8_int8"},
}
AITER = ("amd-aiter", "0.1.7.post2.dev18", "aiter/configs/", "aiter_meta/csrc/include/")
DEEPGEMM = ("sgl-deep-gemm", "0.2.5", "deep_gemm/__init__.py")


Writer = Callable[[str, str], "list[Exported]"]


@pytest.fixture(scope="module")
def written(sglang: Any, op_plugins: Registry, tmp_path_factory: pytest.TempPathFactory) -> Writer:
    """What a format has of a small model, by format and method of quantisation."""
    workspace = Workspace.of(sglang=str(sglang("0.5.23")), registry=op_plugins)
    folder = tmp_path_factory.mktemp("configs")

    @functools.cache
    def served(method: str) -> tuple[ServedKernel, ...]:
        config = folder / f"{method}.json"
        quantization = METHODS[method]
        given = {"quantization_config": quantization} if quantization else {}
        config.write_text(json.dumps({**SIZES, **given}))
        asked = Request(config=config, op_types=("gemm", "moe"), options={"gemm_shapes": "rank"})
        return found_kernels([method], workspace, asked).kernels

    def write(name: str, method: str) -> list[Exported]:
        kernels = served(method)
        return [
            one.write(
                ExportRequest(
                    [s for s in kernels if s.kernel.op_type in one.op_types], (1, 64), USUAL
                )
            )
            for _, one in op_plugins.exports()
            if one.name == name
        ]

    return write


@pytest.mark.parametrize("method", METHODS)
def test_aiter_has_these_lists_with_these_columns(written: Writer, method: str) -> None:
    root = unpacked(*AITER)
    header = (root / "aiter_meta/csrc/include/aiter_enum.h").read_text()
    files = [file for table in written("aiter", method) for file in table.files]
    assert "untuned_fmoe.csv" in {file.path for file in files}
    for file in files:
        theirs = (root / "aiter/configs" / file.path).read_text().splitlines()
        rows = list(csv.DictReader(io.StringIO(file.text)))
        assert list(rows[0]) == theirs[0].split(",")
        for word in {cell for row in rows for cell in row.values() if cell[0].isalpha()}:
            kind, _, value = word.rpartition(".")
            if kind in ("ActivationType", "QuantType"):
                (body,) = re.findall(rf"enum class {kind}[^{{]*{{([^}}]*)}}", header)
                assert value in re.split(r"\W+", body)
            else:
                assert kind == "torch" or word in ("True", "False")


def test_each_method_is_in_the_list_whose_tuner_draws_it(written: Writer) -> None:
    found = {
        method: {file.path for table in written("aiter", method) for file in table.files}
        - {"untuned_fmoe.csv", "bf16_untuned_gemm.csv"}
        for method in METHODS
    }
    assert found == {
        "plain": set(),
        "blocks": {
            "a8w8_blockscale_untuned_gemm.csv",
            "a8w8_blockscale_bpreshuffle_untuned_gemm.csv",
        },
        "rows": {"a8w8_bpreshuffle_untuned_gemm.csv"},
        "bytes": {"a8w8_untuned_gemm.csv"},
    }


def test_deepgemm_has_these_functions(written: Writer) -> None:
    text = (unpacked(*DEEPGEMM) / "deep_gemm/__init__.py").read_text()
    names = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
    names |= {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    functions = {row[0] for table in written("deepgemm", "blocks") for row in table.rows}
    assert functions == {"fp8_gemm_nt", "bf16_gemm_nt", "m_grouped_fp8_gemm_nt_contiguous"}
    assert functions <= names


@pytest.mark.parametrize("method", ["blocks", "bytes"])
def test_vllm_s_functions_make_the_same_keys(written: Writer, method: str, tmp_path: Path) -> None:
    root = os.environ.get("FIBCORE_VLLM")
    if root is None:
        pytest.skip("FIBCORE_VLLM names no source of vLLM (its wheel has 336 MB)")
    theirs = _functions(Path(root), tmp_path)
    blocks = [128, 128] if method == "blocks" else None
    dtype = theirs["_get_config_dtype_str"](None, use_fp8_w8a8=blocks is not None)
    namespace = theirs["get_config_file_name"].__globals__
    reported = {device.name: device.reported for device in USUAL}
    (table,) = written("vllm-moe", method)
    assert {row[0] for row in table.rows} == set(reported)
    for row in table.rows:
        name = reported[str(row[0])].replace(" ", "_")
        namespace["get_device_name_as_file_name"] = name.__str__
        assert row[-1] == theirs["get_config_file_name"](16, 256, dtype, blocks)


def _functions(root: Path, folder: Path) -> dict[str, Any]:
    """VLLM's functions that name a config, without the rest of it."""
    wanted = {"get_config_file_name": "fused_moe.py", "_get_config_dtype_str": "config.py"}
    texts = ["from __future__ import annotations", "class torch: float = 'float32'"]
    for function, file in wanted.items():
        (path,) = root.rglob(f"layers/fused_moe/{file}")
        body = ast.parse(path.read_text()).body
        texts += [ast.unparse(node) for node in body if getattr(node, "name", None) == function]
    (folder / "alone.py").write_text("\n".join(texts))
    return runpy.run_path(str(folder / "alone.py"))
