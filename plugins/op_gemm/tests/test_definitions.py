"""Definitions, variants and ground truths of GEMMs."""

from __future__ import annotations

import ast
import subprocess
import sys

import attrs

import fibcore_op_gemm as plugin
from fibcore.plugin import Definition, Kernel, Quantization, Serving, tensor
from fibcore.testing.trees import module, tree

FP8_BLOCK = Quantization("fp8", "float8_e4m3fn", "block", block=(128, 128), activation="dynamic")


def kernel(n: int, k: int, quantization: Quantization | None = None) -> Kernel:
    cls = "sglang.srt.layers.linear.ReplicatedLinear"
    sizes = {"input_size": k, "output_size": n}
    node = module("n", cls, sizes, quantization=quantization)
    (found,) = plugin.fibcore_extract(tree(node), Serving()).kernels
    return found


def definition(n: int, k: int, quantization: Quantization | None = None) -> Definition:
    made = plugin.fibcore_reference(kernel(n, k, quantization))
    assert made is not None
    return made


def specs(data: dict[str, dict[str, object]]) -> dict[str, tuple[object, object]]:
    return {name: (spec["shape"], spec["dtype"]) for name, spec in data.items()}


def test_the_format_of_the_dataset() -> None:
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


def test_the_format_of_fp8_block_scale() -> None:
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


def test_references_need_torch_alone() -> None:
    for made in (definition(64, 64), definition(64, 64, FP8_BLOCK)):
        imported = [
            name.name
            for node in ast.walk(ast.parse(made.reference))
            if isinstance(node, ast.Import)
            for name in node.names
        ]
        assert imported == ["torch"]


def test_the_other_spelling_is_the_same_kernel() -> None:
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


def test_no_ground_truths_for_other_op_types() -> None:
    other = attrs.evolve(definition(8, 8), op_type="moe")
    assert plugin.fibcore_ground_truths(other) == ()


def test_ground_truths_in_order_of_preference() -> None:
    plain = plugin.fibcore_ground_truths(definition(64, 64)) or ()
    assert [(t.kind, t.device) for t in plain] == [("torch", "any"), ("torch", "cuda")]
    fp8 = plugin.fibcore_ground_truths(definition(64, 64, FP8_BLOCK)) or ()
    assert [t.kind for t in fp8] == ["flashinfer", "flashinfer", "sglang", "torch"]
    assert (fp8[0].min_capability, fp8[0].max_capability) == ((10, 0), (10, 3))
    assert (fp8[1].min_capability, fp8[1].max_capability) == ((9, 0), (9, 0))
    for truth in (*plain, *fp8):
        parsed = ast.parse(truth.source)
        assert [n.name for n in parsed.body if isinstance(n, ast.FunctionDef)] == [truth.entry]
        for node in parsed.body:
            if isinstance(node, ast.Assign):
                assert isinstance(node.targets[0], ast.Name)
                assert node.targets[0].id.lower().startswith(truth.entry)


def test_other_tensors_have_no_ground_truth() -> None:
    ours = definition(64, 64)
    biased = attrs.evolve(
        ours,
        inputs={**ours.inputs, "bias": tensor("N", "float16")},
        reference="def run(A, B, bias):\n    return A @ B.T + bias\n",
    )
    assert plugin.fibcore_ground_truths(biased) == ()


def test_op_types() -> None:
    assert [t.name for t in plugin.fibcore_op_types()] == ["gemm"]


def test_the_plugin_needs_no_torch() -> None:
    code = "import sys, fibcore_op_gemm; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code
