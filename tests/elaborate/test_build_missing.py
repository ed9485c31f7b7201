"""What should have been a module and is not known is reported as missing."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.model.tree import Alternatives, ModelTree, ModuleNode, Unknown

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


def missing(tree: ModelTree) -> dict[str, str]:
    assert tree.partial is bool(tree.missing)
    return {m.path: m.reason for m in tree.missing}


def test_an_unknown_that_should_have_been_a_module_is_reported(made: Any) -> None:
    init = "self.norm = RMSNorm(8)\nself.head = foreign.make(3)\nself.flag = foreign.flag()"
    tree = made.tree(model(init, "norm head"))
    assert list(missing(tree)) == ["head"]
    (found,) = tree.missing
    assert "foreign.make" in found.reason
    assert found.place is not None
    assert "self.head" in model(init, "norm head").splitlines()[found.place.line - 1]
    assert "made.py" in str(found)
    assert isinstance(tree.root.attributes["flag"], Unknown)


def test_an_instance_of_a_foreign_class_that_is_called_is_reported(made: Any) -> None:
    init = "self.norm = RMSNorm(8)\nself.head = foreign.Head(3)\nself.tool = foreign.Tool()"
    tree = made.tree(model(init, "norm head"))
    assert list(missing(tree)) == ["head"]
    assert "foreign.Head" in missing(tree)["head"]


def test_a_module_that_cannot_be_decided_is_reported(made: Any) -> None:
    init = (
        "if foreign.flag():\n    self.a = ReplicatedLinear(1, 2)\nelse:\n"
        "    self.a = RowParallelLinear(1, 2)\n"
        "self.b = ReplicatedLinear(3, 4) if foreign.flag() else ReplicatedLinear(3, 4)\n"
        "self.c = ReplicatedLinear(3, 4) if foreign.flag() else ReplicatedLinear(3, 5)"
    )
    tree = made.tree(model(init, "a b c"))
    assert set(missing(tree)) == {"a", "c"}
    assert "ReplicatedLinear" in missing(tree)["a"]
    assert "RowParallelLinear" in missing(tree)["a"]
    assert node(tree, "b").arguments["output_size"] == 4


def test_modules_in_unknown_number_are_reported(made: Any) -> None:
    init = (
        "self.a = nn.ModuleList(foreign.items())\n"
        "self.b = nn.ModuleList([RMSNorm(8) for i in range(foreign.count())])\n"
        "self.c = nn.ModuleList()\nfor i in foreign.items():\n    self.c.append(RMSNorm(4))\n"
        "self.d = nn.ModuleList([RMSNorm(1)])\nif foreign.flag():\n    self.d.append(RMSNorm(2))"
    )
    tree = made.tree(model(init))
    assert sorted(missing(tree)) == ["a.0", "b.0", "c.0", "d.1"]
    assert node(tree, "d.0").arguments["hidden_size"] == 1


def test_a_leaf_with_arguments_that_cannot_be_bound_is_reported(made: Any) -> None:
    init = (
        "self.a = ReplicatedLinear(*foreign.sizes())\nself.b = ReplicatedLinear(1, **foreign.k())"
    )
    tree = made.tree(model(init, "a b"))
    assert set(missing(tree)) == {"a", "b"}
    assert node(tree, "a").leaf


def test_an_unknown_size_is_an_argument_and_nothing_missing(made: Any) -> None:
    init = "self.a = ReplicatedLinear(foreign.n(), 2 if foreign.flag() else 3)"
    tree = made.tree(model(init, "a"))
    size = node(tree, "a").arguments["input_size"]
    assert isinstance(size, Unknown)
    assert "foreign.n" in size.reason
    assert node(tree, "a").arguments["output_size"] == Alternatives((2, 3))
    assert tree.missing == ()


def test_what_was_removed_or_set_to_none_is_not_missing(made: Any) -> None:
    init = "self.a = foreign.make()\ndel self.a\nself.b = foreign.make()\nself.b = None"
    assert made.tree(model(init)).missing == ()


def test_which_of_two_modules_without_weights_runs_does_not_matter(made: Any) -> None:
    before = """
class Drop(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        return x
"""
    init = "self.drop = Drop(foreign.rate) if foreign.rate > 0 else nn.Identity()"
    assert made.tree(model(init, "drop", before)).missing == ()


def test_which_of_two_modules_with_weights_runs_is_missing(made: Any) -> None:
    init = "self.norm = RMSNorm(8) if foreign.rate > 0 else nn.Identity()"
    assert [m.path for m in made.tree(model(init, "norm")).missing] == ["norm"]


def test_models_of_other_packages_are_missing(made: Any) -> None:
    before = "from transformers import CLIPVisionModel\n"
    tree = made.tree(model("self.tower = CLIPVisionModel(config)", "tower", before))
    assert [m.path for m in tree.missing] == ["tower"]
    assert "CLIPVisionModel" in tree.missing[0].reason


@pytest.mark.parametrize(
    ("call", "missing"),
    [
        ("self.tower(x)", ["tower"]),
        ("self.tower.forward_features(x)", ["tower"]),
        ("self.tower.dtype", []),
        ("print(self.tower)", []),
    ],
)
@pytest.mark.parametrize("made_by", ["foreign.create_model('vit')", "foreign.Tower(3)"])
def test_a_tower_that_any_method_calls_is_missing_where_it_is_not_known(
    made: Any, call: str, made_by: str, missing: list[str]
) -> None:
    source = model(f"self.tower = {made_by}").replace(
        "\nEntryClass",
        f"\n    def get_image_feature(self, x):\n        return {call}\n\nEntryClass",
    )
    assert [m.path for m in made.tree(source).missing] == missing


def test_what_only_loading_calls_is_no_module(made: Any) -> None:
    source = model("self.remap = foreign.create_mapper()").replace(
        "\nEntryClass", "\n    def load_weights(self, x):\n        self.remap(x)\n\nEntryClass"
    )
    assert made.tree(source).missing == ()


@pytest.mark.parametrize(
    "look",
    [
        "if key in TABLE:\n        return TABLE[key]",
        "found = TABLE.get(key)\n    if found is not None:\n        return found",
    ],
)
def test_a_table_of_modules_under_keys_that_are_not_known(made: Any, look: str) -> None:
    text = f"""
import foreign
from torch import nn
from sglang.srt.layers.layernorm import RMSNorm

TABLE = {{}}

def shared(size):
    key = (size, foreign.base())
    {look}
    made = RMSNorm(size)
    TABLE[key] = made
    return made

class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = shared(8)

    def forward(self, x):
        return self.norm(x)

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layers = nn.ModuleList([Layer() for _ in range(3)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

EntryClass = Model
"""
    tree = made.tree(text)
    assert tree.missing == ()
    assert [n.path for n in tree.walk() if n.leaf] == [f"layers.{i}.norm" for i in range(3)]


@pytest.mark.parametrize(
    "kept",
    ["setattr(self, foreign.name(), RMSNorm(8))", "self.__dict__[foreign.name()] = RMSNorm(8)"],
)
def test_a_module_under_a_name_that_is_not_known_is_reported(made: Any, kept: str) -> None:
    tree = made.tree(model(f"self.norm = RMSNorm(8)\n{kept}", "norm"))
    reasons = missing(tree)
    assert reasons["?"] == "a module is kept under a name that is not known"
    assert all(isinstance(name, str) for name in (*tree.root.attributes, *tree.root.children))
    assert all(isinstance(each.path, str) for each in tree.walk())
