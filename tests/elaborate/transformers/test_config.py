"""Config objects as the classes of transformers and of SGLang make them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate.python.values import Ext
from fibcore.elaborate.sglang.config_loading import load_config
from fibcore.elaborate.transformers.config import ConfigBuilder
from fibcore.elaborate.transformers.config_object import ConfigObject
from fibcore.errors import (
    ConfigError,
)
from fibcore.model.tree import Unknown, origins_of


def value(config: Any, path: str) -> Any:
    for name in path.split("."):
        found = config.values.get(config.key(name))
        config = config.fallback(name) if found is None else found
    return config


@pytest.mark.parametrize(
    ("kind", "keys", "expected"),
    [
        ("llama", {"hidden_size": 64, "num_attention_heads": 4}, {"head_dim": 16}),
        ("llama", {"num_attention_heads": 4}, {"num_key_value_heads": 4, "rms_norm_eps": 1e-6}),
        ("qwen3", {"hidden_size": 64}, {"head_dim": 128, "num_key_value_heads": 32}),
        ("qwen2", {"sliding_window": 512}, {"sliding_window": None}),
        ("qwen2", {"sliding_window": 512, "use_sliding_window": True}, {"sliding_window": 512}),
        (
            "gpt_oss",
            {"num_hidden_layers": 2},
            {"layer_types": ["sliding_attention", "full_attention"], "num_local_experts": 128},
        ),
        ("gpt2", {"n_embd": 32}, {"hidden_size": 32, "num_attention_heads": 12}),
        (
            "gemma3",
            {"text_config": {"num_hidden_layers": 6}},
            {
                "text_config.layer_types": ["sliding_attention"] * 5 + ["full_attention"],
                "text_config.hidden_size": 2304,
                "vision_config.num_attention_heads": 12,
            },
        ),
        (
            "llava",
            {"text_config": {"model_type": "qwen2", "num_attention_heads": 14}},
            {"text_config.num_attention_heads": 14, "text_config.hidden_act": "silu"},
        ),
        (
            "qwen2_5_omni",
            {"thinker_config": {"text_config": {"num_hidden_layers": 3}}},
            {
                "thinker_config.text_config.num_hidden_layers": 3,
                "thinker_config.text_config.hidden_size": 3584,
                "talker_config.head_dim": 128,
            },
        ),
        ("mixtral", {}, {"num_local_experts": 8, "sliding_window": None}),
        ("deepseek_v3", {}, {"kv_lora_rank": 512, "qk_head_dim": 192, "n_routed_experts": 256}),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_the_class_makes_of_a_file(
    make: Callable[..., ConfigObject], kind: str, keys: dict[str, Any], expected: dict[str, Any]
) -> None:
    config = make(kind, **keys)
    assert {path: value(config, path) for path in expected} == expected


def test_origins_of_file_class_and_both(make: Callable[..., ConfigObject]) -> None:
    config = make("llama", hidden_size=64, num_attention_heads=4)
    release = config.label.partition(" ")[2]
    assert origins_of(value(config, "hidden_size")) == {"config:hidden_size"}
    assert origins_of(value(config, "vocab_size")) == {f"default:LlamaConfig.vocab_size {release}"}
    assert origins_of(value(config, "head_dim")) == {
        "config:hidden_size",
        "config:num_attention_heads",
        f"default:LlamaConfig.head_dim {release}",
    }


def test_the_language_models_keys_serve_the_whole(make: Callable[..., ConfigObject]) -> None:
    config = make("gemma3", text_config={"num_hidden_layers": 6, "hidden_size": 96})
    assert value(config, "hidden_size") == 96
    assert origins_of(value(config, "hidden_size")) == {"config:text_config.hidden_size"}


def test_a_model_type_that_nobody_knows_keeps_the_files_keys(
    make: Callable[..., ConfigObject],
) -> None:
    config = make("brand_new", depth=3, text_config={"model_type": "llama", "hidden_size": 8})
    assert value(config, "depth") == 3
    assert value(config, "text_config.rms_norm_eps") == 1e-6
    # What every config had up to transformers 4.
    assert value(make("brand_new", depth=3), "tie_word_embeddings") is True


def test_an_original_mamba_checkpoint(make: Callable[..., ConfigObject]) -> None:
    keys = {"d_model": 64, "n_layer": 2, "ssm_cfg": {}, "vocab_size": 50277}
    config = make("", **keys, pad_vocab_size_multiple=8)
    assert (value(config, "hidden_size"), value(config, "vocab_size")) == (64, 50280)


def test_sglangs_class_on_top_of_one_of_transformers(
    tmp_path: Path, builder: Callable[[str], ConfigBuilder]
) -> None:
    root = tmp_path / "sglang"
    made = builder("5.19.0")
    (root / "srt" / "configs" / "mine.py").write_text(
        "from transformers import AutoConfig, PretrainedConfig, Qwen3MoeConfig, CONFIG_MAPPING\n"
        "class MineText(Qwen3MoeConfig):\n"
        "    model_type = 'mine_text'\n"
        "    extra: int = 5\n"
        "    def __post_init__(self, **kwargs):\n"
        "        window = self.sliding_window\n"
        "        super().__post_init__(**kwargs)\n"
        "        self.sliding_window = window\n"
        "class Mine(PretrainedConfig):\n"
        "    model_type = 'mine'\n"
        "    def __init__(self, text_config=None, tower=None, **kwargs):\n"
        "        self.text_config = MineText(**(text_config or {}))\n"
        "        self.tower = CONFIG_MAPPING[tower['model_type']](**tower)\n"
        "        self.other = AutoConfig.for_model('llama', hidden_size=12)\n"
        "        super().__init__(**kwargs)\n"
        "    @property\n"
        "    def doubled(self):\n"
        "        return 2 * self.text_config.num_experts\n"
    )
    data = {
        "model_type": "mine",
        "text_config": {"num_experts": 4, "sliding_window": 64},
        "tower": {"model_type": "siglip_vision_model", "hidden_size": 48},
        "left": 1,
    }
    config = load_config(made, data)
    assert config.label == "Mine (sglang x)"
    assert value(config, "text_config.extra") == 5
    assert value(config, "text_config.sliding_window") == 64  # the base class would drop it
    assert value(config, "text_config.moe_intermediate_size") == 768
    assert value(config, "doubled") == 8
    assert value(config, "tower.num_attention_heads") == 12
    assert value(config, "other.rms_norm_eps") == 1e-6
    assert value(config, "left") == 1


def test_rope_settings_of_either_generation(make: Callable[..., ConfigObject]) -> None:
    old = make("llama", rope_theta=5e5, rope_scaling={"rope_type": "yarn", "factor": 4.0})
    new = make("llama", rope_parameters={"rope_theta": 5e5, "rope_type": "yarn", "factor": 4.0})
    for config in (old, new):
        assert value(config, "rope_scaling")["factor"] == 4.0
        assert value(config, "rope_theta") == 5e5
    plain = make("llama", rope_parameters={"rope_theta": 7e5, "rope_type": "default"})
    assert value(plain, "rope_theta") == 7e5


def test_a_dtype_of_either_name(make: Callable[..., ConfigObject]) -> None:
    for key in ("dtype", "torch_dtype"):
        config = make("llama", **{key: "bfloat16"})
        for name in ("dtype", "torch_dtype"):
            found = value(config, name)
            assert isinstance(found, Ext)
            assert found.name == "torch.bfloat16"


def test_a_word_where_a_number_should_be(make: Callable[..., ConfigObject]) -> None:
    with pytest.raises(ConfigError) as caught:
        make("gemma3", text_config={"query_pre_attn_scalar": "256"})
    message = str(caught.value)
    for part in ("text_config.query_pre_attn_scalar", "a number", "256", "Gemma3TextConfig"):
        assert part in message


CONFIG_CLASS = """
from transformers import PretrainedConfig


