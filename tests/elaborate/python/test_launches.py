"""Launches: what a function comes to call of what the environment calls kernels."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from fibcore.elaborate.python.environment import Environment
from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.index import ModuleIndex
from fibcore.elaborate.python.launches import Launch, stage_of
from fibcore.elaborate.python.values import Ext, Tensor
from fibcore.model.tree import Unknown

ROWS = Unknown("rows")
X = Tensor((ROWS, 8), Ext("torch.bfloat16"))


class Kernels(Environment):
    """Functions of `fast`, and those of `made` that begin with `kernel`, are kernels."""

    def is_launch(self, name: str) -> bool:
        return name.startswith(("fast.", "made.kernel", "torch.Tensor.argmax"))

    def stage(self, test: ast.expr, *, holds: bool) -> str:
        return ("first" if holds else "second") if ast.unparse(test) == "x.first" else ""


def followed(plain: Any, text: str, *given: Any, steps: int = 10_000) -> tuple[list[Launch], Any]:
    """What `f(x)` launches, and why it was left."""
    plain.write("made.py", f"import fast, foreign, torch\n{text}")
    ev = Evaluator(ModuleIndex(plain.root), Kernels())
    with ev.launches.following(steps) as (found, lost):
        ev.call("made", "f", *(given or (X,)))
    return found, lost


def names(found: list[Launch]) -> list[str]:
    return [launch.function for launch in found]


def test_functions_of_other_packages_and_of_the_source(plain: Any) -> None:
    found, lost = followed(
        plain,
        "def kernel(x):\n    fast.inner(x)\ndef helper(x):\n    kernel(x)\n"
        "def f(x):\n    fast.norm(x, eps=1e-6)\n    helper(x)\n    foreign.norm(x)\n",
    )
    assert (names(found), lost) == (["fast.norm", "made.kernel"], [])
    first, second = found
    assert (first.args, first.kwargs) == ((X,), {"eps": 1e-6})
    assert first.callers == ("made.f",)
    assert second.callers == ("made.f", "made.helper")
    assert str(second.place) == "made.py:5"
    assert [first.possible, second.possible] == [False, False]


def test_a_kernel_on_a_grid(plain: Any) -> None:
    found, _ = followed(
        plain, "def triton(p, n):\n    fast.load(p)\ndef f(x):\n    triton[(4,)](x, 3)\n"
    )
    ((launch),) = found
    assert (launch.function, launch.args) == ("made.triton", (X, 3))


def test_methods_of_tensors(plain: Any) -> None:
    found, _ = followed(
        plain, "def f(x):\n    x.argmax(-1)\n    foreign.g(x).argmax(1)\n    x.sum()\n"
    )
    assert names(found) == ["torch.Tensor.argmax"] * 2


def test_both_sides_of_an_undecided_branch(plain: Any) -> None:
    found, _ = followed(
        plain,
        "def f(x):\n    if foreign.flag():\n        fast.a(x)\n    else:\n        fast.b(x)\n"
        "    fast.c(x)\n",
    )
    assert names(found) == ["fast.a", "fast.b", "fast.c"]
    assert [launch.possible for launch in found] == [True, True, False]
    assert [[str(c) for c in launch.conditions] for launch in found] == [
        ["(foreign.flag())"],
        ["not (foreign.flag())"],
        [],
    ]
    assert str(found[0].conditions[0].place) == "made.py:3"


def test_behind_a_return_that_may_be_taken(plain: Any) -> None:
    found, _ = followed(
        plain, "def f(x):\n    if foreign.flag():\n        return x\n    fast.a(x)\n    return x\n"
    )
    assert [launch.possible for launch in found] == [True]


def test_a_decided_branch_has_one_side(plain: Any) -> None:
    found, _ = followed(
        plain,
        "def f(x):\n    if x.shape[-1] % 8 == 0 and x.dtype == torch.bfloat16:\n"
        "        fast.a(x)\n    else:\n        fast.b(x)\n",
    )
    assert [(launch.function, launch.possible) for launch in found] == [("fast.a", False)]


SHAPES = {
    "x.view(-1, 8)": (ROWS, 8),
    "x.view(-1, 4)": (None, 4),
    "x.reshape((3, 8))": (3, 8),
    "x.unsqueeze(0)": (1, ROWS, 8),
    "x.unsqueeze(-1)": (ROWS, 8, 1),
    "x.new_empty(2, 3)": (2, 3),
    "x.new_zeros((2, x.shape[1] // 4))": (2, 2),
    "torch.empty((x.shape[0], 5))": (ROWS, 5),
    "x.float()": (ROWS, 8),
    "x.new_empty(2, 3).view(-1)": (6,),
    "x[1:5]": (None, 8),
    "x[:, 2:]": (ROWS, 6),
    "x[..., :2]": (ROWS, 2),
    "x[0]": (8,),
    "x[:, None]": (ROWS, 1, 8),
    "x[foreign.a:foreign.b]": (None, 8),
}


@pytest.mark.parametrize("expression", SHAPES)
def test_shapes_of_arguments(plain: Any, expression: str) -> None:
    found, _ = followed(plain, f"def f(x):\n    fast.a({expression})\n")
    (tensor,) = found[0].args
    expected = SHAPES[expression]
    assert len(tensor.shape) == len(expected)
    for size, wanted in zip(tensor.shape, expected, strict=True):
        assert isinstance(size, Unknown) if wanted is None else size == wanted


DTYPES = {
    "x": "torch.bfloat16",
    "x.float()": "torch.float32",
    "x.to(torch.float16)": "torch.float16",
    "x.to(dtype=torch.float16)": "torch.float16",
    "x.view(torch.int8)": "torch.int8",
    "x.new_empty(2, dtype=torch.int32)": "torch.int32",
    "x.to(x.device)": None,
}


@pytest.mark.parametrize("expression", DTYPES)
def test_dtypes_of_arguments(plain: Any, expression: str) -> None:
    found, _ = followed(plain, f"def f(x):\n    fast.a({expression})\n")
    dtype = found[0].args[0].dtype
    assert (None if dtype is None else dtype.name) == DTYPES[expression]


def test_what_is_written_is_taken_back(plain: Any) -> None:
    plain.write("made.py", "import fast\nSEEN = []\ndef f(x):\n    SEEN.append(x)\n    fast.a(x)\n")
    ev = Evaluator(ModuleIndex(plain.root), Kernels())
    with ev.launches.following(10_000) as (found, _):
        ev.call("made", "f", X)
    assert names(found) == ["fast.a"]
    assert ev.value("made", "SEEN") == []
    assert not ev.launches.active
    assert not ev.mode.forward


def test_an_exception_ends_it_and_is_named(plain: Any) -> None:
    found, lost = followed(
        plain, "def f(x):\n    fast.a(x)\n    raise ValueError('no such scale')\n    fast.b(x)\n"
    )
    assert names(found) == ["fast.a"]
    assert [(why.reason, str(why.place)) for why in lost] == [
        ("ValueError: no such scale", "made.py:4")
    ]


def test_too_many_steps_end_it_and_are_named(plain: Any) -> None:
    found, lost = followed(
        plain, "def f(x):\n    fast.a(x)\n    while True:\n        x = x + 1\n", steps=500
    )
    assert names(found) == ["fast.a"]
    assert "steps" in lost[0].reason


def test_a_plain_environment_has_no_kernels(plain: Any) -> None:
    plain.write("made.py", "import fast\ndef f(x):\n    fast.a(x)\n")
    with plain.evaluator.launches.following(1000) as (found, _):
        plain.evaluator.call("made", "f", X)
    assert found == []


def test_branches_that_ask_for_a_stage(plain: Any) -> None:
    found, _ = followed(
        plain,
        "def f(x):\n    if x.other:\n        if x.first:\n            fast.one(x)\n"
        "        else:\n            fast.two(x)\n    fast.three(x)\n",
        Unknown("x"),
    )
    stages = {launch.function: stage_of(launch.conditions) for launch in found}
    assert stages == {"fast.one": "first", "fast.two": "second", "fast.three": ""}
