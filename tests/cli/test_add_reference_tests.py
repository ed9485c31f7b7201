"""`fibcore add-reference-tests`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Invoke = Callable[..., Result]


def test_add_tests_writes_modules(invoke: Invoke, tiny: list[object]) -> None:
    invoke("extract", *tiny)
    result = invoke("add-tests", "--op-type", "rmsnorm")
    assert result.exit_code == 0, result.output
    tests = Path("repos/flashinfer-trace/tests/references")
    assert {p.name for p in tests.iterdir()} == {"conftest.py", "test_rmsnorm.py"}
    definitions = Path("repos/flashinfer-trace/definitions").absolute()
    result = invoke("add-reference-tests", "--definitions-dir", definitions / "gemm", "--json")
    assert result.exit_code == 0, result.output
    assert (tests / "test_gemm.py").exists()
    assert "tests/references/test_gemm.py" in json.loads(result.stdout)["written"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--all", "--op-type", "gemm"],
        ["--all", "--tolerance", "x"],
        ["--all", "--tolerance", "-1"],
        ["--all", "--tolerance", "nan"],
        ["--op-type", "nonsense"],
        ["--definition-name", "nonsense"],
        ["--definitions-dir", "nowhere"],
    ],
)
def test_add_tests_with_wrong_usage(
    invoke: Invoke, tiny: list[object], arguments: list[str]
) -> None:
    invoke("extract", *tiny)
    result = invoke("add-tests", *arguments)
    assert result.exit_code == 2, result.output
    assert not Path("repos/flashinfer-trace/tests").exists()
