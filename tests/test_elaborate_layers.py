"""Repeated layers are elaborated once, stand in the tree each, and differ where they should."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from fibcore.elaborate import session
from fibcore.elaborate.evaluator import Evaluator
from fibcore.tree import ModelTree, ModuleNode, origins_of

HEAD = """
from torch import nn
from sglang.srt.layers.layernorm import RMSNorm
from sglang.srt.layers.linear import ReplicatedLinear, RowParallelLinear
from sglang.srt.utils import make_layers
"""

MODEL = """

class Model(nn.Module):
    def __init__(self, config, quant_config=None, prefix=""):
        super().__init__()
        self.layers = make_layers(
            config.num_hidden_layers,
            lambda idx, prefix: Layer(config, idx, prefix),
            prefix="model.layers",
        )

    def forward(self, input_ids, positions, forward_batch):
        hidden_states = input_ids
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        return hidden_states

EntryClass = Model
"""

LAYER = """

class Layer(nn.Module):
    def __init__(self, config, layer_id, prefix):
        super().__init__()
        self.layer_id = layer_id
        self.proj = ReplicatedLinear({size}, config.hidden_size, prefix=prefix + ".proj")
        {more}

    def forward(self, hidden_states, residual=None):
        {forward}
        hidden_states, _ = self.proj(hidden_states)
        return hidden_states
