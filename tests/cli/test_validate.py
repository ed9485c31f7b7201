"""`fibcore validate`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fibcore.cli import cli

Invoke = Callable[..., Result]


def test_validate_accepts_what_extract_wrote_and_names_what_is_wrong(
    invoke: Invoke, tiny: list[object]
) -> None:
    invoke("extract", *tiny)
    result = invoke("validate")
    assert result.exit_code == 0, result.output
    path = Path("repos/flashinfer-trace/definitions/rmsnorm/rmsnorm_h64.json")
    path.write_text(path.read_text().replace('"var"', '"vary"'))
    result = invoke("validate", "--json")
    assert result.exit_code == 1
    (problem,) = [p for p in json.loads(result.stdout)["problems"] if p["severity"] == "error"]
    assert problem["path"] == "definitions/rmsnorm/rmsnorm_h64.json"
    assert "vary" in problem["found"]


def test_validate_without_a_dataset(invoke: Invoke) -> None:
    result = invoke("validate")
    assert result.exit_code == 1
    assert "flashinfer-trace" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes there")
def test_names_of_files_cannot_fake_lines_or_steer_a_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "definitions" / "gemm"
    folder.mkdir(parents=True)
    (folder / "a\n0 definitions: 0 errors\x1b[31m.json").write_text("{}")
    (tmp_path / "solutions").mkdir()
    (tmp_path / "solutions" / "b\nerror: c.json").write_text("{")
    Path(os.fsdecode(os.fsencode(folder) + b"/d\xe9.json")).write_text("[]")
    (tmp_path / "workloads").mkdir()
    (tmp_path / "workloads" / "e\twarning: f\n.jsonl").write_text("")
    result = CliRunner().invoke(cli, ["validate", "--dataset", str(tmp_path)])
    assert result.exit_code == 1
    lines = result.output.splitlines()
    heads = [line for line in lines if not line.startswith("  ")]
    assert len(heads) == 5
    assert heads[-1].startswith("2 definitions, 1 solutions: 4 errors")
    assert "a\\n0 definitions: 0 errors\\x1b[31m.json" in result.output
    assert "d\\udce9.json" in result.output
    assert "\x1b" not in result.output
