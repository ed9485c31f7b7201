"""How the server enters a model: what it gives to its forward pass, and what else it calls."""

from __future__ import annotations

from typing import Any

import pytest
from forward_models import HEAD, calls, kinds, model

INIT = "self.norm, self.other, self.free = RMSNorm(8), RMSNorm(8), RMSNorm(8)"
REFUSING = "if {name} is None:\n    raise ValueError('it is always given')\n"


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        ("x = a if a is not None else self.norm(x)\nreturn x", ["plain"]),
        (REFUSING.format(name="a") + "return self.norm(a, x)", ["fused"]),
        (REFUSING.format(name="b") + "return self.norm(b)", ["plain"]),
        (
            "self.norm(x)\n" + REFUSING.format(name="b") + "return self.norm(b, x)",
            ["plain", "fused"],
        ),
    ],
    ids=["may be left out", "is always given", "another is", "behind a call"],
)
def test_arguments_that_the_forward_pass_refuses_to_miss(
    made: Any, forward: str, expected: list[str]
) -> None:
    tree = made.tree(model(INIT, forward, arguments="x, a=None, b=None"))
    assert kinds(tree, "norm") == expected
    assert tree.missing == ()


def test_what_an_attempt_that_raises_has_set_is_taken_back(made: Any) -> None:
    forward = (
        "self.seen = 1 if a is None else self.seen\n"
        + REFUSING.format(name="a")
        + "return self.norm(x) if self.seen is None else self.norm(x, x)"
    )
    tree = made.tree(model(INIT + "\nself.seen = None", forward, arguments="x, a=None"))
    assert kinds(tree, "norm") == ["plain"]


def test_a_pass_that_raises_whatever_it_is_given(made: Any) -> None:
    forward = "x = self.norm(x)\nraise ValueError('never')"
    tree = made.tree(model(INIT, forward, arguments="x, a=None"))
    assert [m.path for m in tree.missing] == ["forward"]
    assert kinds(tree, "norm") == ["plain"]


def test_a_pass_that_hands_on_all_it_gets_takes_what_its_base_names(made: Any) -> None:
    text = model(INIT, "return self.norm(x, forward_batch.a)", arguments="x, forward_batch, b=None")
    text = text.replace("class Model(", "class Base(").replace("EntryClass = Model\n", "")
    text += """
class Model(Base):
    def forward(self, *args, **kwargs):
        return self.other(super().forward(*args, **kwargs))

EntryClass = Model
"""
    tree = made.tree(text)
    assert (kinds(tree, "norm"), kinds(tree, "other")) == (["fused"], ["plain"])
    assert tree.missing == ()


WORKER = """
def run(draft_model, head, hidden):
    hidden = draft_model.project(hidden)
    draft_model.attach(head)
    project = getattr(draft_model, "by_name", None)
    return draft_model.head.score(hidden), draft_model.free(hidden)
"""
DRAFT = f"""{HEAD}
class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.unused = RMSNorm(8), RMSNorm(8)

    def score(self, x, *, scale=None):
        return self.inner(x)

    def never(self, x):
        return self.unused(x)

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.norm, self.hidden, self.named = RMSNorm(8), RMSNorm(8), RMSNorm(8)
        self.nobody, self.free, self.idle = RMSNorm(8), RMSNorm(8), RMSNorm(8)
        self.head, self.attached = Head(), None

    def project(self, x):
        return self._inner(x)

    def _inner(self, x):
        return self.hidden(x)

    def by_name(self, x, residual):
        return self.named(x, residual)

    def attach(self, head):
        self.attached = self.hidden(head)

    def not_called(self, x):
        return self.nobody(x)

    def forward(self, x):
        if self.attached is not None:
            return self.norm(x, x)
        return self.norm(x)

EntryClass = Model
"""


def test_methods_that_workers_call(made: Any) -> None:
    made.write("srt/speculative/inner/worker.py", WORKER)
    tree = made.tree(DRAFT)
    assert kinds(tree, "norm") == ["plain"]
    assert set(kinds(tree, "hidden")) == {"plain"}
    assert kinds(tree, "named") == ["fused"]
    assert kinds(tree, "head.inner") == ["plain"]
    assert tree.root.attributes["attached"] is None
    idle = {node.path for node in tree.walk() if node.idle}
    # Of what only methods call that nobody was seen to call, it is not known whether it runs.
    assert idle == {"idle"}
    for path in ("nobody", "free", "head.unused"):
        assert calls(tree, path) == ()


def test_without_workers_nothing_else_is_followed(made: Any) -> None:
    tree = made.tree(DRAFT)
    assert calls(tree, "hidden") == ()
    assert {node.path for node in tree.walk() if node.idle} == {"idle", "free"}
