"""The stand-ins for functions of the source."""

from __future__ import annotations

from typing import Any

from fibcore.model.tree import ModelTree, ModuleNode

HEAD = """
from torch import nn
import torch
import foreign
from sglang.srt.layers.layernorm import RMSNorm
from sglang.srt.layers.linear import QKVParallelLinear, ReplicatedLinear, RowParallelLinear
"""


def node(tree: ModelTree, path: str) -> ModuleNode:
    found = tree.find(path)
    assert found is not None
    return found


NESTED = f"""{HEAD}
from transformers import AutoModel, AutoModelForCausalLM

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        cls = self._get_sgl_model_cls(config.text_config, AutoModelForCausalLM)
        self.language_model = cls(config.text_config)

    def _get_sgl_model_cls(self, config, auto_model_type=AutoModel):
        raise ValueError("transformers is asked here")

    def forward(self, x):
        return self.language_model(x)

EntryClass = Model
"""


def test_a_nested_config_is_built_by_the_model_that_sglang_has_for_it(made: Any) -> None:
    language = """
    from torch import nn
    from sglang.srt.layers.layernorm import RMSNorm

    class LlamaForCausalLM(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.norm = RMSNorm(config.hidden_size)

        def forward(self, x):
            return self.norm(x)

    EntryClass = LlamaForCausalLM
    """
    made.write("srt/models/llama.py", language)
    text = {"model_type": "llama", "hidden_size": 48}
    tree = made.tree(NESTED, config={"text_config": text})
    assert tree.missing == ()
    assert node(tree, "language_model.norm").arguments["hidden_size"] == 48


def test_a_nested_config_without_a_model_of_sglang_is_missing(made: Any) -> None:
    text = {"model_type": "gptj", "hidden_size": 48}
    tree = made.tree(NESTED, config={"text_config": text})
    assert [m.path for m in tree.missing] == ["language_model"]
    assert "GPTJForCausalLM" in tree.missing[0].reason
