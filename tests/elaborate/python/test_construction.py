"""Instances that are made in ways of their own."""

from __future__ import annotations

from typing import Any

from fibcore.model.tree import ModelTree, ModuleNode, Unknown

HEAD = """
from torch import nn
import torch
import foreign
from sglang.srt.layers.layernorm import RMSNorm
from sglang.srt.layers.linear import QKVParallelLinear, ReplicatedLinear, RowParallelLinear
"""


def model(init: str, called: str = "", before: str = "") -> str:
    """A model that runs `init` and calls the attributes in `called`, in order."""
    body = "\n".join(f"        {line}" for line in init.splitlines())
    calls = "\n".join(f"        x = self.{name}(x)" for name in called.split())
    return (
        f"{HEAD}{before}\n\nclass Model(nn.Module):\n    def __init__(self, config):\n"
        f"        super().__init__()\n{body}\n\n    def forward(self, x):\n        pass\n{calls}\n"
        "        return x\n\nEntryClass = Model\n"
    )


def node(tree: ModelTree, path: str) -> ModuleNode:
    found = tree.find(path)
    assert found is not None
    return found


def test_an_instance_can_be_made_without_its_constructor(made: Any) -> None:
    init = "self.norm = RMSNorm.__new__(RMSNorm)\nnn.Module.__init__(self.norm)\nself.norm.size = 3"
    assert node(made.tree(model(init)), "norm").attributes == {"size": 3}


def test_torch_registers_modules_under_names_of_properties(made: Any) -> None:
    before = """

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([RMSNorm(4)])
        self.kept = RMSNorm(8)

class Tower(Base):
    def __init__(self):
        super().__init__()
        self.own = RMSNorm(16)
        del self.norms
        self.same = self.norms is self.own

    @property
    def norms(self):
        return self.own

    @property
    def kept(self):
        return 3
"""
    tower = node(made.tree(model("self.tower = Tower()", before=before)), "tower")
    assert set(tower.children) == {"kept", "own"}
    assert tower.attributes["same"] is True


def test_transformers_base_class_of_models_has_the_attributes_of_its_table(made: Any) -> None:
    init = """\
self.own = getattr(type(self), "fusion_disable_reason", None)
self.theirs = getattr(type(self), "config_class", None)
self.of_instance = hasattr(self, "fusion_disable_reason")
self.perhaps = hasattr(self, "warnings_issued")"""
    text = "from transformers import PreTrainedModel\n" + model(init)
    text = text.replace("class Model(nn.Module)", "class Model(PreTrainedModel)")
    found = made.tree(text).root.attributes
    assert (found["own"], found["of_instance"]) == (None, False)
    assert isinstance(found["theirs"], Unknown)
    assert isinstance(found["perhaps"], Unknown)


def test_looking_at_a_function_does_not_call_it(made: Any) -> None:
    before = """
import inspect

KEPT = {"n": 1}

def keep(x):
    KEPT["n"] = x
"""
    init = "inspect.signature(keep)\nself.kept = KEPT['n']"
    assert made.tree(model(init, before=before)).root.attributes["kept"] == 1
