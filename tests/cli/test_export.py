"""`fibcore export`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Invoke = Callable[..., Result]


def test_formats_are_listed(invoke: Invoke) -> None:
    result = invoke("export")
    assert result.exit_code == 0
    assert "KernelBench" in result.stdout
    assert {"name": "gemm-csv", "op_types": ["gemm"]}.items() <= next(
        one for one in json.loads(invoke("export", "--json").stdout) if one["name"] == "gemm-csv"
    ).items()


def test_files_and_table(invoke: Invoke, tiny: list[object], tmp_path: Path) -> None:
    result = invoke("export", "gemm-csv", *tiny, "--rows", "1,8", "--output", "out")
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "out/gemm_shapes.csv").read_text().splitlines()
    assert lines[0].startswith("model,tp,ep,definition,format,dtype,B,M,N,K")
    assert len(lines) > 3
    assert "gemm-csv: 2 files (out)" in result.stdout


def test_a_folder_of_configs(invoke: Invoke, tiny_source: Path, tiny_config: Path) -> None:
    result = invoke("export", "shapes", "--configs", tiny_config, "--sglang", tiny_source, "--json")
    data = json.loads(result.stdout)
    assert (result.exit_code, data["models"]) == (0, ["tiny-config"])
    assert {row["model"] for row in data["rows"]} == {"tiny-config"}


def test_no_model_and_an_unknown_format_are_wrong_usage(invoke: Invoke, tiny_source: Path) -> None:
    assert invoke("export", "gemm-csv", "--sglang", tiny_source).exit_code == 2
    assert "gemm" in invoke("export", "gemm-cvs", "--sglang", tiny_source).stderr
