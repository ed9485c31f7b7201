"""`diff --trace`: when a traced kernel is one of the extracted, and what is said where not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

from fibcore.cli import cli
from fibcore.model.definition import Definition, const, scalar, tensor, var
from fibcore.ops.registry import Registry
from fibcore.reports.diff import DiffReport, diff
from fibcore.traces import TraceFile, read_trace
from fibcore.traces.matching import match


def gemm(tmp_path: Path, **changes: Any) -> TraceFile:
    """A traced GEMM, as FlashInfer describes its bfloat16 one."""
    data: dict[str, Any] = {
        "name": "gemm_bf16_N64_K32",
        "op_type": "gemm_bf16",
        "tags": ["fi_api:flashinfer.gemm.mm_bf16"],
        "axes": {
            "M": {"type": "var"},
            "N": {"type": "const", "value": 64},
            "K": {"type": "const", "value": 32},
        },
        "inputs": {
            "a": {"shape": ["M", "K"], "dtype": "bfloat16"},
            "b": {"shape": ["K", "N"], "dtype": "bfloat16"},
        },
        "outputs": {"out": {"shape": ["M", "N"], "dtype": "bfloat16"}},
        **changes,
    }
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(data))
    return read_trace(path).files[0]


GEMM = Definition(
    "gemm_n_64_k_32",
    "gemm",
    {"M": var(), "N": const(64), "K": const(32)},
    {"A": tensor("M K", "float16"), "B": tensor("N K", "float16")},
    {"C": tensor("M N", "float16")},
    "def run(A, B):\n    return A @ B.T\n",
)


def test_names_do_not_matter_and_layout_and_float_type_are_named(tmp_path: Path) -> None:
    assert match(GEMM, gemm(tmp_path)) == (
        "C is float16, in the dump bfloat16",
        "A is float16, in the dump bfloat16",
        "B is [N, K], in the dump [K, N]",
        "B is float16, in the dump bfloat16",
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"op_type": "gemmlike"},
        {"op_type": "bmm_bf16"},
        {"axes": {"M": {"type": "var"}, "N": {"type": "const", "value": 65}, "K": {"type": "var"}}},
        {"outputs": {"out": {"shape": ["M", "K"], "dtype": "bfloat16"}}},
        {"outputs": {"out": {"shape": ["M", "N"], "dtype": "int32"}}},
        {"inputs": {"a": {"shape": ["M", "K"], "dtype": "float8_e4m3fn"}}},
        {
            "inputs": {
                "a": {"shape": ["M", "K"], "dtype": "bfloat16"},
                "b": {"shape": ["K", "N"], "dtype": "float8_e4m3fn"},
            }
        },
        {
            "inputs": {
                "a": {"shape": ["M", "K"], "dtype": "bfloat16"},
                "b": {"shape": ["K", "N"], "dtype": "bfloat16"},
                "residual": {"shape": ["M", "N"], "dtype": "bfloat16"},
            }
        },
        {
            "outputs": {
                "out": {"shape": ["M", "N"], "dtype": "bfloat16"},
                "other": {"shape": ["M"], "dtype": "bfloat16"},
            }
        },
    ],
)
def test_other_kernels_do_not_match(changes: dict[str, Any], tmp_path: Path) -> None:
    assert match(GEMM, gemm(tmp_path)) is not None
    assert match(GEMM, gemm(tmp_path, **changes)) is None


def test_one_function_of_flashinfer_is_one_kind_whatever_its_op_type(tmp_path: Path) -> None:
    tensors = (tensor("B M K", "bfloat16"), tensor("B K N", "bfloat16"))
    batched = Definition(
        "bmm_bf16_n_64_k_32",
        "gemm",
        {"B": var(), "M": var(), "N": const(64), "K": const(32)},
        dict(zip(("A", "B_"), tensors, strict=True)),
        {"C": tensor("B M N", "bfloat16")},
        "def run(A, B_):\n    return A @ B_\n",
        tags=("fi_api:flashinfer.gemm.bmm_bf16",),
    )
    axes = {"batch_size": {"type": "var"}, "M": {"type": "var"}}
    axes |= {n: {"type": "const", "value": v} for n, v in (("N", 64), ("K", 32))}  # type: ignore[dict-item]
    traced = gemm(
        tmp_path,
        name="bmm_bf16_N64_K32",
        op_type="bmm_bf16",
        tags=["fi_api:flashinfer.gemm.gemm_base.bmm_bf16"],
        axes=axes,
        inputs={
            "A": {"shape": ["batch_size", "M", "K"], "dtype": "bfloat16"},
            "B": {"shape": ["batch_size", "K", "N"], "dtype": "bfloat16"},
        },
        outputs={"C": {"shape": ["batch_size", "M", "N"], "dtype": "bfloat16"}},
    )
    assert match(batched, traced) == ()
    assert match(attrs.evolve(batched, tags=()), traced) is None


def test_vectors_scalars_and_optional_tensors_may_be_on_one_side(tmp_path: Path) -> None:
    inputs = {
        "A": {"shape": ["M", "K"], "dtype": "float16"},
        "B": {"shape": ["N", "K"], "dtype": "float16"},
        "alpha": {"shape": None, "dtype": "float32"},
        "mask": {"shape": ["M", "N"], "dtype": "unknown", "optional": True},
    }
    outputs = {"C": {"shape": ["M", "N"], "dtype": "float16"}}
    scaled = Definition(
        "gemm_n_64_k_32",
        "gemm",
        GEMM.axes,
        {**GEMM.inputs, "beta": scalar("float32")},
        GEMM.outputs,
        "def run(A, B, beta):\n    return A @ B.T\n",
    )
    assert match(scaled, gemm(tmp_path, inputs=inputs, outputs=outputs)) == (
        "beta is not in the dump",
        "alpha is in the dump alone",
        "mask is in the dump alone",
    )


def test_equal_sizes_do_not_hide_another_layout(tmp_path: Path) -> None:
    square = Definition(
        "gemm_n_64_k_64",
        "gemm",
        {**GEMM.axes, "K": const(64)},
        GEMM.inputs,
        GEMM.outputs,
        GEMM.reference,
    )
    axes = {"M": {"type": "var"}, **{n: {"type": "const", "value": 64} for n in "NK"}}
    found = match(square, gemm(tmp_path, axes=axes))
    assert found is not None
    # Tensors of other names correspond by their sizes; those of B by the names of the axes.
    assert "B is [N, K], in the dump [K, N]" in found


def test_a_const_axis_that_no_tensor_has_counts_too(tmp_path: Path) -> None:
    """As the number of experts that a token goes to."""
    axes = {**GEMM.axes, "top_k": const(8)}
    routed = Definition("gemm_top8", "gemm", axes, GEMM.inputs, GEMM.outputs, GEMM.reference)
    sizes = {"N": 64, "K": 32, "top_k": 8}
    there: dict[str, Any] = {"M": {"type": "var"}}
    there |= {n: {"type": "const", "value": v} for n, v in sizes.items()}
    assert match(routed, gemm(tmp_path, axes=there)) is not None
    there["top_k"]["value"] = 6
    assert match(routed, gemm(tmp_path, axes=there)) is None


def test_stages_have_to_agree(tmp_path: Path) -> None:
    decode = GEMM.with_tags("stage:decode")
    assert match(decode, gemm(tmp_path, tags=["stage:prefill"])) is None
    assert match(decode, gemm(tmp_path, tags=["stage:decode"])) is not None
    assert match(decode, gemm(tmp_path, tags=[])) is not None


@pytest.fixture
def compared(
    tiny_source: Path, tiny_config: Path, tmp_path: Path, op_plugins: Registry
) -> Callable[..., DiffReport]:
    """The made-up model against a dump of the given norms."""

    def run(*names: str, **options: Any) -> DiffReport:
        folder = tmp_path / "dump"
        folder.mkdir(exist_ok=True)
        for name in names:
            weight = "(1 + weight)" if "gemma" in name else "weight"
            data = {
                "name": name,
                "op_type": "rmsnorm",
                "tags": ["status:verified"],
                "axes": {"n": {"type": "var"}, "h": {"type": "const", "value": 64}},
                "inputs": {
                    "x": {"shape": ["n", "h"], "dtype": "bfloat16"},
                    "w": {"shape": ["h"], "dtype": "bfloat16"},
                },
                "outputs": {"y": {"shape": ["n", "h"], "dtype": "bfloat16"}},
                "reference": f"def f(x, weight):\n    return x * {weight}\n",
            }
            (folder / f"{name}.json").write_text(json.dumps(data))
        given: dict[str, Any] = {
            "sglang": str(tiny_source),
            "config": tiny_config,
            "op_type": "rmsnorm",
            "target_dir": tmp_path,
            "registry": op_plugins,
            **options,
        }
        return diff("tiny", trace=folder, **given)

    return run


def test_plugins_tell_functions_with_equal_tensors_apart(
    compared: Callable[..., DiffReport],
) -> None:
    report = compared("some_norm", "gemma_norm")
    assert report.trace is not None
    assert [m.traced for m in report.trace.matched] == ["some_norm"]
    (alone,) = report.trace.traced_only
    assert alone.name == "gemma_norm"
    assert "another function" in alone.reason


def test_broken_files_are_failures(compared: Callable[..., DiffReport], tmp_path: Path) -> None:
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "broken.json").write_text("{")
    report = compared("some_norm")
    assert report.exit_code == 1
    assert report.failures[0].startswith("broken.json line 1")


def test_parallel_sizes_are_named_as_the_reason(
    tiny_source: Path, tiny_config: Path, tmp_path: Path, op_plugins: Registry
) -> None:
    sizes = {"num_qo_heads": 2, "num_kv_heads": 1, "head_dim": 16, "page_size": 1}
    data = {
        "name": "decode",
        "op_type": "gqa_paged",
        "tags": ["stage:decode"],
        "axes": {
            "n": {"type": "var"},
            **{a: {"type": "const", "value": s} for a, s in sizes.items()},
        },
        "inputs": {"q": {"shape": ["n", "num_qo_heads", "head_dim"], "dtype": "bfloat16"}},
        "outputs": {"y": {"shape": ["n", "num_qo_heads", "head_dim"], "dtype": "bfloat16"}},
    }
    (tmp_path / "decode.json").write_text(json.dumps(data))
    report = diff(
        "tiny",
        sglang=str(tiny_source),
        config=tiny_config,
        trace=tmp_path / "decode.json",
        registry=op_plugins,
        target_dir=tmp_path,
    )
    assert report.trace is not None
    (alone,) = report.trace.traced_only
    assert alone.reason.endswith(
        "num_qo_heads 4 (not 2), num_kv_heads 2 (not 1); was it served with another --tp?"
    )


def test_the_command_prints_both_sides(
    compared: Callable[..., DiffReport],
    tiny_source: Path,
    tiny_config: Path,
    tmp_path: Path,
    op_plugins: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fibcore.workspace.load_plugins", lambda **_: op_plugins)
    compared("some_norm", "gemma_norm")
    line = ["diff", "--model-name", "tiny", "--sglang", tiny_source, "--config", tiny_config]
    line += ["--trace", tmp_path / "dump", "--op-type", "rmsnorm"]
    result = CliRunner().invoke(cli, [str(a) for a in line], prog_name="fibcore")
    assert result.exit_code == 0
    for text in ("On both sides", "Not in the dump", "In the dump alone", "gemma_norm"):
        assert text in result.stdout
    assert "1 on both sides, 0 of them with differences; 1 not in the dump" in result.stdout
    result = CliRunner().invoke(cli, [str(a) for a in [*line, "--exit-code", "--json"]])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["trace"]["matched"][0]["traced"] == "some_norm"
