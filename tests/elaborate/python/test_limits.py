"""Values that would take more memory than a model's numbers do are not computed."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.model.tree import Alternatives, Unknown


@pytest.mark.parametrize(
    "body",
    [
        "self.x = 10 ** 10 ** 10",
        "self.x = 1 << 10 ** 9",
        "self.x = [0] * 10 ** 12",
        "self.x = 'a' * 10 ** 12",
        "self.x = pow(10, 10 ** 10)",
        "self.x = bytes(10 ** 12)",
        "self.x = 'a'.ljust(10 ** 12)",
        "self.x = '%1000000000000d' % 3",
        "self.x = '{:>1000000000000}'.format(3)",
        "self.x = f'{3:>1000000000000}'",
        "self.x = list(range(10 ** 12))",
    ],
)
def test_values_that_would_not_fit_into_memory_are_not_computed(plain: Any, body: str) -> None:
    assert isinstance(plain.attributes(body)["x"], Unknown)


def test_looping_over_too_much_is_not_known(plain: Any) -> None:
    body = "n = 0\nfor i in range(10**12):\n    n = i\nself.x = n"
    assert isinstance(plain.attributes(body)["x"], (Unknown, Alternatives))
