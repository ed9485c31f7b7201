"""Layers that were followed as one like them, and are needed as objects of their own later."""

from __future__ import annotations

from typing import Any

from forward_models import calls, kinds, model

LAYER = """
class Layer(nn.Module):
    def __init__(self, number):
        super().__init__()
        self.norm, self.late = RMSNorm(8), RMSNorm(8)
        self.weight = nn.Parameter(torch.empty((16, 8)))
        self.number = number

    def forward(self, x):
        x = F.linear(x, self.weight)
        return self.norm(x, offset=self.number + 1)
"""
INIT = "self.layers = nn.ModuleList([Layer(i) for i in range(4)])"


def test_calls_stay_where_a_part_of_a_layer_is_called_later(made: Any) -> None:
    forward = (
        "for layer in self.layers:\n    x = layer(x)\n"
        "for layer in self.layers:\n    x = layer.late(x, x)\nreturn x"
    )
    tree = made.tree(model(INIT, forward, LAYER))
    for i in range(4):
        (call,) = calls(tree, f"layers.{i}.norm")
        assert call.kwargs["offset"] == i + 1
        assert kinds(tree, f"layers.{i}.late") == ["fused"]
    assert [o.module for o in tree.operations] == [f"layers.{i}" for i in range(4)]
    paths = [o.args[1].path for o in tree.operations]
    assert paths == [f"layers.{i}.weight" for i in range(4)]


def test_calls_of_both_where_an_object_of_its_own_goes_another_ones_way(made: Any) -> None:
    forward = (
        "for layer in self.layers:\n    x = layer.late(x)\n"
        "for layer in self.layers:\n    x = layer(x)\nreturn x"
    )
    tree = made.tree(model(INIT, forward, LAYER))
    for i in range(4):
        assert kinds(tree, f"layers.{i}.late") == ["plain"]
        assert len(calls(tree, f"layers.{i}.norm")) == 1
