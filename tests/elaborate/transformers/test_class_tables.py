"""Tables of config classes: shipped ones, and those of a source tree."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate.transformers import class_tables
from fibcore.elaborate.transformers.class_tables import shipped_versions, table_text
from fibcore.errors import (
    ConfigError,
)
from fibcore.model.tree import origins_of
from fibcore.sources.folders import cache_root


def test_tables_are_shipped_for_what_supported_releases_pin() -> None:
    assert shipped_versions() == ["4.57.1", "5.19.0"]


@pytest.mark.parametrize("version", shipped_versions())
def test_the_tables_are_what_the_sources_give(version: str) -> None:
    """The cache of an earlier extraction is looked at; nothing is fetched for this."""
    folders = [
        path
        for path in (cache_root() / "sources").glob(f"transformers-*{version}*/*/*")
        if (path / "transformers" / "configuration_utils.py").is_file()
    ] + [Path(p) for p in os.environ.get("FIBCORE_TRANSFORMERS", "").split(os.pathsep) if p]
    roots = [f / "transformers" for f in folders if version in str(f)]
    if not roots:
        pytest.skip(f"the source of transformers {version} is not in the cache")
    shipped = Path(class_tables.__file__).parent / "config_tables"
    text = (shipped / f"transformers-{version}.jsonl").read_text(encoding="utf-8")
    assert table_text(roots[0]) == text


@pytest.mark.parametrize(
    ("expression", "value", "origins"),
    [
        ("config.depth", 12, {"default:MadeConfig.depth (transformers 4.56.9)"}),
        ("config.hidden_size", 64, {"config:hidden_size"}),
        # 64 // 4, both from the file
        (
            "config.head_dim",
            16,
            {
                "config:hidden_size",
                "config:num_attention_heads",
                "default:MadeConfig.head_dim (transformers 4.56.9)",
            },
        ),
        ("config.width", 96, {"default:MadeConfig.n_embd (transformers 4.56.9)"}),
        (
            "config.layer_types",
            ["full", "window", "full"],
            {"default:MadeConfig.layer_types (transformers 4.56.9)"},
        ),
        ("getattr(config, 'depth', 7)", 12, {"default:MadeConfig.depth (transformers 4.56.9)"}),
    ],
)
def test_defaults_of_the_class(
    made: Any, fetched: list[str], expression: str, value: Any, origins: set[str]
) -> None:
    found = made.attributes(f"self.x = {expression}")["x"]
    assert found == value
    for part in found if isinstance(found, list) else [found]:
        assert origins_of(part) == origins
    assert fetched == ["4.56.9"]


def test_a_size_computed_from_a_default(made: Any, fetched: list[str]) -> None:
    found = made.attributes("self.x = config.depth * config.hidden_size")["x"]
    assert found == 12 * 64
    assert origins_of(found) == {
        "default:MadeConfig.depth (transformers 4.56.9)",
        "config:hidden_size",
    }
    assert fetched


@pytest.mark.usefixtures("fetched")
def test_the_file_stands_before_the_class(made: Any) -> None:
    assert made.attributes("self.x = config.depth", config={"depth": 3})["x"] == 3


@pytest.mark.usefixtures("fetched")
def test_a_word_where_the_class_has_a_number(made: Any) -> None:
    assert made.attributes("self.x = config.depth", config={"depth": "LLLG"})["x"] == "LLLG"
    with pytest.raises(ConfigError, match="quotes") as caught:
        made.attributes("self.x = config.depth", config={"depth": "12"})
    assert caught.value.where == "depth"


def test_what_the_class_overwrites_stays_as_the_file_has_it(made: Any, fetched: list[str]) -> None:
    assert made.attributes("self.x = config.doubled", config={"scale": 3})["x"] == 6
    assert fetched


@pytest.mark.usefixtures("fetched")
def test_a_class_in_sglang_stands_before_the_one_in_transformers(made: Any) -> None:
    made.write(
        "srt/configs/made.py",
        "from transformers import PretrainedConfig\nclass MadeConfig(PretrainedConfig):\n"
        "    model_type = 'made'\n    def __init__(self, depth=5, **kwargs):\n"
        "        self.depth = depth\n",
    )
    made.write(
        "srt/utils/hf_transformers_utils.py",
        "from sglang.srt.configs import MadeConfig\n_CONFIG_REGISTRY = [MadeConfig]\n",
    )
    assert made.attributes("self.x = config.depth")["x"] == 5


def test_a_nested_config_has_a_class_of_its_own(made: Any, fetched: list[str]) -> None:
    config = {"text_config": {"model_type": "made", "hidden_size": 6}, "model_type": "both"}
    found = made.attributes("self.x = config.text_config.depth", config=config)["x"]
    assert found == 12
    assert origins_of(found) == {"default:MadeConfig.depth (transformers 4.56.9)"}
    assert fetched


def test_a_key_that_no_class_has(made: Any, fetched: list[str]) -> None:
    with pytest.raises(ConfigError, match="breadth"):
        made.attributes("self.x = config.breadth")
    assert fetched
