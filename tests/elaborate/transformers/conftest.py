"""Config builders of the shipped tables, and a made-up transformers release."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.sglang.config_loading import load_config
from fibcore.elaborate.sglang.environment import Environment
from fibcore.elaborate.sglang.index import SourceIndex
from fibcore.elaborate.sglang.own_classes import OwnClasses
from fibcore.elaborate.transformers import pins
from fibcore.elaborate.transformers.class_tables import (
    shipped_table,
    shipped_versions,
)
from fibcore.elaborate.transformers.config import ConfigBuilder
from fibcore.elaborate.transformers.config_object import ConfigObject
from fibcore.model.serving import Serving
from fibcore.sources.tree import SourceTree


@pytest.fixture
def builder(tmp_path: Path) -> Callable[[str], ConfigBuilder]:
    """A function from a transformers release to a builder over an empty SGLang tree."""

    def made(version: str) -> ConfigBuilder:
        root = tmp_path / "sglang"
        (root / "srt" / "configs").mkdir(parents=True, exist_ok=True)
        environment = Environment(Serving(), "0.5.9" if version[0] == "4" else "0.5.23")
        ev = Evaluator(SourceIndex(root), environment)
        config_builder = ConfigBuilder(ev, shipped_table(version), "sglang x", OwnClasses(ev))
        environment.use_configs(config_builder)
        return config_builder

    return made


@pytest.fixture(params=shipped_versions())
def make(
    request: pytest.FixtureRequest, builder: Callable[[str], ConfigBuilder]
) -> Callable[..., ConfigObject]:
    """A function from a file's keys to the config object of a release's class."""
    made = builder(request.param)
    return lambda kind, **keys: load_config(made, {"model_type": kind, **keys})


CLASSES = """
from ...configuration_utils import PretrainedConfig
from ...utils import logging

logger = logging.get_logger(__name__)


class OtherConfig(PretrainedConfig):
    model_type = "other"
    depth = 1


class MadeConfig(PretrainedConfig):
    model_type = "made"
    attribute_map = {"width": "n_embd"}

    def __init__(
        self,
        hidden_size=8,
        depth=12,
        layer_types=None,
        n_embd=96,
        head_dim=None,
        num_attention_heads=2,
        **kwargs,
    ):
        self.hidden_size = hidden_size
        self.depth = depth
        self.n_embd = n_embd
        self.num_attention_heads = num_attention_heads
        self.head_dim = head_dim if head_dim is not None else hidden_size // num_attention_heads
        self.layer_types = layer_types
        if self.layer_types is None:
            self.layer_types = ["full" if (i + 1) % 2 else "window" for i in range(3)]
        self.scale = 0
        open("/nowhere/at/all", "w")
        super().__init__(**kwargs)

    @property
    def doubled(self):
        return self.scale * 2
"""


BASE = """
class PretrainedConfig:
    def __init__(self, *, tie_word_embeddings=True, pad_token_id=None, **kwargs):
        pass
"""


@pytest.fixture
def fetched(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Which transformers releases were asked for; the tree wants one that is made up."""
    root = tmp_path / "transformers"
    folder = root / "models" / "made"
    folder.mkdir(parents=True)
    (folder / "configuration_made.py").write_text(CLASSES)
    (root / "__init__.py").write_text("raise SystemExit(3)\n")
    (root / "configuration_utils.py").write_text(BASE)
    auto = root / "models" / "auto"
    auto.mkdir()
    (auto / "configuration_auto.py").write_text(
        "CONFIG_MAPPING_NAMES = OrderedDict([('made', 'MadeConfig'), ('other', 'OtherConfig')])\n"
    )
    (made.root.parent / "pyproject.toml").write_text('dependencies = ["transformers==4.56.9"]\n')
    asked: list[str] = []

    def source(version: str) -> tuple[SourceTree | None, str]:
        asked.append(version)
        return SourceTree(root, version, None, "made up"), ""

    monkeypatch.setattr(pins, "release_source", source)
    pins.table_of.cache_clear()
    yield asked
    pins.table_of.cache_clear()
