"""Seals of generated files: who wrote them, and whether they were edited."""

from __future__ import annotations

from fibcore.dataset.seals import State, seal, state_of


def test_hash_tells_edits_but_not_line_ends() -> None:
    text = seal("x = 1\n")
    assert state_of(text) is State.GENERATED
    assert state_of(text.replace("\n", "\r\n")) is State.GENERATED
    assert state_of(text.replace("x = 1", "x = 2")) is State.EDITED
    assert state_of(text + "\n") is State.EDITED
    assert state_of("x = 1\n") is State.FOREIGN
