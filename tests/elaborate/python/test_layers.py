"""Repeated layers are elaborated once, stand in the tree each, and differ where they should."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from fibcore.elaborate.python import evaluator
from fibcore.elaborate.python.construction import Construction
from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.errors import ElaborationError
from fibcore.model.tree import Alternatives, ModelTree, ModuleNode, origins_of

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


class Counted(Construction):
    """Counts what it constructs."""

    made: ClassVar[Counter[str]] = Counter()
    last: Evaluator

    def construct(self, cls: Any, args: Any, kwargs: Any, place: Any) -> Any:
        Counted.made[cls.name] += 1
        Counted.last = self.ev
        return super().construct(cls, args, kwargs, place)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    monkeypatch.setattr(evaluator, "Construction", Counted)
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


def test_the_cost_does_not_grow_with_the_number_of_layers(made: Any, counted: Counter[str]) -> None:
    steps = []
    for count in (10, 1000):
        made.tree(source(), config={"num_hidden_layers": count})
        steps.append(Counted.last.budget.steps)
    assert counted["Layer"] == 2  # one for each of the models
    # The loop over the layers is gone through, what is in them is not.
    assert steps[1] - steps[0] < 150 * 990


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


CONFIG = {
    "sizes": [5, 5, 7, 7, 5, 9],
    "late": [None, 4, None, 4, None, 4],
    "windows": [4, None, 4, None, 4, 4],
    "mixed": [4, "a", 4, "b", 4, 4],
    "kinds": list("abbaab"),
    "groups": ["", "a", "bb", "", "a", "bb"],
    "special": [1, 4],
    "named": {"w_0": 3, "w_1": 1, "w_2": 4, "w_3": 1, "w_4": 5, "w_5": 9},
    "w_2": 9,
    "first": 2,
}

# How a size may depend on the layer. Python computes it layer by layer; the elaboration, which goes
# through equal layers once, has to find the same. Where a number of builds is given, layers that
# differ in no decision have to share one.
SIZES = """
(layer_id + 1) * 8 # 1
config.sizes[layer_id] # 1
max(layer_id, 3) * 2 # 1
int(str(layer_id) + '0') # 1
10 + layer_id % 3 # 1
int(prefix.split('.')[-1]) + 1 # 1
int('%s%d' % (prefix[-1:], layer_id)) # 1
int('.'.join([str(layer_id), '5']).replace('.', '')) # 1
sorted([layer_id, 3])[0] # 1
[5, 6, 7][layer_id % 3] # 1
{0: 3, 5: 4}.get(layer_id, 7) # 1
config.named[f'w_{layer_id}'] # 1
abs(layer_id - 3) # 1
divmod(layer_id, 4)[1] # 1
layer_id / 2 # 1
64 if layer_id % 2 else 32 # 2
32 if layer_id < config.first else 64 # 2
16 if config.kinds[layer_id] == 'a' else 8 # 2
8 if layer_id in config.special else 16 # 2
8 if bool(layer_id) else 16 # 2
1 if not layer_id else 4 # 2
4 if (layer_id + 1) % 2 == 0 and layer_id not in [3] else 5 # 3
8 * len(config.groups[layer_id])
8 if config.windows[layer_id] is None else 16
8 if isinstance(config.mixed[layer_id], str) else 16
len(config.sizes[layer_id:])
config.sizes[: layer_id + 1][-1]
len({0, 4, layer_id})
len({0: 1, 4: 2, layer_id: 3})
len({n: 1 for n in (0, 4, layer_id)})
len([[1], [2, 3]][layer_id % 2])
8 if config.late[layer_id] is None else 16
len(set([layer_id, 2]))
sum(int(c) for c in str(layer_id * 11))
getattr(config, f'w_{layer_id}', 5)
1 if hasattr(config, f'w_{layer_id}') else 2
1 if Kind(config.kinds[layer_id]) is Kind.A else 2
1 if config.kinds[layer_id] == Kind.A else 2
1 if Kind.A == config.kinds[layer_id] else 2
1 if [layer_id] == [2] else 3
1 if (layer_id, 1) in [(2, 1), (3, 1)] else 3
ord(prefix[-1])
len(list(str(layer_id * 5)))
8 if str(layer_id) in 'm.2.3' else 9
4 if layer_id in {1: 0, 2: 0} else 5
4 if layer_id in range(2, 4) else 5
1 if all([layer_id > 1, layer_id < 4]) else 2
1 if any(layer_id == i for i in (1, 5)) else 2
next(i for i in (0, 2, 9) if i >= layer_id)
max(i for i in (0, 2, 4) if i <= layer_id)
{True: 5, False: 6}[layer_id > 3]
(1, 2)[layer_id == 3]
prefix.endswith('.2') + 1
int(re.search('([0-9]+)$', prefix).group(1))
len([i for i in range(layer_id)])
factorial(layer_id)
entries(layer_id)[3]
len(entries(layer_id))
moved(layer_id)[0]
chosen(layer_id)
rounds(layer_id)
"""
HELPERS = """
import re
from enum import Enum

