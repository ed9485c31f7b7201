"""The model class of a config that names none, and the model types of a model class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fibcore.configs.model_config import ModelConfig
from fibcore.elaborate import served_architecture
from fibcore.elaborate.sglang.index import SourceIndex
from fibcore.elaborate.sglang.model_types import architectures_of, model_types_of
from fibcore.elaborate.transformers.class_tables import shipped_table
from fibcore.errors import ConfigError


def architecture(source: Path, data: dict[str, Any]) -> str:
    config = ModelConfig("x", None, data, "file:config.json")
    return served_architecture(SourceIndex(source / "sglang"), config)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("llama", "LlamaForCausalLM"),
        ("qwen3_moe", "Qwen3MoeForCausalLM"),
        ("deepseek_v3", "DeepseekV3ForCausalLM"),
        ("gemma3", "Gemma3ForConditionalGeneration"),
        ("gpt_oss", "GptOssForCausalLM"),
    ],
)
def test_the_model_type_tells(sglang_source: Path, kind: str, expected: str) -> None:
    assert architecture(sglang_source, {"model_type": kind}) == expected
    assert architecture(sglang_source, {"model_type": kind, "architectures": None}) == expected


def test_what_the_file_names_stands(sglang_source: Path) -> None:
    data = {"model_type": "llama", "architectures": ["OtherForCausalLM"]}
    assert architecture(sglang_source, data) == "OtherForCausalLM"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"model_type": "multi_modality", "architectures": ["X"]}, "MultiModalityCausalLM"),
        ({"architectures": ["LongcatCausalLM"]}, "LongcatFlashForCausalLM"),
        (
            {
                "model_type": "deepseek_vl_v2",
                "architectures": ["X"],
                "auto_map": {"AutoModel": "modeling_deepseekocr.DeepseekOCRForCausalLM"},
            },
            "DeepseekOCRForCausalLM",
        ),
    ],
)
def test_names_that_the_loader_changes(
    sglang_source: Path, data: dict[str, Any], expected: str
) -> None:
    assert architecture(sglang_source, data) == expected


def test_no_class_for_a_model_type(sglang_source: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        architecture(sglang_source, {"model_type": "brand_new"})
    assert caught.value.where == "file:config.json: architectures"
    assert "brand_new" in (caught.value.found or "")


def test_several_classes_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "sglang" / "srt" / "models"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(
        "class MineForCausalLM: ...\nclass MineForRewardModel: ...\n"
        "EntryClass = [MineForCausalLM, MineForRewardModel]\n"
    )
    with pytest.raises(ConfigError) as caught:
        architecture(tmp_path, {"model_type": "mine"})
    assert caught.value.expected == "one of MineForCausalLM, MineForRewardModel"


@pytest.mark.parametrize("named", [None, ["SomethingElse"]])
@pytest.mark.parametrize(("registered", "expected"), [(True, "MineForCausalLM"), (False, None)])
def test_a_registered_config_class_that_says_the_model_class(
    tmp_path: Path, named: list[str] | None, registered: bool, expected: str | None
) -> None:
    root = tmp_path / "sglang" / "srt"
    for folder in ("models", "configs", "utils"):
        (root / folder).mkdir(parents=True)
    (root / "models" / "own.py").write_text("class MineForCausalLM: ...\nEntryClass = []\n")
    (root / "configs" / "own.py").write_text(
        "from transformers import PretrainedConfig\n\n"
        "class OwnConfig(PretrainedConfig):\n    model_type = 'own_type'\n\n"
        "    def __init__(self, **kwargs):\n        super().__init__(**kwargs)\n"
        "        self.architectures = ['MineForCausalLM']\n"
    )
    text = (
        "from sglang.srt.configs.own import OwnConfig\n" + "REGISTRY = [OwnConfig]\n" * registered
    )
    (root / "utils" / "hf_transformers_utils.py").write_text(text)
    data = {"model_type": "own_type", "architectures": named}
    if expected is not None:
        assert architecture(tmp_path, data) == expected
    elif named is not None:
        assert architecture(tmp_path, data) == named[0]
    else:
        with pytest.raises(ConfigError):
            architecture(tmp_path, data)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("LlamaForCausalLM", "llama"),
        ("Qwen2MoeForCausalLM", "qwen2_moe"),
        ("Qwen3NextForCausalLM", "qwen3_next"),
        ("KimiLinearForCausalLM", "kimi_linear"),
        ("DeepseekV3ForCausalLM", "deepseek_v3"),
    ],
)
def test_model_types_of_a_class(sglang_source: Path, name: str, kind: str) -> None:
    index = SourceIndex(sglang_source / "sglang")
    version = "4.57.1" if "0.5.9" in sglang_source.name else "5.19.0"
    table = shipped_table(version)
    assert model_types_of(index, table, name)[0] == kind
    assert name in architectures_of(index, table, kind)
