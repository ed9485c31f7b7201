"""Right and wrong kernels of grouped query attention."""

from __future__ import annotations

from typing import Any

import attrs

from fibcore_op_gqa import fibcore_implementations


def test_implementations_of_others_are_not_guessed(definitions: Any) -> None:
    (made, *_) = definitions(4, 2, 8, (4,)).values()
    foreign = attrs.evolve(made, name=f"{made.name}_alibi")
    assert fibcore_implementations(foreign) == ()


def test_a_window_and_a_cap_have_mistakes_of_their_own(definitions: Any) -> None:
    for made in definitions(4, 2, 8, (4,), window=6, cap=3.0).values():
        names = {one.name for one in fibcore_implementations(made)}
        assert {"the window is one key too large", "the cap is left out"} <= names, made.name


def test_sinks_chunks_and_a_missing_mask_have_mistakes_of_their_own(definitions: Any) -> None:
    for extras, names in (
        ({"sink": True}, {"the sinks are left out", "the sinks are those of the next head"}),
        ({"chunk": 6}, {"the chunks are a window", "chunks are one key too small"}),
        ({"full": True}, {"a causal mask"}),
    ):
        for made in definitions(4, 2, 8, (4,), **extras).values():
            assert names <= {one.name for one in fibcore_implementations(made)}, made.name
