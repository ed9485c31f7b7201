"""The keywords of work in processes."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.errors import UsageError
from fibcore.processes.limits import Limits, check_limits
from fibcore.processes.sizes import GIB


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"jobs": 0}, "--jobs"),
        ({"memory_bytes": 0}, "--memory-limit"),
        ({"memory_bytes": "much"}, "--memory-limit"),
        ({"timeout_s": 0.0}, "--timeout"),
        ({"timeout_s": -1.0}, "--timeout"),
        ({"timeout_s": float("nan")}, "--timeout"),
        ({"timeout_s": float("inf")}, "--timeout"),
        ({"jobs": 2, "dask": "127.0.0.1:8786"}, "--jobs"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(given: dict[str, Any], option: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_limits(**given)
    assert caught.value.where == option


def test_limits_of_a_task() -> None:
    assert check_limits(jobs=3, timeout_s=2.5) == Limits(2.5, None)
    assert check_limits(timeout_s=1.0, memory_bytes="2G", dask="host:1") == Limits(1.0, 2 * GIB)
    assert check_limits(memory_bytes=4096).memory_bytes == 4096
