"""Layers that were followed as one like them, and are needed as objects of their own later."""

from __future__ import annotations

from typing import Any

from forward_models import calls, kinds, model

from fibcore.model.tree import ParameterRef

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


def test_weights_of_leaves_and_views_of_parameters_are_the_layers_own(made: Any) -> None:
    made.write(
        "srt/layers/scale.py",
        "import torch\nfrom torch import nn\nclass Scale(nn.Module):\n    def __init__(self, n):\n"
        "        super().__init__()\n        self.weight = nn.Parameter(torch.ones(n))\n",
    )
    layer = "from sglang.srt.layers.scale import Scale\n" + LAYER.replace(
        "return self.norm(x, offset=self.number + 1)",
        "foreign.kernel(x, self.scale.weight, self.weight.T)\n        return x",
    ).replace("self.number = number", "self.scale = Scale(8)")
    forward = (
        "for layer in self.layers:\n    x = layer(x)\n"
        "for layer in self.layers:\n    x = layer.late(x, x)\nreturn x"
    )
    tree = made.tree(model(INIT, forward, layer))
    paths = [
        [value.path for value in o.args if isinstance(value, ParameterRef)]
        for o in tree.operations
        if o.function == "foreign.kernel"
    ]
    assert paths == [[f"layers.{i}.scale.weight", f"layers.{i}.weight"] for i in range(4)]