class MadeConfig(PretrainedConfig):
    model_type = "made"

    def __init__(self, hidden_size=8, width=96, layer_types=None, **kwargs):
        self.hidden_size = hidden_size
        self.width = width
        self.layer_types = layer_types or ["a" if i % 2 else "b" for i in range(3)]
        super().__init__(**kwargs)

    @property
    def doubled(self):
        return self.width * 2
"""


def test_a_variable_of_a_function_is_no_model_type_of_a_class(made: Any) -> None:
    made.write("srt/configs/made.py", CONFIG_CLASS)
    made.write(
        "srt/utils/hf_transformers_utils.py",
        """
        from sglang.srt.configs.made import MadeConfig

        _CONFIG_REGISTRY = [MadeConfig]

        def get_config(model):
            model_type = "made"
        """,
    )
    assert made.attributes("self.x = config.width")["x"] == 96


def test_a_key_that_a_repositorys_class_calls_by_another_name(made: Any) -> None:
    config = {"model_type": "phi3small", "ff_intermediate_size": 96}
    found = made.attributes("self.x = config.intermediate_size", config=config)["x"]
    assert (found, origins_of(found)) == (96, {"config:ff_intermediate_size"})


def test_the_base_class_of_configs_gives_defaults(made: Any) -> None:
    found = made.attributes("self.x = (config.tie_word_embeddings, config.is_encoder_decoder)")["x"]
    assert found == (True, False)


def test_defaults_of_a_config_class_in_the_tree(made: Any) -> None:
    made.write("srt/configs/made.py", CONFIG_CLASS)
    body = "self.x = (config.width, config.hidden_size, config.layer_types, config.doubled)"
    found = made.attributes(body)["x"]
    assert found == (96, 64, ["b", "a", "b"], 192)
    assert origins_of(found[0]) == {"default:MadeConfig.width (sglang 0.5.9)"}
    assert origins_of(found[1]) == {"config:hidden_size"}


REGISTRY = """
from sglang.srt.configs.made import MadeConfig

