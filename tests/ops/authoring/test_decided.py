"""Arguments that have to be known."""

from __future__ import annotations

import pytest

from fibcore.model.tree import Alternatives, Unknown
from fibcore.plugin import UndecidedError, decided, decided_size, possible_values


@pytest.mark.parametrize("value", [0, None, False, 4096, "silu", (1, 2)])
def test_what_is_known_is_itself(value: object) -> None:
    assert decided(value, "size") is value


def test_what_is_not_known_is_named_with_its_reason() -> None:
    with pytest.raises(UndecidedError, match=r"^eps is unknown \(a flag\)$"):
        decided(Unknown("a flag"), "eps")
    with pytest.raises(UndecidedError, match=r"^eps is one of 1, None$"):
        decided(Alternatives((1, None)), "eps")


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "8", None])
def test_a_size_is_a_positive_integer(value: object) -> None:
    assert decided_size(8, "size") == 8
    with pytest.raises(UndecidedError, match=r"^size is .*, not a positive number$"):
        decided_size(value, "size")


def test_possible_values_are_those_of_all_alternatives() -> None:
    assert possible_values(3) == [3]
    assert possible_values(Alternatives((1, Alternatives((None, 2))))) == [1, None, 2]
