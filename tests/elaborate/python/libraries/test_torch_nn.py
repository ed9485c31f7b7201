"""Modules whose constructors are torch's own."""

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


def test_modules_of_torch_are_leaves(made: Any) -> None:
    init = (
        "self.a = nn.Linear(2, 3, bias=False)\nself.b = nn.LayerNorm(5)\n"
        "self.c = nn.Embedding(7, 8)\nself.d = nn.Conv2d(3, 4, kernel_size=2, stride=2)\n"
        "self.e = nn.Identity()"
    )
    tree = made.tree(model(init, "a b c d e"))
    found = {n.path: dict(n.arguments) for n in tree.walk() if n.path}
    assert found["a"] == {"in_features": 2, "out_features": 3, "bias": False}
    assert found["b"]["normalized_shape"] == 5
    assert found["b"]["eps"] == 1e-5
    assert (found["c"]["num_embeddings"], found["c"]["embedding_dim"]) == (7, 8)
    assert found["d"] == {"in_channels": 3, "out_channels": 4, "kernel_size": 2, "stride": 2}
    assert node(tree, "e").cls == "torch.nn.Identity"


def test_parameters_are_known_of_a_module_that_holds_no_others(made: Any) -> None:
    init = (
        "self.own = nn.Parameter(torch.empty(3))\nself.few = len(list(self.parameters()))\n"
        "self.none = next(self.buffers(), None)\nself.plain = torch.empty(3)\n"
        "self.some = next(self.buffers(), None)\nself.a = nn.Linear(2, 3)\n"
        "self.more = next(self.parameters(), None)"
    )
    found = made.tree(model(init, "a")).root.attributes
    assert (found["few"], found["none"]) == (1, None)
    assert isinstance(found["some"], Unknown)
    assert isinstance(found["more"], Unknown)


def test_a_subclass_has_the_sizes_that_it_hands_to_torchs_constructor(made: Any) -> None:
    before = """
class Patches(nn.Linear):
    def __init__(self, patch, width, bias=False, **factory):
        super().__init__(3 * patch**2, width, bias=bias, **factory)
        self.patch = patch

class Scaled(nn.LayerNorm):
    def __init__(self, width):
        super().__init__(width, eps=1e-6)
"""
    body = "p, s = Patches(4, 64), Scaled(8)\nself.x = (p.in_features, p.out_features, p.patch)\n"
    body += "self.y = (s.normalized_shape, s.eps, s.elementwise_affine)"
    found = made.attributes(body, before)
    assert found["x"] == (48, 64, 4)
    assert found["y"] == (8, 1e-6, True)


def test_sizes_are_kept_under_the_names_of_the_arguments(made: Any) -> None:
    before = (
        "class Own(nn.Linear):\n    pass\n\nclass Other(foreign.Linear, nn.Module):\n    pass\n"
    )
    init = (
        "self.a = nn.Linear(config.hidden_size, 3)\nself.b = nn.Conv2d(3, 4, 1)\n"
        "self.c = Own(5, 6)\n"
        "self.d = nn.Bilinear(7, 8, 9)\nself.e = nn.Embedding(10, 11)\nself.f = Other(12, 13)\n"
        "self.sizes = [self.a.in_features, self.a.out_features, self.b.out_channels,\n"
        "    self.c.out_features, self.e.embedding_dim]\n"
        "self.unknown = [self.d.in_features, self.f.in_features, self.b.kernel_size]"
    )
    found = made.tree(model(init, "a", before), config={"hidden_size": 64}).root.attributes
    assert found["sizes"] == [64, 3, 4, 6, 11]
    assert all(isinstance(value, Unknown) for value in found["unknown"])


def test_a_buffer_is_a_tensor_and_no_module(made: Any) -> None:
    init = "self.low = nn.Buffer(torch.empty(3))\nself.a = nn.Linear(2, 3)"
    tree = made.tree(model(init, "a"))
    assert [n.path for n in tree.walk()] == ["", "a"]
    assert "low" in tree.root.attributes
