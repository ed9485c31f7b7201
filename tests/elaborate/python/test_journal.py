"""Writes of the sides of a branch: undone, and merged."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.elaborate.python.journal import Writes
from fibcore.elaborate.python.values import ABSENT, Env, ModuleSpace, Raised
from fibcore.model.tree import Alternatives, Unknown, UnknownKind

WHY = Unknown("which side is taken")


@pytest.fixture
def env(plain: Any) -> Env:
    plain.write("made.py", "")
    space = ModuleSpace(plain.evaluator.index.module("made"))
    return space.env


def test_both_sides_start_from_the_same_state(env: Env) -> None:
    writes, held, seen = Writes(), {"a": 1}, []

    def side(value: int) -> Any:
        def run() -> None:
            seen.append(held["a"])
            writes.put(held, "a", value)

        return run

    writes.either([side(2), side(3)], env, WHY)
    assert seen == [1, 1]
    assert held == {"a": Alternatives((2, 3))}


def test_a_side_that_raises_leaves_nothing(env: Env) -> None:
    writes, held = Writes(), {"a": 1}

    def raises() -> None:
        writes.put(held, "a", 2)
        raise Raised("ValueError", "no", None)

    writes.either([raises, lambda: writes.put(held, "b", 3)], env, WHY)
    assert held == {"a": 1, "b": 3}


def test_what_one_side_alone_appends_is_an_entry_of_unknown_existence(env: Env) -> None:
    writes, held = Writes(), [1]

    def appends() -> None:
        writes.changing(held)
        held.append(2)

    writes.either([appends, lambda: None], env, WHY)
    assert held[0] == 1
    assert [type(v) for v in held[1:]] == [Unknown]
    assert held[1].kind is UnknownKind.ENTRY  # type: ignore[attr-defined]


def test_what_one_side_alone_binds_may_be_absent(env: Env) -> None:
    writes: Writes = Writes()
    held: dict[str, Any] = {}
    writes.either([lambda: writes.put(held, "a", 1), lambda: None], env, WHY)
    assert held["a"] == Alternatives((1, ABSENT))


def test_what_is_written_outside_of_branches_stays(env: Env) -> None:
    writes: Writes = Writes()
    held: dict[str, Any] = {}

    def raises() -> None:
        with writes.outside_branches():
            writes.put(held, "module", 1)
        raise Raised("ValueError", "no", None)

    writes.either([raises, lambda: None], env, WHY)
    assert held == {"module": 1}


def test_returns_of_all_sides_are_merged(env: Env) -> None:
    writes = Writes()
    assert writes.either([lambda: ("return", 1), lambda: ("return", 2)], env, WHY) == (
        "return",
        Alternatives((1, 2)),
    )
    assert writes.either([lambda: ("return", 1), lambda: None], env, WHY) is None
    assert env.maybe == [1]


def test_rounds_end_where_the_next_one_would_begin_like_the_last_one(env: Env) -> None:
    writes, found, rounds = Writes(), [1], []

    def one_more() -> None:
        rounds.append(len(found))
        writes.changing(found)
        found.append(2)

    writes.repeat(one_more, env, WHY)
    # The second round shows that it goes on growing, the third one that nothing else comes of it.
    assert len(rounds) == 3
    (entry,) = found
    assert isinstance(entry, Unknown)
    assert entry.kind is UnknownKind.ENTRY
