"""`fibcore validate`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

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