_CONFIG_REGISTRY = [MadeConfig]
"""


def test_a_config_class_with_a_from_dict_of_its_own(made: Any) -> None:
    made.write(
        "srt/configs/made.py",
        CONFIG_CLASS
        + """
    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        return super().from_dict({**config_dict, "width": config_dict["inner"]["size"]}, **kwargs)
""",
    )
    made.write("srt/utils/hf_transformers_utils.py", REGISTRY)
    found = made.attributes("self.x = config.width", config={"inner": {"size": 48}})["x"]
    assert (found, origins_of(found)) == (48, {"config:inner.size"})


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("MadeConfig.from_dict({'width': 3})", (3, "MadeConfig")),
        ("MadeConfig.from_dict({'width': 3}, width=4)", (4, "MadeConfig")),
        ("LlamaConfig.from_dict({'width': 3})", (3, "LlamaConfig")),
        ("LlamaConfig.from_dict(config_dict={'width': 3}, width=4)", (4, "LlamaConfig")),
        ("transformers.PretrainedConfig.from_dict({'width': 3})", (3, "PretrainedConfig")),
    ],
)
def test_configs_made_of_dicts(made: Any, call: str, expected: tuple[int, str]) -> None:
    made.write("srt/configs/made.py", CONFIG_CLASS)
    before = """
import transformers
from transformers import LlamaConfig
from sglang.srt.configs.made import MadeConfig
"""
    kind = "transformers.PretrainedConfig" if expected[1].startswith("Pre") else expected[1]
    body = f"made = {call}\nself.x = (made.width, isinstance(made, {kind}))"
    assert made.attributes(body, before)["x"] == (expected[0], True)


@pytest.mark.parametrize("call", ["LlamaConfig.from_dict(foreign.keys())", "LlamaConfig(7)"])
def test_a_config_of_unknown_keys_is_not_known(made: Any, call: str) -> None:
    found = made.attributes(f"self.x = {call}.hidden_size", "from transformers import LlamaConfig")
    assert isinstance(found["x"], Unknown)


def test_what_the_config_class_computes_follows_the_file(made: Any) -> None:
    made.write("srt/configs/made.py", CONFIG_CLASS)
    assert made.attributes("self.x = config.doubled", config={"width": 5})["x"] == 10


def test_instances_of_config_classes(made: Any) -> None:
    made.write("srt/configs/made.py", CONFIG_CLASS)
    made.write(
        "srt/configs/other.py", CONFIG_CLASS.replace("Made", "Other").replace("made", "other")
    )
    before = """
from transformers import LlamaConfig, PretrainedConfig
from sglang.srt.configs.made import MadeConfig
from sglang.srt.configs.other import OtherConfig
"""
    body = (
        "self.x = (isinstance(config, MadeConfig), isinstance(config, OtherConfig),"
        " isinstance(config, PretrainedConfig), isinstance(config, (LlamaConfig, MadeConfig)),"
        " isinstance(config, dict))"
    )
    assert made.attributes(body, before)["x"] == (True, False, True, True, False)


def test_a_class_of_transformers_is_told_by_the_model_type(made: Any) -> None:
    before = "from transformers import LlamaConfig, MllamaConfig"
    body = "self.x = (isinstance(config, LlamaConfig), isinstance(config, MllamaConfig))"
    assert made.attributes(body, before, config={"model_type": "llama"})["x"] == (True, False)


def test_the_model_type_of_a_class_is_an_attribute(make: Callable[..., ConfigObject]) -> None:
    # A nested config that the class makes of nothing has no file to say it.
    config = make("llava", text_config={"num_hidden_layers": 2})
    tower = value(config, "vision_config.model_type")
    assert tower == "clip_vision_model"
    assert all(o.startswith("default:CLIPVisionConfig.model_type") for o in origins_of(tower))