"""


def source(size: str = "config.hidden_size", more: str = "pass", forward: str = "pass") -> str:
    return HEAD + LAYER.format(size=size, more=more, forward=forward) + MODEL


class Counted(Evaluator):
    """Counts what it constructs."""

    made: Counter[str] = Counter()
    last: Evaluator

    def construct(self, cls: Any, args: Any, kwargs: Any, place: Any) -> Any:
        Counted.made[cls.name] += 1
        Counted.last = self
        return super().construct(cls, args, kwargs, place)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    monkeypatch.setattr(session, "Evaluator", Counted)
    Counted.made = Counter()
    return Counted.made


def layers(tree: ModelTree) -> list[ModuleNode]:
    found = tree.find("layers")
    assert found is not None
    return list(found.children.values())


def test_equal_layers_are_built_once(made: Any, counted: Counter[str]) -> None:
    tree = made.tree(source(), config={"num_hidden_layers": 40})
    assert counted["Layer"] == 1
    assert [n.path for n in layers(tree)] == [f"layers.{i}" for i in range(40)]
    assert tree.missing == ()


def test_each_layer_has_its_own_index_path_and_prefix(made: Any) -> None:
    tree = made.tree(source(), config={"num_hidden_layers": 40})
    for number, layer in enumerate(layers(tree)):
        assert layer.arguments["layer_id"] == number
        assert layer.attributes["layer_id"] == number
        assert layer.arguments["prefix"] == f"model.layers.{number}"
        (proj,) = layer.children.values()
        assert proj.path == f"layers.{number}.proj"
        assert proj.arguments["prefix"] == f"model.layers.{number}.proj"
        assert proj.arguments["input_size"] == 64
        assert origins_of(proj.arguments["input_size"]) == {"config:hidden_size"}
        assert len(proj.calls) == 1


def test_the_cost_does_not_grow_with_the_number_of_layers(
    made: Any, counted: Counter[str]
) -> None:
    steps = []
    for count in (10, 1000):
        made.tree(source(), config={"num_hidden_layers": count})
        steps.append(Counted.last.steps)
    assert counted["Layer"] == 2  # one for each of the models
    # The loop over the layers is gone through, what is in them is not.
    assert steps[1] - steps[0] < 5 * 990


def test_a_comprehension_makes_repeated_layers_too(made: Any, counted: Counter[str]) -> None:
    text = source().replace(
        "make_layers(\n            config.num_hidden_layers,\n"
        "            lambda idx, prefix: Layer(config, idx, prefix),\n"
        '            prefix="model.layers",\n        )',
        'nn.ModuleList([Layer(config, i, f"m.{i}") for i in range(config.num_hidden_layers)])',
    )
    assert "ModuleList" in text
    tree = made.tree(text, config={"num_hidden_layers": 12})
    assert counted["Layer"] == 1
    assert [n.arguments["prefix"] for n in layers(tree)] == [f"m.{i}" for i in range(12)]


def test_a_loop_with_append_makes_every_layer(made: Any) -> None:
    text = source().replace(
        "make_layers(\n            config.num_hidden_layers,\n"
        "            lambda idx, prefix: Layer(config, idx, prefix),\n"
        '            prefix="model.layers",\n        )',
        "nn.ModuleList()\n        for i in range(config.num_hidden_layers):\n"
        '            self.layers.append(Layer(config, i, f"m.{i}"))',
    )
    assert "append" in text
    tree = made.tree(text, config={"num_hidden_layers": 5})
    assert [n.arguments["layer_id"] for n in layers(tree)] == [0, 1, 2, 3, 4]
    assert all(n.children["proj"].calls for n in layers(tree))


@pytest.mark.parametrize(
    ("size", "config", "sizes", "built"),
    [
        ("64 if layer_id % 2 else 32", {}, [32, 64, 32, 64, 32, 64], 2),
        ("32 if layer_id < config.first else 64", {"first": 2}, [32, 32, 64, 64, 64, 64], 2),
        ("(layer_id + 1) * 8", {}, [8, 16, 24, 32, 40, 48], 1),
        ("config.sizes[layer_id]", {"sizes": [5, 5, 7, 7, 5, 9]}, [5, 5, 7, 7, 5, 9], 1),
        (
            "16 if config.kinds[layer_id] == 'a' else 8",
            {"kinds": list("abbaab")},
            [16, 8, 8, 16, 16, 8],
            2,
        ),
        ("{0: 3, 5: 4}.get(layer_id, 7)", {}, [3, 7, 7, 7, 7, 4], None),
        ("8 if layer_id in config.special else 16", {"special": [1, 4]}, [16, 8, 16, 16, 8, 16], 2),
        ("max(layer_id, 3) * 2", {}, [6, 6, 6, 6, 8, 10], 1),
        ("8 if bool(layer_id) else 16", {}, [16, 8, 8, 8, 8, 8], 2),
        ("8 * len(config.groups[layer_id])", {"groups": ["", "a", "bb", "", "a", "bb"]}, [0, 8, 16, 0, 8, 16], None),
        ("width(config, layer_id)", {}, [10, 11, 12, 10, 11, 12], 1),
        ("int(str(layer_id) + '0')", {}, [0, 10, 20, 30, 40, 50], 1),
        ("int(prefix.split('.')[-1]) + 1", {}, [1, 2, 3, 4, 5, 6], None),
        ("self.layer_id * 2", {}, [0, 2, 4, 6, 8, 10], 1),
    ],
)  # fmt: skip
def test_sizes_that_depend_on_the_layer(
    made: Any,
    counted: Counter[str],
    size: str,
    config: dict[str, Any],
    sizes: list[int],
    built: int | None,
) -> None:
    text = source(size) + "\n\ndef width(config, i):\n    return 10 + i % 3\n"
    tree = made.tree(text, config={"num_hidden_layers": 6, **config})
    assert [n.children["proj"].arguments["input_size"] for n in layers(tree)] == sizes
    if built is not None:
        assert counted["Layer"] == built


def test_layers_of_several_kinds(made: Any, counted: Counter[str]) -> None:
    more = "self.mlp = (Moe if layer_id >= config.first and layer_id % 2 else Dense)(layer_id)"
    text = source(more=more) + (
        "\n\nclass Moe(nn.Module):\n    def __init__(self, layer_id):\n        super().__init__()\n"
        "        self.layer_id = layer_id\n        self.gate = ReplicatedLinear(1, 2)\n"
        "\n\nclass Dense(nn.Module):\n    def __init__(self, layer_id):\n        super().__init__()\n"
        "        self.layer_id = layer_id\n        self.up = ReplicatedLinear(3, 4)\n"
    )
    tree = made.tree(text, config={"num_hidden_layers": 8, "first": 2})
    kinds = [n.children["mlp"].class_name for n in layers(tree)]
    assert kinds == ["Dense", "Dense", "Dense", "Moe", "Dense", "Moe", "Dense", "Moe"]
    assert [n.children["mlp"].attributes["layer_id"] for n in layers(tree)] == list(range(8))
    assert counted["Layer"] < 8
    assert tree.find("layers.3.mlp.gate") is not None
    assert tree.find("layers.2.mlp.gate") is None


def test_lists_inside_of_layers(made: Any) -> None:
    more = (
        "self.experts = nn.ModuleList([ReplicatedLinear(8, i + layer_id) for i in range(3)])"
    )
    tree = made.tree(source(more=more), config={"num_hidden_layers": 4})
    for number, layer in enumerate(layers(tree)):
        experts = layer.children["experts"].children
        assert [e.arguments["output_size"] for e in experts.values()] == [
            number,
            number + 1,
            number + 2,
        ]
        assert [e.path for e in experts.values()] == [
            f"layers.{number}.experts.{i}" for i in range(3)
        ]


def test_attributes_of_one_layer_read_by_the_model(made: Any) -> None:
    text = source().replace(
        "    def forward(self, input_ids,",
        "        self.last = self.layers[3].layer_id\n"
        "        self.ids = [layer.layer_id for layer in self.layers]\n"
        "        self.total = sum(layer.layer_id for layer in self.layers)\n\n"
        "    def forward(self, input_ids,",
    )
    found = made.tree(text, config={"num_hidden_layers": 5}).root.attributes
    assert (found["last"], found["ids"], found["total"]) == (3, [0, 1, 2, 3, 4], 10)


def test_a_layer_changed_after_its_construction(made: Any) -> None:
    text = source().replace(
        "    def forward(self, input_ids,",
        "        self.layers[2].proj = RowParallelLinear(3, 4)\n\n    def forward(self, input_ids,",
    )
    tree = made.tree(text, config={"num_hidden_layers": 4})
    kinds = [n.children["proj"].class_name for n in layers(tree)]
    assert kinds == ["ReplicatedLinear", "ReplicatedLinear", "RowParallelLinear", "ReplicatedLinear"]


def test_decisions_of_the_forward_pass_tell_layers_apart(made: Any) -> None:
    forward = "if self.layer_id == 2:\n            hidden_states = self.extra(hidden_states)"
    text = source(more="self.extra = RMSNorm(config.hidden_size)", forward=forward)
    tree = made.tree(text, config={"num_hidden_layers": 5})
    assert [len(n.children["extra"].calls) for n in layers(tree)] == [0, 0, 1, 0, 0]
    assert [len(n.children["proj"].calls) for n in layers(tree)] == [1, 1, 1, 1, 1]


def test_what_the_caller_hands_over_tells_layers_apart(
    made: Any, counted: Counter[str]
) -> None:
    forward = "if residual is None:\n            hidden_states = self.extra(hidden_states)"
    text = source(more="self.extra = RMSNorm(config.hidden_size)", forward=forward)
    text = text.replace(
        "layer(hidden_states)",
        "layer(hidden_states, residual)\n            residual = hidden_states",
    ).replace("hidden_states = input_ids", "hidden_states, residual = input_ids, None")
    tree = made.tree(text, config={"num_hidden_layers": 9})
    assert [len(n.children["extra"].calls) for n in layers(tree)] == [1] + [0] * 8
    assert counted["Layer"] == 2


def test_other_containers_of_modules(made: Any) -> None:
    text = HEAD + """

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.seq = nn.Sequential(ReplicatedLinear(1, 2), nn.GELU(), nn.Linear(2, 3))
        self.named = nn.ModuleDict({"up.a": ReplicatedLinear(4, 5)})
        self.plain = [ReplicatedLinear(6, 7)]
        self.add_module("added", ReplicatedLinear(8, 9))
        for i in range(2):
            setattr(self, f"branch_{i}", ReplicatedLinear(10 + i, 1))
        self.alias = self.added
        self.nothing = None

    def forward(self, x):
        return self.alias(self.seq(x))

EntryClass = Model
"""
    tree = made.tree(text)
    assert {n.path: n.class_name for n in tree.walk() if n.path} == {
        "seq": "Sequential",
        "seq.0": "ReplicatedLinear",
        "seq.1": "GELU",
        "seq.2": "Linear",
        "named": "ModuleDict",
        "named.up.a": "ReplicatedLinear",
        "plain.0": "ReplicatedLinear",
        "added": "ReplicatedLinear",
        "branch_0": "ReplicatedLinear",
        "branch_1": "ReplicatedLinear",
    }
    linear = tree.find("seq.2")
    assert linear is not None
    assert (linear.argument("in_features"), linear.argument("out_features")) == (2, 3)
    assert linear.argument("bias") is True
    for path in ("seq.0", "seq.1", "seq.2", "added"):
        node = tree.find(path)
        assert node is not None
        assert len(node.calls) == 1, path
    assert tree.find("named.up.a") is not None
    assert tree.missing == ()
