"""What SGLang's loader settles in a config before the model reads it."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.errors import ConfigError
from fibcore.model.tree import ModelTree

LOADER = """
    import copy

    from foreign import unheard_of


    def get_config(model_path):
        raise RuntimeError("nothing is read")


    class ModelConfig:
        def __init__(self, model_path, is_draft_model=False):
            self.hf_config = copy.deepcopy(get_config(model_path))
            config = self.hf_config
            if is_draft_model:
                config.architectures[0] = "Model" + "NextN"
                config.num_hidden_layers = 1
            {body}
"""
MODEL = """
    from torch import nn
    from sglang.srt.layers.layernorm import RMSNorm

    class {name}(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.size = {read}
            self.norm = RMSNorm(config.hidden_size)

        def forward(self, x):
            return self.norm(x)

    EntryClass = {name}
"""


def loaded(made: Any, body: str, read: str, **config: Any) -> ModelTree:
    made.write("srt/configs/model_config.py", LOADER.format(body=body))
    tree: ModelTree = made.tree(MODEL.format(name="Model", read=read), config=config)
    return tree


def test_a_model_reads_what_the_loader_wrote(made: Any) -> None:
    tree = loaded(made, "config.head_dim = config.hidden_size // 4", "config.head_dim")
    assert tree.root.attributes["size"] == 16
    assert tree.missing == ()


def test_what_the_loader_computes_remembers_the_keys_it_is_from(made: Any) -> None:
    from fibcore.model.tree import origins_of

    tree = loaded(made, "config.head_dim = config.hidden_size // 4", "config.head_dim")
    assert "config:hidden_size" in origins_of(tree.root.attributes["size"])


def test_the_loader_writes_into_nested_configs_too(made: Any) -> None:
    tree = loaded(
        made,
        "config.text_config.context_len = 7",
        "config.text_config.context_len",
        text_config={"hidden_size": 8},
    )
    assert tree.root.attributes["size"] == 7


def test_a_number_that_the_loader_replaces_is_replaced(made: Any) -> None:
    tree = loaded(made, "config.topk_group = config.n_group", "config.topk_group", topk_group=4,
                  n_group=8)  # fmt: skip
    assert tree.root.attributes["size"] == 8


def test_what_the_loader_cannot_know_leaves_the_file_as_it_is(made: Any) -> None:
    tree = loaded(made, "config.head_dim = unheard_of(model_path)", "config.head_dim", head_dim=32)
    assert tree.root.attributes["size"] == 32


def test_a_step_of_the_loader_that_fails_leaves_the_others(made: Any) -> None:
    body = "config.first = 1; raise ValueError('no'); config.second = None[0]; config.third = 3"
    assert loaded(made, body, "config.first").root.attributes["size"] == 1
    assert loaded(made, body, "config.third").root.attributes["size"] == 3
    with pytest.raises(ConfigError, match="second"):
        loaded(made, body, "config.second")


@pytest.mark.parametrize("file", ["hf_transformers/config", "hf_transformers_utils"])
@pytest.mark.parametrize(("named", "depth"), [("Model", 27), ("Other", 12)])
def test_a_branch_of_the_loader_for_an_architecture(
    made: Any, file: str, named: str, depth: int
) -> None:
    made.write(
        f"srt/utils/{file}.py",
        f"""
        from transformers import AutoConfig

        def get_config(model):
            config = AutoConfig.from_pretrained(model)
            if config.architectures is not None and config.architectures[0] == "{named}":
                sizes = {{"depth": 27}}
                config.depth = sizes["depth"]
            if config.architectures[0] == "Model" and model == "special":
                config.depth = 1
            if config.model_type != "Model":
                config.depth = 2
            return config
        """,
    )
    tree = made.tree(MODEL.format(name="Model", read="config.depth"), config={"depth": 12})
    assert tree.root.attributes["size"] == depth


def test_a_draft_model_is_loaded_as_one(made: Any) -> None:
    made.write("srt/configs/model_config.py", LOADER.format(body="pass"))
    from fibcore.configs.model_config import ModelConfig
    from fibcore.elaborate import elaborate
    from fibcore.model.serving import Serving
    from fibcore.sources.tree import SourceTree

    source = MODEL.format(name="ModelNextN", read="config.num_hidden_layers")
    made.write("srt/models/made.py", source)
    data = {**made.CONFIG, "architectures": ["Model"], "model_type": "made"}
    tree = elaborate(
        SourceTree(made.root, "0.5.9", None, "made up"),
        ModelConfig("made", None, data, "given"),
        Serving(tp=1, ep=1),
        architecture="ModelNextN",
    )
    assert tree.root.attributes["size"] == 1


def test_a_source_without_a_loader_is_no_problem(made: Any) -> None:
    tree = made.tree(MODEL.format(name="Model", read="config.hidden_size"))
    assert tree.root.attributes["size"] == 64
    assert tree.missing == ()


def test_a_branch_of_the_loader_reads_the_file_again(made: Any) -> None:
    made.write(
        "srt/utils/hf_transformers/config.py",
        """
        from transformers import AutoConfig

        class Parser:
            def parse(self, model, trust_remote_code, revision=None, **kwargs):
                config = AutoConfig.from_pretrained(model)
                config.depth = 1
                if config.architectures is not None and config.architectures[0] == "Model":
                    from transformers import PretrainedConfig

                    raw, _ = PretrainedConfig.get_config_dict(model, revision=revision)
                    for key in ("raw_depth", "raw_width"):
                        if key in raw:
                            setattr(config, key, raw[key] + 1)
                return config
        """,
    )
    read = "(config.raw_depth, getattr(config, 'raw_width', None))"
    text = MODEL.format(name="Model", read=read)
    tree = made.tree(text, config={"raw_depth": 12})
    assert tree.root.attributes["size"] == (13, None)
