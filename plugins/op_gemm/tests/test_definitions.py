"""Definitions and variants of GEMMs."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import Any

import attrs

import fibcore_op_gemm as plugin
from fibcore.plugin import Quantization

FP8_BLOCK = Quantization("fp8", "float8_e4m3fn", "block", block=(128, 128), activation="dynamic")


def specs(data: dict[str, dict[str, object]]) -> dict[str, tuple[object, object]]:
    return {name: (spec["shape"], spec["dtype"]) for name, spec in data.items()}


def test_the_format_of_the_dataset(definition: Any) -> None:
    data = definition(6144, 4096).to_dict()
    assert data["name"] == "gemm_n_6144_k_4096"
    assert data["op_type"] == "gemm"
    assert data["tags"] == []
    assert {n: (a["type"], a.get("value")) for n, a in data["axes"].items()} == {
        "M": ("var", None),
        "N": ("const", 6144),
        "K": ("const", 4096),
    }
    half = "float16"
    assert specs(data["inputs"]) == {"A": (["M", "K"], half), "B": (["N", "K"], half)}
    assert specs(data["outputs"]) == {"C": (["M", "N"], half)}
    assert "constraints" not in data
    assert "\nN = 6144\nK = 4096\n" in data["reference"]


def test_the_format_of_fp8_block_scale(definition: Any) -> None:
    data = definition(2112, 7168, FP8_BLOCK).to_dict()
    assert data["name"] == "gemm_fp8_block_scale_n_2112_k_7168"
    assert data["op_type"] == "gemm"
    assert "quantization:float8_e4m3fn" in data["tags"]
    assert list(data["axes"]) == ["M", "N", "K", "num_k_blocks", "num_n_blocks"]
    assert data["axes"]["num_k_blocks"]["value"] == 56
    assert data["axes"]["num_n_blocks"]["value"] == 17  # 16.5 blocks, rounded up
    fp8 = "float8_e4m3fn"
    assert list(specs(data["inputs"]).items()) == [
        ("A", (["M", "K"], fp8)),
        ("A_scale", (["M", "num_k_blocks"], "float32")),
        ("B", (["N", "K"], fp8)),
        ("B_scale", (["num_n_blocks", "num_k_blocks"], "float32")),
    ]
    assert specs(data["outputs"]) == {"C": (["M", "N"], "bfloat16")}


def test_references_need_torch_alone(definition: Any) -> None:
    for made in (definition(64, 64), definition(64, 64, FP8_BLOCK)):
        imported = [
            name.name
            for node in ast.walk(ast.parse(made.reference))
            if isinstance(node, ast.Import)
            for name in node.names
        ]
        assert imported == ["torch"]


def test_the_other_spelling_is_the_same_kernel(definition: Any) -> None:
    ours = definition(6144, 4096)
    theirs = attrs.evolve(
        ours,
        name="gemm_n6144_k4096",
        description="Matmul",
        tags=("model:llama",),
        reference="import torch\n\ndef run(A, B):\n    return torch.matmul(A, B.T)\n",
    )
    assert ours.structure() == theirs.structure()
    assert plugin.fibcore_identify(ours).variant == plugin.fibcore_identify(theirs).variant == ""
    assert definition(4096, 6144).structure() != ours.structure()


def test_op_types() -> None:
    assert [t.name for t in plugin.fibcore_op_types()] == ["gemm"]


def test_the_plugin_needs_no_torch() -> None:
    code = "import sys, fibcore_op_gemm; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code