class Kind(str, Enum):
    A = "a"
    B = "b"

def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)

def entries(n):
    found = {3: 1}
    found[n] = 7
    return found

def moved(n):
    found = [5, 4, 3, 2, 1, 0]
    found.pop(n)
    return found

def chosen(n):
    match n:
        case 2:
            return 5
        case _:
            return 6

def rounds(n):
    x = 0
    while x < n:
        x += 2
    return x
"""


@pytest.mark.parametrize("line", SIZES.strip().splitlines())
def test_sizes_that_depend_on_the_layer(made: Any, counted: Counter[str], line: str) -> None:
    size, _, built = line.partition(" # ")
    scope: dict[str, Any] = {"config": SimpleNamespace(**CONFIG)}
    exec(HELPERS, scope)  # noqa: S102 - the sources above
    expected = []
    for number in range(6):
        scope |= {"layer_id": number, "prefix": f"model.layers.{number}"}
        expected.append(eval(size, scope))  # noqa: S307
    tree = made.tree(source(size) + HELPERS, config={"num_hidden_layers": 6, **CONFIG})
    assert [n.children["proj"].arguments["input_size"] for n in layers(tree)] == expected
    if built:
        assert counted["Layer"] == int(built)


MATCHING = r"""
import re
from contextlib import suppress


def looked_up(prefix):
    raise ValueError(f"no entry for {prefix}")


def caught(prefix):
    with suppress(ValueError):
        return looked_up(prefix)
    return 0


def told(prefix):
    try:
        return looked_up(prefix)
    except ValueError as error:
        return len(str(error))


def number(prefix):
    found = re.match(r".*\.(\d+)", prefix)
    if found:
        return int(found.group(1))
"""


@pytest.mark.parametrize(
    ("size", "built", "expected"),
    [
        (r"64 if re.match(r'.*\.\d', prefix) else 32", 1, [64] * 4),
        (r"64 if not re.match(r'.*\.[02]$', prefix) else 32", 2, [32, 64, 32, 64]),
        ("number(prefix)", 4, [0, 1, 2, 3]),  # more of a match is asked than whether it is there
        ("64 + caught(prefix)", 1, [64] * 4),
        ("told(prefix)", 1, [len("no entry for model.layers.0")] * 4),
    ],
)
def test_matches_and_exceptions_that_hold_a_layers_name(
    made: Any, counted: Counter[str], size: str, built: int, expected: list[int]
) -> None:
    tree = made.tree(source(size) + MATCHING, config={"num_hidden_layers": 4})
    assert [n.children["proj"].arguments["input_size"] for n in layers(tree)] == expected
    assert counted["Layer"] == built


def test_the_message_of_an_exception_that_a_layer_reports(made: Any) -> None:
    more = "self.why = why(prefix)"
    why = """

def why(prefix):
    try:
        looked_up(prefix)
    except ValueError as error:
        return error.args[0]
