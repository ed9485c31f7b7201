"""The source text of a transformers release: its classes and the base class of all."""

from __future__ import annotations

from pathlib import Path

import pytest

from fibcore.elaborate.transformers.summaries.release import Release

UP_TO_4_56 = """
class PretrainedConfig:
    def __init__(self, **kwargs):
        self.tie_word_embeddings = kwargs.pop("tie_word_embeddings", True)
        self.torch_dtype = kwargs.pop("torch_dtype", None)
        self._attention = kwargs.pop("attention", False)
        self.made = compute(kwargs)
"""
FROM_4_57 = """
class PreTrainedConfig:
    def __init__(self, *, tie_word_embeddings: bool = True, dtype=None, **kwargs):
        self.made = kwargs.pop("made", 1)

    def _get_global_generation_defaults():
        return {"max_length": 20}
"""
FROM_5 = """
_LEGACY_LAYER_TYPE_REMAP = {"full": "full_attention"}

class PreTrainedConfig:
    kind: ClassVar[str] = ""
    tie_word_embeddings: bool = True
    dtype: str | None = None
"""
GENERATION = """
class GenerationConfig:
    def _get_default_generation_params():
        return {"max_length": 20, "do_sample": False}
"""


@pytest.mark.parametrize(
    ("source", "fields", "dropped"),
    [
        (UP_TO_4_56, {"tie_word_embeddings": True}, ()),
        (FROM_4_57, {"tie_word_embeddings": True, "dtype": None, "max_length": 20}, ()),
        (FROM_5, {"tie_word_embeddings": True, "dtype": None}, ("max_length", "do_sample")),
    ],
)
def test_what_the_base_class_takes(
    tmp_path: Path, source: str, fields: dict[str, object], dropped: tuple[str, ...]
) -> None:
    (tmp_path / "configuration_utils.py").write_text(source)
    (tmp_path / "generation").mkdir()
    (tmp_path / "generation" / "configuration_utils.py").write_text(GENERATION)
    base = Release(tmp_path).base()
    assert (base.fields, base.dropped) == (fields, dropped)
    old = {"layer_types": {"full": "full_attention"}} if source is FROM_5 else {}
    assert base.constants == old


def test_model_types_and_architectures(tmp_path: Path) -> None:
    auto = tmp_path / "models" / "auto"
    auto.mkdir(parents=True)
    (auto / "configuration_auto.py").write_text(
        "CONFIG_MAPPING_NAMES = OrderedDict([('a', 'AConfig')])\n"
        "CONFIG_MAPPING_NAMES.update({'b': 'BConfig'})\n"
        "OTHER_NAMES = {'c': 'CConfig'}\n"
    )
    (auto / "modeling_auto.py").write_text(
        "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = OrderedDict([('a', ('AForCausalLM', 'A', 'B'))])\n"
        "MODEL_MAPPING_NAMES = OrderedDict([('a', 'AModel'), ('b', 'BModel')])\n"
    )
    release = Release(tmp_path)
    assert release.model_types() == {"a": "AConfig", "b": "BConfig"}
    assert release.architectures() == {"a": ["AForCausalLM", "A", "B"], "b": "BModel"}
    assert release.summary("AConfig") is None
