"""What tests of commands share: a command line in an empty folder, and a made-up model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fibcore.cli import cli
from fibcore.ops.registry import Registry

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, op_plugins: Registry) -> Invoke:
    """Run a command line in an empty folder, with the project's plugins."""
    monkeypatch.chdir(tmp_path)
    for module in (
        "fibcore.ops.registry",
        "fibcore.workspace",
    ):
        monkeypatch.setattr(f"{module}.load_plugins", lambda **_: op_plugins)

    def run(*args: object) -> Result:
        return CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="fibcore")

    return run


@pytest.fixture
def tiny(tiny_source: Path, tiny_config: Path) -> list[object]:
    """Options that name the made-up model."""
    return ["--model-name", "tiny", "--sglang", tiny_source, "--config", tiny_config]
