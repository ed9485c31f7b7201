"""What the tree says of modules: which are never called."""

from __future__ import annotations

from typing import Any

import pytest

IDLE = """
from torch import nn
import foreign
from sglang.srt.layers.layernorm import RMSNorm

class Layer(nn.Module):
    def __init__(self, shared):
        super().__init__()
        self.shared = shared
        self.used, self.skipped = RMSNorm(8), RMSNorm(8)
        self.given, self.failed = RMSNorm(8), RMSNorm(8)

    def forward(self, x):
        x = self.used(x)
        if not self.shared:
            x = self.skipped(x)
        {body}
        return x

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layer = Layer(True)

    def forward(self, x):
        return self.layer(x)

EntryClass = Model
"""


@pytest.mark.parametrize(
    ("body", "idle"),
    [
        ("pass", {"skipped", "given", "failed"}),
        ("x = foreign.run(x, self.given)", {"skipped", "failed"}),
        ("x = foreign.run(x, self.given.weight)", {"skipped", "given", "failed"}),
        ("x = self.failed(None[0])", {"given"}),
        ("x = foreign.run(x, getattr(self, 'failed'))", {"skipped", "given"}),
    ],
    ids=["not called", "handed on", "its weight handed on", "an error", "by name"],
)
def test_modules_that_are_never_called_are_idle(made: Any, body: str, idle: set[str]) -> None:
    tree = made.tree(IDLE.format(body=body))
    layer = tree.find("layer")
    assert layer is not None
    assert {name for name, node in layer.children.items() if node.idle} == idle
    assert layer.children["used"].calls
