"""What covers a class is known without its plugin."""

from __future__ import annotations

from pathlib import Path

import plugin_toy

import fibcore
from fibcore.model.json import decode
from fibcore.ops.covering import FILE, covering
from fibcore.ops.registry import Registry


def test_plugins_in_use_are_not_named() -> None:
    names = ("RotaryEmbedding", "NobodysModule")
    assert covering(names, ()) == {"RotaryEmbedding": ("fibcore-op-rope",)}
    assert covering(names, {"fibcore-op-rope"}) == {}


def test_the_table_names_the_projects_plugins(op_plugins: Registry) -> None:
    table = decode(FILE.read_text())
    named = {one for several in table.values() for one in several}
    own = {f"fibcore-op-{plugin.name.replace('_', '-')}" for plugin in op_plugins.plugins}
    assert named <= own
    assert len(named) > 8


def test_an_extraction_says_what_is_not_installed(tiny_source: Path, tiny_config: Path) -> None:
    toy = plugin_toy.plugin(extract=lambda: plugin_toy.Extraction())
    report = fibcore.extract(
        "tiny",
        sglang=tiny_source,
        config=tiny_config,
        registry=plugin_toy.registry(toy=toy),
        dry_run=True,
    )
    (model,) = report.models
    assert "RMSNorm" in model.unclaimed
    assert model.covered_by["RMSNorm"] == ("fibcore-op-rmsnorm",)
