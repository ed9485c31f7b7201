"""`fibcore models`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Invoke = Callable[..., Result]


def test_models_lists_catalogue_and_source(invoke: Invoke, tiny_source: Path) -> None:
    result = invoke("models")
    assert result.exit_code == 0
    assert "llama-3.1-8b" in result.stdout
    data = json.loads(invoke("models", "--sglang", tiny_source, "--json").stdout)
    assert data["files"] == {"tiny": ["TinyForCausalLM"]}
    assert any(entry["slug"] == "deepseek-v3" for entry in data["catalogue"])


def test_models_shows_a_hierarchy_with_repeated_layers_once(
    invoke: Invoke, tiny_source: Path, tiny_config: Path
) -> None:
    options = ("tiny", "--sglang", tiny_source, "--config", tiny_config)
    result = invoke("models", *options)
    assert result.exit_code == 0, result.output
    assert "[0-1] TinyLayer x2" in result.stdout
    assert "attn RadixAttention x2" in result.stdout
    rows = json.loads(invoke("models", *options, "--json").stdout)["rows"]
    attention = next(r for r in rows if r["cls"] == "RadixAttention")
    assert (attention["path"], attention["count"]) == ("layers.[0-1].attn", 2)
    assert invoke("models", "--tp", "2").exit_code == 2
    assert invoke("models", "--tree", "layers.0").exit_code == 2


def test_models_shows_single_modules_whole(
    invoke: Invoke, tiny_source: Path, tiny_config: Path
) -> None:
    options = ("tiny", "--sglang", tiny_source, "--config", tiny_config, "--tree")
    result = invoke("models", *options, "layers.*.attn")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("sglang.srt.layers.radix_attention.RadixAttention") == 2
    assert "layer_id" in result.stdout
    data = json.loads(invoke("models", *options, "layers.1.attn", "--json").stdout)
    (one,) = data["modules"]
    assert one["arguments"]["layer_id"] == "1"
    wrong = invoke("models", *options, "layers.1.atn")
    assert wrong.exit_code == 2
    assert "layers.1.attn" in wrong.stderr
