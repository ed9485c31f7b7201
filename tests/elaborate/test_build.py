"""What the tree says of modules: which are never called."""

from __future__ import annotations

from typing import Any

import pytest

IDLE = """
import contextlib
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
        (
            "try:\n            self.failed([][0])\n        except IndexError:\n            pass",
            {"given"},
        ),
        (
            "with contextlib.suppress(IndexError):\n            [][0]\n            self.failed(x)",
            {"given"},
        ),
    ],
    ids=[
        "not called",
        "handed on",
        "its weight handed on",
        "an error",
        "by name",
        "an error that is caught",
        "an error that is suppressed",
    ],
)
def test_modules_that_are_never_called_are_idle(made: Any, body: str, idle: set[str]) -> None:
    tree = made.tree(IDLE.format(body=body))
    layer = tree.find("layer")
    assert layer is not None
    assert {name for name, node in layer.children.items() if node.idle} == idle
    assert layer.children["used"].calls


def test_what_a_module_calls_behind_an_error_inside_of_a_try_is_found(made: Any) -> None:
    body = (
        "try:\n            [][0]\n            x = self.failed(x)\n"
        "        finally:\n            x = self.given(x)"
    )
    layer = made.tree(IDLE.format(body=body)).find("layer")
    assert layer.children["failed"].calls
    assert layer.children["given"].calls


HELD = """
import foreign
from torch import nn
from sglang.srt.layers.layernorm import RMSNorm

class Reader:
    def __init__(self, norm, other):
        self.norm, self.other = norm, other

    def read(self, x, norm, first):
        {body}

class Layer(nn.Module):
    def __init__(self, first):
        super().__init__()
        self.first = first
        self.norm, self.other = RMSNorm(8), RMSNorm(8)
        self.declare()

    def declare(self):
        self.reader = Reader(self.norm, self.other)

    def forward(self, x):
        x = self.reader.read(x, self.reader.norm, self.first)
        {after}
        return self.other(x)

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layers = nn.ModuleList([Layer(i == 0) for i in range(3)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    {method}

EntryClass = Model
"""


@pytest.mark.parametrize(
    ("body", "after", "method", "idle"),
    [
        ("return x if first else norm(x)", "", "", True),
        ("return foreign.run(x, norm) if first else norm(x)", "", "", False),
        ("return foreign.run(x, self) if first else norm(x)", "", "", False),
        ("return x if first else norm(x)", "x.y = foreign.run(self.reader.read)", "", False),
        ("return x if first else norm(x)", "None[0]", "", False),
        (
            "return x if first else norm(x)",
            "",
            "def beside(self, x):\n        return foreign.run(x, self.layers[0].norm)",
            False,
        ),
    ],
    ids=["not called", "given away", "its holder", "a method of its holder", "an error", "beside"],
)
def test_a_module_that_others_hold_is_idle_where_all_of_them_were_followed(
    made: Any, body: str, after: str, method: str, *, idle: bool
) -> None:
    text = HELD.format(body=body, after=after or "pass", method=method)
    tree = made.tree(text)
    nodes = [tree.find(f"layers.{i}.norm") for i in range(3)]
    assert [n.idle for n in nodes] == [idle, False, False]
    assert [bool(n.calls) for n in nodes] == [False, True, True]


ABORTED = """
from torch import nn
from sglang.srt.layers.layernorm import RMSNorm

class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.behind = RMSNorm(8), RMSNorm(8)

    def forward(self, x):
        x = self.before(x)
        if x is not None:
            raise RuntimeError("not on this machine")
        return self.behind(x)

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layer, self.later = Layer(), RMSNorm(8)

    def forward(self, x):
        return self.later(self.layer(x))

EntryClass = Model
"""


def test_nothing_is_idle_behind_an_exception_that_leaves_the_forward_pass(made: Any) -> None:
    tree = made.tree(ABORTED)
    assert [m.path for m in tree.missing] == ["forward"]
    nodes = {name: tree.find(name) for name in ("layer.before", "layer.behind", "later")}
    assert {name for name, node in nodes.items() if node.calls} == {"layer.before"}
    assert not any(node.idle for node in nodes.values())


def test_modules_hung_on_a_bare_module_are_found(made: Any) -> None:
    text = """
from torch import nn
import torch
from sglang.srt.layers.layernorm import RMSNorm

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.shared = nn.Module()
        self.shared.norm = RMSNorm(8)
        self.shared.inner = torch.nn.Module()
        self.shared.inner.add_module("last", RMSNorm(16))
        self.empty = nn.Module()

    def forward(self, x):
        return self.shared.inner.last(self.shared.norm(x))

EntryClass = Model
"""
    tree = made.tree(text)
    for path, size in (("shared.norm", 8), ("shared.inner.last", 16)):
        node = tree.find(path)
        assert node is not None
        assert node.arguments["hidden_size"] == size
        assert len(node.calls) == 1
    assert not tree.find("shared").leaf
    assert tree.missing == ()


def test_what_torch_does_not_register_and_nothing_calls_is_no_part(made: Any) -> None:
    source = """
from torch import nn
import torch
from sglang.srt.layers.layernorm import RMSNorm

class Weighted(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.empty(size))

    def forward(self, x):
        return x * self.weight

    def load(self, x):
        return x

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        helper = Weighted.__new__(Weighted)
        nn.Module.__init__(helper)
        helper.size = 8
        {kept}
        self.norm = RMSNorm(8)

    def load_weights(self, weights):
        self.helper.load(weights)

    def forward(self, x):
        return {called}

EntryClass = Model
"""
    kept = 'object.__setattr__(self, "helper", helper)'

    def children(kept: str, called: str) -> list[str]:
        return list(made.tree(source.format(kept=kept, called=called)).root.children)

    assert children(kept, "self.norm(x)") == ["norm"]
    assert children(kept, "self.helper(self.norm(x))") == ["helper", "norm"]
    assert children("self.helper = helper", "self.norm(x)") == ["helper", "norm"]
    assert children(f"{kept}; self.helper = helper", "self.norm(x)") == ["helper", "norm"]


def test_a_module_that_the_forward_pass_makes_when_it_first_needs_it_is_a_part(made: Any) -> None:
    source = """
from torch import nn
import foreign
from sglang.srt.layers.layernorm import RMSNorm

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        {early}

    def lazy(self):
        op = getattr(self, "op", None)
        if op is None:
            op = self.op = RMSNorm(8)
        return op

    def forward(self, x):
        if foreign.enabled > 0:
            return {called}
        return x

EntryClass = Model
"""
    late = made.tree(source.format(early="pass", called="self.lazy()(x)"))
    assert not late.missing
    assert late.root.children["op"].arguments["hidden_size"] == 8
    early = "if foreign.enabled > 0: self.op = RMSNorm(8)"
    undecided = made.tree(source.format(early=early, called="self.op(x)"))
    assert [m.path for m in undecided.missing] == ["op"]
