"""`fibcore new-op`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Invoke = Callable[..., Result]


def test_it_says_what_was_made_and_what_comes_next(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("new-op", "paged_copy")
    assert result.exit_code == 0
    assert result.stdout.startswith("op_paged_copy: fibcore-op-paged-copy, ")
    assert "pip install --editable op_paged_copy" in result.stdout
    assert (tmp_path / "op_paged_copy" / "pyproject.toml").is_file()


def test_directory_and_json(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("new-op", "paged_copy", "--directory", "my plugins", "--json")
    assert result.exit_code == 0
    data = json.loads(result.stdout)
    assert data["folder"] == "my plugins/op_paged_copy"
    assert (tmp_path / data["folder"] / data["package"] / "__init__.py").is_file()


def test_a_name_of_an_installed_plugin_is_wrong_usage(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("new-op", "gqa_paged")
    assert result.exit_code == 2
    assert "expected: a name that no installed plugin" in result.stderr
    assert list(tmp_path.iterdir()) == []
