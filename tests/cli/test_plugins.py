"""`fibcore plugins`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from fibcore.ops.registry import Registry, load_plugins

Invoke = Callable[..., Result]


def test_disable_plugin_leaves_one_out(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def load(**options: Any) -> Registry:
        seen.update(options)
        return load_plugins(discover=False)

    monkeypatch.setattr("fibcore.workspace.load_plugins", load)
    done = invoke("plugins", "--disable-plugin", "moe")
    assert done.exit_code == 1  # none is left
    assert "fibcore[ops]" in done.stderr
    assert seen["disable"] == ("moe",)


def test_plugins_are_listed(invoke: Invoke, op_plugin_names: tuple[str, ...]) -> None:
    result = invoke("plugins")
    assert result.exit_code == 0
    assert "gqa_paged" in result.stdout
    data = json.loads(invoke("plugins", "--json").stdout)
    assert {p["name"] for p in data["plugins"]} == set(op_plugin_names)
