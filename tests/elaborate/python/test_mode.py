"""How statements are taken: in a constructor, in a forward pass, and inside of a `try`."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.elaborate.python.mode import BUILDING, FORWARD, following, guarded
from fibcore.elaborate.python.values import Raised
from fibcore.model.tree import Unknown

SOURCE = """
def f():
    a = [][0]
    return 4

def g():
    try:
        a = [][0]
    except IndexError:
        return "caught"
    return 4
"""


KEY = frozenset(("KeyError",))


@pytest.mark.parametrize(
    ("mode", "loses"),
    [
        (BUILDING, False),
        (FORWARD, True),
        (guarded(FORWARD, KEY), True),
        (guarded(FORWARD, frozenset(("IndexError",))), False),
        (guarded(FORWARD, frozenset(("LookupError",))), False),
    ],
)
def test_where_statements_are_lost_alone(mode: Any, loses: bool) -> None:
    assert mode.loses(frozenset(("IndexError", "LookupError"))) is loses


def test_a_forward_pass_inside_of_a_try_stays_guarded() -> None:
    assert following(guarded(BUILDING, KEY), forward=True) == guarded(FORWARD, KEY)
    assert guarded(guarded(FORWARD, KEY), frozenset()) == guarded(FORWARD, KEY)
    assert following(FORWARD, forward=False) == BUILDING


def test_a_statement_that_raises_in_a_forward_pass_is_lost_alone(plain: Any) -> None:
    plain.write("made.py", SOURCE)
    ev = plain.evaluator
    with pytest.raises(Raised, match="IndexError"):
        ev.call("made", "f")
    with ev.within(FORWARD):
        assert ev.call("made", "f") == 4
        assert ev.call("made", "g") == "caught"
    assert ["IndexError" in note.reason for note in ev.notes] == [True]
    assert ev.mode == BUILDING


def test_a_statement_is_lost_alone_inside_of_a_try_that_does_not_catch_it(plain: Any) -> None:
    plain.write(
        "made.py",
        """
        def f():
            log = []
            try:
                try:
                    a = [][0]
                    log.append("body")
                except KeyError:
                    log.append("caught")
                finally:
                    log.append("finally")
                log.append("after")
            finally:
                log.append("end")
            return log
        """,
    )
    with plain.evaluator.within(FORWARD):
        assert plain.evaluator.call("made", "f") == ["body", "finally", "after", "end"]


def test_a_tolerant_call_loses_what_the_source_raises_itself(plain: Any) -> None:
    plain.write("made.py", "def f(o):\n    o['a'] = 1\n    raise ValueError()\n    o['b'] = 2\n")
    ev = plain.evaluator
    settled: dict[str, Any] = {}
    func = ev.value("made", "f")
    ev.calls.call_function(func, [settled], {}, func.place, tolerant=True)
    assert settled == {"a": 1, "b": 2}


def test_what_is_lost_is_unknown_with_the_reason(plain: Any) -> None:
    plain.write("made.py", "def f():\n    a = [][0]\n    return a\n")
    with plain.evaluator.within(FORWARD):
        found = plain.evaluator.call("made", "f")
    assert isinstance(found, Unknown)
    assert "IndexError" in found.reason
