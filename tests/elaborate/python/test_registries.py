"""What other modules register in a dict is not known: they may have been imported, or not."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.model.tree import Unknown

METHOD = """
class Pool:
    _functions: dict = {"own": 1}

    @classmethod
    def register(cls, kind, name, function):
        if (kind, name) in cls._functions:
            raise ValueError("already")
        cls._functions[kind, name] = function

    @classmethod
    def find(cls, kind, name):
        return cls._functions.get((kind, name))


def registered(kind, name):
    def decorator(function):
        Pool.register(kind, name, function)
        return function

    return decorator


find, table = Pool.find, Pool._functions
"""
FUNCTION = """
FUNCTIONS = {"own": 1}


def register_function(
    kind,
    name,
):
    def decorator(function):
        FUNCTIONS[kind, name] = function
        return function
    return decorator


def registered(kind, name):
    return register_function(kind, name)


def find(kind, name):
    return FUNCTIONS.get((kind, name))


table = FUNCTIONS
"""
CACHE = """
FUNCTIONS = {"own": 1}


def register_nothing(name):
    return name


def find(kind, name):
    if (kind, name) not in FUNCTIONS:
        FUNCTIONS[kind, name] = 2
    return FUNCTIONS[kind, name]


table = FUNCTIONS
"""
OTHER = """
from sglang.srt.pool.base import registered


@registered("none", "one")
def f(x):
    return x
"""
RUNNER = """
from sglang.srt.pool.base import find, table


class Runner:
    def __init__(self, name):
        self.function = find("none", name)
        self.own = table["own"]
        if self.function is None:
            raise NotImplementedError(f"no {name}")
"""


@pytest.mark.parametrize("registry", [METHOD, FUNCTION], ids=["method", "function"])
def test_what_is_not_found_may_have_been_registered(made: Any, registry: str) -> None:
    made.write("srt/pool/base.py", registry)
    made.write("srt/pool/other.py", OTHER)
    made.write("srt/pool/runner.py", RUNNER)
    found = made.attributes(
        'runner = Runner("one")\nself.function = runner.function\nself.own = runner.own',
        "from sglang.srt.pool.runner import Runner",
    )
    assert isinstance(found["function"], Unknown)
    assert found["own"] == 1


@pytest.mark.parametrize("registry", [METHOD, FUNCTION], ids=["method", "function"])
def test_what_was_registered_is_found(made: Any, registry: str) -> None:
    made.write("srt/pool/base.py", registry)
    found = made.attributes(
        'registered("none", "two")(3)\nself.two = find("none", "two")',
        "from sglang.srt.pool.base import find, registered",
    )
    assert found["two"] == 3


@pytest.mark.parametrize("registry", [METHOD, FUNCTION], ids=["method", "function"])
def test_what_no_other_file_registers_is_not_there(made: Any, registry: str) -> None:
    made.write("srt/pool/base.py", registry)
    found = made.attributes(
        'self.three, self.all = find("none", "three"), sorted(table)',
        "from sglang.srt.pool.base import find, table",
    )
    assert (found["three"], found["all"]) == (None, ["own"])


def test_a_table_that_is_filled_when_it_is_asked_is_none(made: Any) -> None:
    made.write("srt/pool/base.py", CACHE)
    found = made.attributes(
        'self.one, self.all = find("none", "one"), sorted(map(str, table))',
        "from sglang.srt.pool.base import find, table",
    )
    assert (found["one"], found["all"]) == (2, ["('none', 'one')", "own"])
