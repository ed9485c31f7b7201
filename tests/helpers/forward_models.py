"""Made-up models for tests of the forward pass, and how the calls of their norms read."""

from __future__ import annotations

from fibcore.model.tree import Call, ModelTree

HEAD = """
import torch
import torch.nn.functional as F
from torch import nn
import foreign
from sglang.srt.layers.layernorm import RMSNorm
from sglang.srt.layers.linear import ReplicatedLinear
"""


def model(init: str, forward: str, before: str = "", arguments: str = "x") -> str:
    def block(text: str) -> str:
        lines = text.strip("\n").splitlines()
        indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
        return "\n".join("        " + line[indent:] for line in lines)

    return (
        f"{HEAD}{before}\n\nclass Model(nn.Module):\n    def __init__(self, config):\n"
        f"        super().__init__()\n{block(init)}\n\n    def forward(self, {arguments}):\n"
        f"{block(forward)}\n\nEntryClass = Model\n"
    )


def calls(tree: ModelTree, path: str) -> tuple[Call, ...]:
    node = tree.find(path)
    assert node is not None
    return node.calls


def kinds(tree: ModelTree, path: str) -> list[str]:
    """Each call of a norm: plain or fused with the add of a residual."""
    return [
        "plain" if call.argument(1, "residual") is None else "fused" for call in calls(tree, path)
    ]
