"""The config as the model sees it: keys, defaults of its class, and where numbers come from."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.errors import ConfigError, ElaborationError, ServingError, UnknownModelError
from fibcore.model.tree import Unknown, origins_of

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


def test_keys_of_the_file_with_their_origin(made: Any) -> None:
    found = made.attributes("self.x = config.hidden_size")["x"]
    assert found == 64
    assert origins_of(found) == {"config:hidden_size"}


def test_nested_keys_have_dotted_origins(made: Any) -> None:
    config = {"rope_scaling": {"factor": 4.0}, "text_config": {"depth": 7}, "sizes": [3, 5]}
    body = (
        "self.x = (config.rope_scaling['factor'], config.text_config.depth, config.sizes[1],"
        " config.text_config.get('depth'), config.text_config.to_dict()['depth'])"
    )
    found = made.attributes(body, config=config)["x"]
    assert found == (4.0, 7, 5, 7, 7)
    assert [origins_of(v) for v in found] == [
        {"config:rope_scaling.factor"},
        {"config:text_config.depth"},
        {"config:sizes"},
        {"config:text_config.depth"},
        {"config:text_config.depth"},
    ]


def test_parts_that_a_repositorys_class_makes_objects_of(made: Any) -> None:
    parts = [{"ffn": {"mult": 2.5}}, {"ffn": {"mult": None}}]
    body = "self.x = [(b.ffn.mult, b['ffn'].get('mult')) for b in config.block_configs]"
    found = made.attributes(body, config={"model_type": "unheard-of", "block_configs": parts})["x"]
    assert found == [(2.5, 2.5), (None, None)]
    assert origins_of(found[0][0]) == {"config:block_configs.ffn.mult"}


def test_a_key_that_a_repositorys_class_calls_by_another_name(made: Any) -> None:
    config = {"model_type": "phi3small", "ff_intermediate_size": 96}
    found = made.attributes("self.x = config.intermediate_size", config=config)["x"]
    assert (found, origins_of(found)) == (96, {"config:ff_intermediate_size"})


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


def test_a_scaled_tensor_keeps_its_shape(made: Any) -> None:
    before = "import torch"
    body = "self.x = (nn.Parameter(0.5 * torch.randn(4, 6)).shape, (torch.ones(3) * 2).shape)"
    assert made.attributes(body, before=before)["x"] == ((4, 6), (3,))


def test_a_model_of_transformers_keeps_its_config(made: Any) -> None:
    before = """
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    class Encoder(WhisperEncoder):
        def __init__(self, config):
            super().__init__(config)

    class Plain(nn.Module):
        def __init__(self, config):
            super().__init__(config)
    """
    body = """
    self.x = Encoder(config).config.hidden_size
    self.y = hasattr(Plain(config), "config")
    """
    found = made.attributes(body, before=before)
    assert (found["x"], found["y"]) == (64, False)


@pytest.mark.parametrize(
    ("expression", "value", "origins"),
    [
        ("config.hidden_size // config.num_attention_heads", 16, "hidden_size num_attention_heads"),
        (
            "(config.hidden_size // config.num_attention_heads) ** -0.5",
            0.25,
            "hidden_size num_attention_heads",
        ),
        ("max(1, config.num_attention_heads // 8)", 1, "num_attention_heads"),
        (
            "min(config.hidden_size, config.num_attention_heads)",
            4,
            "hidden_size num_attention_heads",
        ),
        ("int(config.hidden_size * 1.5)", 96, "hidden_size"),
        ("-config.hidden_size", -64, "hidden_size"),
        ("sum([config.hidden_size, config.hidden_size, 1])", 129, "hidden_size"),
        ("round(config.hidden_size / 3)", 21, "hidden_size"),
        ("math.ceil(config.hidden_size / 3)", 22, "hidden_size"),
        ("float(config.hidden_size)", 64.0, "hidden_size"),
        ("[config.hidden_size][0]", 64, "hidden_size"),
        ("[config.hidden_size] * 3", [64, 64, 64], "hidden_size"),
        ("f'{config.hidden_size}'", "64", "hidden_size"),
        ("str(config.hidden_size)", "64", "hidden_size"),
        ("double(config.hidden_size)", 128, "hidden_size"),
        ("config.hidden_size if config.num_attention_heads else 0", 64, "hidden_size"),
        ("getattr(config, 'hidden_size', 5)", 64, "hidden_size"),
        ("getattr(config, 'no_such_key', None) or config.hidden_size", 64, "hidden_size"),
        ("dict(a=config.hidden_size)['a']", 64, "hidden_size"),
        ("3 * 2", 6, ""),
    ],
)
def test_origins_go_through(made: Any, expression: str, value: Any, origins: str) -> None:
    before = "import math\ndef double(n):\n    return 2 * n"
    found = made.attributes(f"self.x = {expression}", before)["x"]
    assert found == value
    for part in found if isinstance(found, list) else [found]:
        assert origins_of(part) == {f"config:{key}" for key in origins.split()}


def test_serving_sizes_are_origins_too(made: Any) -> None:
    before = "from sglang.srt.distributed import get_tensor_model_parallel_world_size as tp"
    found = made.attributes("self.x = config.num_attention_heads // tp()", before, tp=2)["x"]
    assert found == 2
    assert origins_of(found) == {"config:num_attention_heads", "serving:tp"}


def test_a_missing_key_and_a_default_are_different_things(made: Any) -> None:
    body = "self.x = (getattr(config, 'heads', 9), hasattr(config, 'heads'))"
    assert made.attributes(body)["x"] == (9, False)
    with pytest.raises(ConfigError) as caught:
        made.attributes("self.y = 1\nself.x = config.heads")
    assert "'heads'" in (caught.value.expected or "")
    assert caught.value.where == "sglang/srt/models/made.py:8"
    assert "config" in (caught.value.hint or "")


def test_a_key_that_is_null_is_there(made: Any) -> None:
    body = "self.x = (getattr(config, 'window', 9), hasattr(config, 'window'))"
    assert made.attributes(body, config={"window": None})["x"] == (None, True)


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


def test_get_text_config(made: Any) -> None:
    assert made.attributes("self.x = config.get_text_config().hidden_size")["x"] == 64
    config = {"text_config": {"hidden_size": 5}}
    assert made.attributes("self.x = config.get_text_config().hidden_size", config=config)["x"] == 5


def test_keys_of_the_text_model_serve_the_whole(made: Any) -> None:
    config = {"text_config": {"depth": 5}}
    assert made.attributes("self.x = config.depth", config=config)["x"] == 5


def test_changes_to_the_config_stay(made: Any) -> None:
    body = "config.width = 3\nconfig.update({'height': 4})\nself.x = (config.width, config.height)"
    assert made.attributes(body)["x"] == (3, 4)


@pytest.mark.parametrize("version", ["0.5.9", "0.5.23"])
def test_rope_settings_in_either_form(made: Any, version: str) -> None:
    old = {"rope_theta": 5e5, "rope_scaling": None}
    new = {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}
    body = (
        "p = getattr(config, 'rope_parameters', None)\n"
        "self.x = p['rope_theta'] if p else config.rope_theta"
    )
    for config in (old, new):
        assert made.attributes(body, config=config, version=version)["x"] == 5e5
        assert made.attributes("self.x = config.rope_theta", config=config)["x"] == 5e5


def test_an_assertion_that_fails_names_the_numbers(made: Any) -> None:
    body = "assert config.num_attention_heads % 3 == 0, 'odd'\nself.x = 1"
    with pytest.raises(ConfigError) as caught:
        made.attributes(body)
    assert "config.num_attention_heads = 4" in str(caught.value)
    assert "made.py:7" in str(caught.value)


def test_a_config_that_the_model_refuses(made: Any) -> None:
    body = "if config.num_attention_heads == 4:\n    raise ValueError(f'no {config.hidden_size}')"
    with pytest.raises(ConfigError, match="refuses") as caught:
        made.attributes(body)
    assert caught.value.found == "no 64"
    assert not isinstance(caught.value, ServingError)


def test_sizes_that_do_not_fit_are_an_error_of_serving(made: Any) -> None:
    before = "from sglang.srt.distributed import get_tensor_model_parallel_world_size"
    body = (
        "tp = get_tensor_model_parallel_world_size()\nassert config.num_attention_heads % tp == 0"
    )
    made.attributes(body, before, tp=2)
    with pytest.raises(ServingError) as caught:
        made.attributes(body, before, tp=8)
    message = str(caught.value)
    for part in ("tp=8", "num_attention_heads = 4", "tp = 8", "made.py:8"):
        assert part in message


def test_what_cannot_be_at_any_size_is_no_error_of_serving(made: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        made.attributes("self.x = config.heads", tp=2)
    assert not isinstance(caught.value, ServingError)


def test_other_exceptions_of_the_constructor(made: Any) -> None:
    with pytest.raises(ElaborationError, match="cannot be elaborated") as caught:
        made.attributes("self.x = None\nself.x.append(1)")
    assert "AttributeError" in str(caught.value)
    assert "made.py:8" in str(caught.value)


def test_an_unknown_architecture_names_the_nearest(made: Any) -> None:
    source = "class Other:\n    pass\n\nEntryClass = [Other]\n"
    with pytest.raises(UnknownModelError) as caught:
        made.tree(source, config={"architectures": ["Othre"]})
    assert "Other" in str(caught.value)


def test_environment_variables_are_at_their_defaults(made: Any) -> None:
    before = "import os"
    body = (
        "self.x = (os.getenv('A', '1'), os.environ.get('B'), 'C' in os.environ,"
        " bool(int(os.environ.get('D', '0'))))"
    )
    assert made.attributes(body, before)["x"] == ("1", None, False, False)


def test_the_platform_is_cuda(made: Any) -> None:
    made.write(
        "srt/platform.py",
        "def is_cuda():\n    import torch\n    return torch.cuda.is_available()\n"
        "def is_hip():\n    return foreign()\ndef is_npu():\n    return foreign()\n"
        "def get_device_capability():\n    return foreign()\n",
    )
    made.write("srt/platforms/__init__.py", "current_platform = foreign()\n")
    before = (
        "import torch\nfrom sglang.srt.platform import *\n"
        "from sglang.srt.platforms import current_platform as here\n"
    )
    body = (
        "self.x = (is_cuda(), is_hip(), is_npu(), get_device_capability(),"
        " torch.cuda.is_available(), torch.version.hip, hasattr(torch, 'npu'),"
        " here.is_cuda(), here.is_hip(), here.device_name)"
    )
    assert made.attributes(body, before)["x"] == (
        *(True, False, False, (9, 0)),
        *(True, None, False),
        *(True, False, "cuda"),
    )


@pytest.mark.parametrize(
    ("version", "warned"),
    [("0.5.9", 0), ("0.5.14.post1", 0), ("0.5.23", 0), ("0.5.8", 1), ("0.6.0", 1), (None, 0)],
)
def test_versions_that_nobody_tested_are_warned_about(
    made: Any, version: str | None, warned: int
) -> None:
    tree = made.tree(
        "from torch import nn\nclass Model(nn.Module):\n    def __init__(self, config):\n"
        "        super().__init__()\nEntryClass = Model\n",
        version=version,
    )
    assert len(tree.warnings) == warned
    for warning in tree.warnings:
        assert "0.5.9" in warning
        assert str(version) in warning


def test_constructor_arguments_that_nobody_gives_are_not_known(made: Any) -> None:
    tree = made.tree(
        "from torch import nn\nclass Model(nn.Module):\n"
        "    def __init__(self, config, extra, b=2):\n"
        "        super().__init__()\n        self.x = (extra, b)\nEntryClass = Model\n"
    )
    extra, b = tree.root.attributes["x"]
    assert isinstance(extra, Unknown)
    assert b == 2
