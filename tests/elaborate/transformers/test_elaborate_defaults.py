"""Keys that config.json leaves out: defaults of transformers' config classes, read as text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate.transformers import pins
from fibcore.elaborate.transformers.pins import pinned_transformers
from fibcore.errors import ConfigError, SourceError
from fibcore.model.tree import origins_of
from fibcore.sources.tree import SourceTree

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


def test_the_nearest_release_stands_in_for_one_that_cannot_be_had(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fibcore.sources import finding

    def no_network(spec: str, *_: Any, **__: Any) -> SourceTree:
        raise SourceError(f"no route to the index ({spec})")

    monkeypatch.setattr(finding, "find_source", no_network)
    pins.table_of.cache_clear()
    (made.root.parent / "pyproject.toml").write_text('dependencies = ["transformers==4.56.8"]\n')
    model = made.tree(
        "from torch import nn\nclass Model(nn.Module):\n    def __init__(self, config):\n"
        "        super().__init__()\n        self.x = config.rms_norm_eps\n"
        "    def forward(self):\n        pass\nEntryClass = Model\n",
        config={"model_type": "llama"},
    )
    assert model.root.attributes["x"] == 1e-6
    release, sizes = model.warnings
    for part in ("4.57.1", "4.56.8", "no route", "pypi:transformers==4.56.8"):
        assert part in release
    assert "vocab_size is not in the config: the default of LlamaConfig" in sizes
    pins.table_of.cache_clear()


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("sglang-0.5.9.dist-info/METADATA", "Requires-Dist: transformers==4.57.1\n", "4.57.1"),
        ("sglang-0.5.9.dist-info/METADATA", "Requires-Dist: transformers == 5.3.0\n", "5.3.0"),
        ("pyproject.toml", 'dependencies = ["torch==2.9", "transformers==4.57.1"]\n', "4.57.1"),
        ("../pyproject.toml", '  "transformers==4.57.1",\n', "4.57.1"),
        ("pyproject.toml", 'dependencies = ["transformers>=4.57"]\n', None),
        ("other.toml", '"transformers==4.57.1"\n', None),
    ],
)
def test_the_release_that_a_tree_wants(
    tmp_path: Path, file: str, text: str, expected: str | None
) -> None:
    root = tmp_path / "python" / "sglang"
    root.mkdir(parents=True)
    path = root.parent / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert pinned_transformers(root) == expected
