"""Keys of a config that nothing reads: which are said, and what counts as reading."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pytest

from fibcore.configs.model_config import ModelConfig
from fibcore.elaborate import elaborate
from fibcore.elaborate.sglang.config_loading import load_config
from fibcore.elaborate.transformers.config import ConfigBuilder
from fibcore.elaborate.transformers.config_reads import unread_keys, weighed_in
from fibcore.errors import ConfigError
from fibcore.model.serving import Serving
from fibcore.model.tree import SourcePlace
from fibcore.sources.tree import SourceTree

PLACE = SourcePlace("made.py", 1)


@pytest.fixture
def unread(builder: Callable[[str], ConfigBuilder]) -> Callable[..., list[str]]:
    """A function from a file's content and the attributes that are read to what is said."""

    def said(data: dict[str, Any], *paths: str, taken: frozenset[str] = frozenset()) -> list[str]:
        made = builder("5.19.0")
        config = load_config(made, data)
        for path in paths:
            value: Any = config
            for name in path.split("."):
                value = made.ev.attributes.get(value, name, PLACE)
        return unread_keys(data, made.reads, {}, lambda: taken)

    return said


EXPERTS = {"model_type": "none_known", "num_experts": 8, "num_experts_per_tok": 2}


def test_keys_of_experts_that_nothing_reads_are_said(unread: Callable[..., list[str]]) -> None:
    assert unread(EXPERTS) == [
        "nothing in the source reads num_experts = 8, num_experts_per_tok = 2 of the config"
    ]
    assert unread(EXPERTS, "num_experts", "num_experts_per_tok") == []


def test_a_number_that_is_kept_and_given_to_no_module_is_said_too(
    unread: Callable[..., list[str]],
) -> None:
    assert unread(EXPERTS, "num_experts") == [
        (
            "nothing in the source reads num_experts_per_tok = 2 of the config, "
            "and no module takes num_experts = 8"
        )
    ]
    (text,) = unread(EXPERTS, "num_experts", taken=frozenset(["config:num_experts"]))
    assert text == "nothing in the source reads num_experts_per_tok = 2 of the config"


@pytest.mark.parametrize(
    ("keys", "read"),
    [
        # Other words, and words that are a part of others.
        ({"hidden_size": 64, "ahead": 5, "windowed": 7, "kvx": 9}, ()),
        # The absence of a thing.
        ({"num_experts": 0, "moe_layer_freq": 1, "sliding_window": None, "moe": {}}, ()),
        ({"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 48}, ()),
        # Said twice.
        ({"sliding_window": 128, "sliding_window_size": 128}, ("sliding_window_size",)),
        ({"attention_head_dim": 96, "head_dim": 96}, ("head_dim",)),
        # Read as a whole, or by a part.
        ({"moe_layers": [1, 3, 5]}, ("moe_layers",)),
        ({"sparse_attention": {"topk": 5}}, ("sparse_attention",)),
        ({"moe_flags": [True, False]}, ("moe_flags",)),
        ({"lm_head_bias": True}, ("lm_head_bias",)),
        # Decided by its class (Qwen2: layer_types are made of it, but only where windows are on).
        ({"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 48}, ()),
    ],
)
def test_what_is_read_or_says_nothing_is_not_said(
    unread: Callable[..., list[str]], keys: dict[str, Any], read: tuple[str, ...]
) -> None:
    assert unread({"model_type": "none_known", **keys}, *read) == []


@pytest.mark.parametrize(
    ("keys", "read", "said"),
    [
        ({"num_attention_heads": 8, "num_kv_heads": 8}, ("num_attention_heads",), "num_kv_heads"),
        ({"sliding_window": 128, "sliding_window_size": 256}, ("sliding_window_size",), "128"),
        ({"lm_head_bias": True}, (), "lm_head_bias = true"),
        ({"moe_layers": list(range(40))}, (), "moe_layers = [0, 1, 2"),
        (
            {"text_config": {"model_type": "none_known", "num_experts": 8}, "num_experts": 4},
            ("num_experts",),
            "text_config.num_experts = 8",
        ),
        ({"expert_dtype": "fp4"}, (), 'expert_dtype = "fp4"'),
    ],
)
def test_what_is_not_read_is_said_with_its_value(
    unread: Callable[..., list[str]], keys: dict[str, Any], read: tuple[str, ...], said: str
) -> None:
    (text,) = unread({"model_type": "none_known", **keys}, *read)
    assert said in text
    assert len(text) < 200


def test_a_constructor_decides_by_what_it_does_more_with_than_to_keep_it() -> None:
    (constructor,) = ast.parse(
        "def __init__(self, kept, passed, used, asked=None, **kwargs):\n"
        "    self.kept = kept\n"
        "    self.made = used // 2\n"
        "    if asked is None:\n        pass\n"
        "    super().__init__(passed=passed, **kwargs)\n"
    ).body
    assert isinstance(constructor, ast.FunctionDef)
    assert weighed_in(constructor) & {"kept", "passed", "used", "asked"} == {"used", "asked"}


MODEL = """
from torch import nn
from sglang.srt.layers.linear import ReplicatedLinear
from sglang.srt.configs.made import MadeConfig

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.proj = ReplicatedLinear(config.hidden_size, config.num_heads * 64)

    def forward(self, x):
        return self.proj(x)

EntryClass = Model
"""
CONFIG = """
from transformers import PretrainedConfig

class MadeConfig(PretrainedConfig):
    model_type = "made"

    def __init__(self, hidden_size=64, num_heads=4, **kwargs):
        if hidden_size % num_heads:
            raise ValueError("num_heads must divide hidden_size")
        self.hidden_size = hidden_size
        self.num_heads = num_heads
        super().__init__(**kwargs)
"""
HUB = """
from sglang.srt.configs.made import MadeConfig
_CONFIG_REGISTRY = {MadeConfig.model_type: MadeConfig}
"""


def elaborated(source: Any, **keys: Any) -> Any:
    folder = source / "sglang" / "srt"
    (folder / "models" / "made.py").write_text(MODEL)
    (folder / "configs").mkdir(exist_ok=True)
    (folder / "configs" / "made.py").write_text(CONFIG)
    (folder / "configs" / "__init__.py").write_text(HUB)
    data = {"architectures": ["Model"], "model_type": "made", **keys}
    tree = SourceTree(source / "sglang", "0.5.9", None, "made")
    return elaborate(tree, ModelConfig("made", None, data, "given"), Serving())


def test_a_model_says_what_it_does_not_read(tiny_source: Any) -> None:
    keys = {"hidden_size": 64, "num_heads": 4, "num_experts": 8}
    found = elaborated(tiny_source, **keys).warnings
    assert [w for w in found if "nothing in the source" in w] == [
        "nothing in the source reads num_experts = 8 of the config"
    ]
    del keys["num_experts"]
    assert not any("nothing in the source" in w for w in elaborated(tiny_source, **keys).warnings)


def test_what_a_config_class_raises_is_shown_as_it_is(tiny_source: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        elaborated(tiny_source, hidden_size=64, num_heads=5)
    assert caught.value.message == "MadeConfig refuses this config (ValueError)"
    assert caught.value.found == "num_heads must divide hidden_size"
    assert caught.value.where == "sglang/srt/configs/made.py:9"
