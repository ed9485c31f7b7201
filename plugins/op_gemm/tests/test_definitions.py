"""Definitions and variants of GEMMs."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import Any

import attrs
import pytest

import fibcore_op_gemm as plugin
from fibcore.plugin import Quantization, const
from fibcore_op_gemm.formats import FORMATS, Format, of_definition

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


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        (
            "gemm_fp8_per_channel",
            {
                "A": (["M", "K"], "float8_e4m3fn"),
                "A_scale": (["M"], "float32"),
                "B": (["N", "K"], "float8_e4m3fn"),
                "B_scale": (["N"], "float32"),
            },
        ),
        (
            "gemm_fp8_per_tensor",
            {
                "A": (["M", "K"], "float8_e4m3fn"),
                "A_scale": (["scalar"], "float32"),
                "B": (["N", "K"], "float8_e4m3fn"),
                "B_scale": (["scalar"], "float32"),
            },
        ),
        (
            "gemm_int8_per_channel",
            {
                "A": (["M", "K"], "int8"),
                "A_scale": (["M"], "float32"),
                "B": (["N", "K"], "int8"),
                "B_scale": (["N"], "float32"),
            },
        ),
        (
            "gemm_mxfp8",
            {
                "A": (["M", "K"], "float8_e4m3fn"),
                "A_scale": (["M", "num_k_blocks"], "int8"),
                "B": (["N", "K"], "float8_e4m3fn"),
                "B_scale": (["N", "num_k_blocks"], "int8"),
            },
        ),
        (
            "gemm_nvfp4",
            {
                "A": (["M", "packed_k"], "int8"),
                "A_scale": (["M", "num_k_blocks"], "float8_e4m3fn"),
                "B": (["N", "packed_k"], "int8"),
                "B_scale": (["N", "num_k_blocks"], "float8_e4m3fn"),
                "alpha": (["scalar"], "float32"),
            },
        ),
        (
            "gemm_mxfp4",
            {
                "A": (["M", "packed_k"], "int8"),
                "A_scale": (["M", "num_k_blocks"], "int8"),
                "B": (["N", "packed_k"], "int8"),
                "B_scale": (["N", "num_k_blocks"], "int8"),
            },
        ),
        (
            "gemm_w4a16_nvfp4",
            {
                "A": (["M", "K"], "bfloat16"),
                "B": (["N", "packed_k"], "int8"),
                "B_scale": (["N", "num_k_blocks"], "float8_e4m3fn"),
                "alpha": (["scalar"], "float32"),
            },
        ),
        (
            "gemm_w4a16_mxfp4",
            {
                "A": (["M", "K"], "bfloat16"),
                "B": (["N", "packed_k"], "int8"),
                "B_scale": (["N", "num_k_blocks"], "int8"),
            },
        ),
        (
            "bmm_bf16",
            {
                "A": (["batch_size", "M", "K"], "bfloat16"),
                "B": (["batch_size", "K", "N"], "bfloat16"),
            },
        ),
        (
            "bmm_fp8",
            {
                "A": (["batch_size", "M", "K"], "float8_e4m3fn"),
                "B": (["batch_size", "K", "N"], "float8_e4m3fn"),
                "A_scale": (["scalar"], "float32"),
                "B_scale": (["scalar"], "float32"),
            },
        ),
        (
            "bmm_fp8_block_scale",
            {
                "A": (["batch_size", "M", "K"], "float8_e4m3fn"),
                "A_scale": (["batch_size", "M", "num_k_blocks"], "float32"),
                "B": (["batch_size", "N", "K"], "float8_e4m3fn"),
                "B_scale": (["batch_size", "num_n_blocks", "num_k_blocks"], "float32"),
            },
        ),
    ],
)
def test_the_tensors_of_formats(definition_of: Any, kind: str, inputs: Any) -> None:
    data = definition_of(kind, 192, 320).to_dict()
    assert list(specs(data["inputs"]).items()) == list(inputs.items())
    (output,) = specs(data["outputs"]).values()
    assert output == ([*inputs["A"][0][:-1], "N"], "bfloat16")
    for part in ("axes", "inputs", "outputs"):
        assert all(spec.get("description") for spec in data[part].values()), part


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_a_format_is_known_by_its_tensors(definition_of: Any, one: Format) -> None:
    made = definition_of(one.name, 192, 320)
    assert [other.name for other in FORMATS if other.has(made)] == [one.name]
    assert of_definition(made) == one
    assert plugin.fibcore_identify(made).contradictions == ()
    for axis, size in made.const_axes.items():
        other = attrs.evolve(made, axes={**made.axes, axis: const(size + 1)})
        assert plugin.fibcore_identify(other).contradictions, axis


def test_sizes_of_packed_matrices(definition_of: Any) -> None:
    assert definition_of("gemm_nvfp4", 192, 320).const_axes == {
        "N": 192,
        "K": 320,
        "packed_k": 160,
        "num_k_blocks": 20,
        "scalar": 1,
    }
    assert definition_of("gemm_mxfp4", 192, 320).const_axes["num_k_blocks"] == 10
    both, weights = (definition_of(f"gemm_{kind}", 192, 320) for kind in ("nvfp4", "w4a16_nvfp4"))
    assert weights.const_axes == both.const_axes


def test_references_need_torch_alone(definition_of: Any) -> None:
    for made in (definition_of(one.name, 64, 64) for one in FORMATS):
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
