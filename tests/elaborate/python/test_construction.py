"""Instances that are made in ways of their own."""

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