"""
    tree = made.tree(source(more=more) + MATCHING + why, config={"num_hidden_layers": 3})
    assert [n.attributes["why"] for n in layers(tree)] == [
        f"no entry for model.layers.{number}" for number in range(3)
    ]


def test_a_size_that_a_branch_and_the_layer_decide(made: Any) -> None:
    text = "import foreign\n" + source("layer_id if foreign.flag() else 0")
    tree = made.tree(text, config={"num_hidden_layers": 4})
    sizes = [n.children["proj"].arguments["input_size"] for n in layers(tree)]
    assert sizes == [0, Alternatives((1, 0)), Alternatives((2, 0)), Alternatives((3, 0))]


@pytest.mark.parametrize("size", ["config.sizes[layer_id]", "10 // (5 - layer_id)"])
def test_what_only_a_later_layer_refuses(made: Any, size: str) -> None:
    with pytest.raises(ElaborationError, match=r"IndexError|ZeroDivisionError"):
        made.tree(source(size), config={"num_hidden_layers": 8, **CONFIG})


def test_layers_of_several_kinds(made: Any, counted: Counter[str]) -> None:
    more = "self.mlp = (Moe if layer_id >= config.first and layer_id % 2 else Dense)(layer_id)"
    text = (
        source(more=more)
        + """
class Moe(nn.Module):
    def __init__(self, layer_id):
        super().__init__()
        self.layer_id = layer_id
        self.gate = ReplicatedLinear(1, 2)

class Dense(nn.Module):
    def __init__(self, layer_id):
        super().__init__()
        self.layer_id = layer_id
        self.up = ReplicatedLinear(3, 4)
"""
    )
    tree = made.tree(text, config={"num_hidden_layers": 8, "first": 2})
    kinds = [n.children["mlp"].class_name for n in layers(tree)]
    assert kinds == ["Dense", "Dense", "Dense", "Moe", "Dense", "Moe", "Dense", "Moe"]
    assert [n.children["mlp"].attributes["layer_id"] for n in layers(tree)] == list(range(8))
    assert counted["Layer"] < 8
    assert tree.find("layers.3.mlp.gate") is not None
    assert tree.find("layers.2.mlp.gate") is None


def test_lists_inside_of_layers(made: Any) -> None:
    more = "self.experts = nn.ModuleList([ReplicatedLinear(8, i + layer_id) for i in range(3)])"
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


@pytest.mark.parametrize("changed", [0, 2, 3])
def test_a_layer_changed_after_its_construction(made: Any, changed: int) -> None:
    text = source().replace(
        "    def forward(self, input_ids,",
        f"        self.layers[{changed}].proj = RowParallelLinear(3, 4)\n\n"
        "    def forward(self, input_ids,",
    )
    tree = made.tree(text, config={"num_hidden_layers": 4})
    kinds = [n.children["proj"].class_name for n in layers(tree)]
    expected = ["ReplicatedLinear"] * 4
    expected[changed] = "RowParallelLinear"
    assert kinds == expected
    assert all(len(n.children["proj"].calls) == 1 for n in layers(tree))


def test_decisions_of_the_forward_pass_tell_layers_apart(made: Any) -> None:
    forward = "if self.layer_id == 2:\n            hidden_states = self.extra(hidden_states)"
    text = source(more="self.extra = RMSNorm(config.hidden_size)", forward=forward)
    tree = made.tree(text, config={"num_hidden_layers": 5})
    assert [len(n.children["extra"].calls) for n in layers(tree)] == [0, 0, 1, 0, 0]
    assert [len(n.children["proj"].calls) for n in layers(tree)] == [1, 1, 1, 1, 1]


def test_what_the_caller_hands_over_tells_layers_apart(made: Any, counted: Counter[str]) -> None:
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
    text = (
        HEAD
        + """

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
    )
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


def test_a_part_of_a_layer_changed_after_its_construction_is_reported(made: Any) -> None:
    text = source(more="self.block = Block()").replace(
        "    def forward(self, input_ids,",
        "        self.layers[2].block.up = RowParallelLinear(3, 4)\n"
        "        self.layers[1].block.flag = True\n\n"
        "    def forward(self, input_ids,",
    )
    text += """
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.flag = False
        self.up = ReplicatedLinear(1, 2)
        self.up = ReplicatedLinear(1, 3)
"""
    (missing,) = made.tree(text, config={"num_hidden_layers": 4}).missing
    assert "Block.up" in missing.reason
    assert missing.place is not None
    assert "RowParallelLinear(3, 4)" in text.splitlines()[missing.place.line - 1]
