"""What other modules register in a container when they are imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate.python.areas import words_in
from fibcore.elaborate.python.index import ModuleIndex
from fibcore.elaborate.python.values import Func
from fibcore.model.tree import Alternatives

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

    @classmethod
    def keys(cls):
        return sorted(map(str, cls._functions))


def registered(kind, name):
    def decorator(function):
        Pool.register(kind, name, function)
        return function

    return decorator


find, keys = Pool.find, Pool.keys
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


def keys():
    return sorted(map(str, FUNCTIONS))
"""
LIST = """
ALL = [("own", 1)]


def register_function(kind, name):
    def decorator(function):
        ALL.append(((kind, name), function))
        return function
    return decorator


def registered(kind, name):
    return register_function(kind, name)


def find(kind, name):
    for key, function in ALL:
        if key == (kind, name):
            return function
    return None


def keys():
    return sorted(str(key) for key, _ in ALL)
"""
CALLER = """
from pool.base import registered


@registered("none", "one")
def f(x):
    return x
"""
IDS = ["method", "function", "list"]
each = pytest.mark.parametrize("registry", [METHOD, FUNCTION, LIST], ids=IDS)


def asked(plain: Any, registry: str, body: str, *, before: str = "", caller: str = CALLER) -> Any:
    """What a constructor `body` finds in a registry that `pool.caller` registers something in."""
    plain.write("pool/__init__.py", "")
    plain.write("pool/base.py", registry)
    plain.write("pool/caller.py", caller)
    found: Mapping[str, Any] = plain.attributes(
        body, f"from pool.base import find, keys, registered\n{before}"
    )
    return found


@each
def test_what_an_imported_module_registers_is_found(plain: Any, registry: str) -> None:
    body = 'self.one, self.two = find("none", "one"), find("none", "two")\nself.keys = keys()'
    found = asked(plain, registry, body, before="import pool.caller")
    assert isinstance(found["one"], Func)
    assert found["one"].node.name == "f"
    assert found["two"] is None
    assert found["keys"] == ["('none', 'one')", "own"]


@each
@pytest.mark.parametrize(
    "before",
    ["from pool import caller", "from pool.caller import f", "import pool.caller as c"],
)
def test_it_does_not_matter_how_it_is_imported(plain: Any, registry: str, before: str) -> None:
    found = asked(plain, registry, 'self.one = find("none", "one")', before=before)
    assert isinstance(found["one"], Func)


def test_packages_around_an_imported_module_are_imported_before_it(plain: Any) -> None:
    plain.write("pool/inner/__init__.py", CALLER)
    plain.write("pool/inner/deep.py", "x = 1")
    caller, before = "", "from pool.inner.deep import x"
    found = asked(plain, METHOD, 'self.one = find("none", "one")', before=before, caller=caller)
    assert isinstance(found["one"], Func)


@pytest.mark.parametrize("registry", [METHOD, FUNCTION], ids=IDS[:2])
def test_what_a_module_registers_that_may_not_be_imported_may_be_there(
    plain: Any, registry: str
) -> None:
    body = 'self.one, self.two = find("none", "one"), find("none", "two")\nself.keys = keys()'
    found = asked(plain, registry, body)
    assert isinstance(found["one"], Alternatives)
    assert None in found["one"].values
    assert any(isinstance(value, Func) for value in found["one"].values)
    assert found["two"] is None  # nobody registers it
    assert found["keys"] not in (["own"], ["('none', 'one')", "own"])


def test_what_may_be_in_a_list_is_not_known(plain: Any) -> None:
    found = asked(plain, LIST, 'self.one, self.keys = find("none", "one"), keys()')
    assert not isinstance(found["one"], Func)
    assert found["one"] is not None
    assert found["keys"] not in (["own"], ["('none', 'one')", "own"])


@pytest.mark.parametrize("registry", [METHOD, FUNCTION], ids=IDS[:2])
def test_an_import_on_the_way_settles_it(plain: Any, registry: str) -> None:
    body = """\
    self.before = find("none", "one")
    from pool import caller
    self.after = find("none", "one")
    """
    found = asked(plain, registry, body)
    assert isinstance(found["before"], Alternatives)
    assert isinstance(found["after"], Func)


def test_an_import_that_may_not_happen_settles_nothing(plain: Any) -> None:
    body = """\
    self.before = find("none", "one")
    if foreign.is_there():
        import pool.caller
    self.after = find("none", "one")
    """
    found = asked(plain, METHOD, body)
    assert isinstance(found["after"], Alternatives)


@each
def test_what_is_registered_on_the_way_is_there(plain: Any, registry: str) -> None:
    body = 'registered("none", "two")(3)\nself.two = find("none", "two")'
    assert asked(plain, registry, body)["two"] == 3


@each
def test_while_a_module_is_imported_the_next_ones_are_not(plain: Any, registry: str) -> None:
    before = "EARLY = keys()\nimport pool.caller"
    found = asked(plain, registry, "self.early, self.late = EARLY, keys()", before=before)
    assert found["early"] == ["own"]
    assert found["late"] == ["('none', 'one')", "own"]


@each
def test_it_does_not_matter_on_which_way_it_was_read_first(plain: Any, registry: str) -> None:
    body = """\
    if foreign.is_there():
        self.keys = keys()
    self.one = find("none", "one")
    """
    found = asked(plain, registry, body, before="import pool.caller")
    assert isinstance(found["one"], Func)
    found = asked(plain, registry, body)
    assert found["one"] is not None
    assert not isinstance(found["one"], Func)


def test_no_file_is_looked_at_for_what_is_only_registered(
    plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: ModuleIndex, name: str) -> None:
        raise AssertionError(name)

    monkeypatch.setattr(ModuleIndex, "area", refuse)
    found = asked(plain, METHOD, "self.f = f", before="from pool.caller import f")
    assert isinstance(found["f"], Func)
    with pytest.raises(AssertionError, match=r"pool\.base"):
        asked(plain, METHOD, "self.keys = keys()")


@each
def test_imports_inside_of_functions_and_branches_show_nothing(plain: Any, registry: str) -> None:
    before = "def load():\n    import pool.caller\nif foreign.is_there():\n    import pool.caller"
    found = asked(plain, registry, 'self.one = find("none", "one")', before=before)
    assert not isinstance(found["one"], Func)
    assert found["one"] is not None


def test_calls_in_a_function_of_another_module_are_not_made_at_import(plain: Any) -> None:
    caller = "from pool.base import registered\ndef load():\n    registered('none', 'one')(1)\n"
    body = 'self.one, self.keys = find("none", "one"), keys()'
    found = asked(plain, METHOD, body, caller=caller, before="import pool.caller")
    assert (found["one"], found["keys"]) == (None, ["own"])


def test_a_method_of_the_same_name_is_none_of_the_class(plain: Any) -> None:
    caller = "import foreign\nOther = foreign.Other\nOther.register('none', 'one', broken)\n"
    body = 'self.one, self.keys = find("none", "one"), keys()'
    found = asked(plain, METHOD, body, caller=caller)
    assert (found["one"], found["keys"]) == (None, ["own"])


def test_a_table_that_is_filled_when_it_is_asked_is_no_registry(plain: Any) -> None:
    table = METHOD.replace("def register(", "def enter(").replace("Pool.register", "Pool.enter")
    body = 'self.one, self.keys = find("none", "one"), keys()'
    found = asked(plain, table.replace("def registered", "def entered"), body)
    assert (found["one"], found["keys"]) == (None, ["own"])


def test_what_fails_on_import_registers_nothing_more(plain: Any) -> None:
    caller = CALLER + "\n\n@registered('none', broken)\ndef g(x):\n    return x\n"
    found = asked(plain, FUNCTION, "self.keys = keys()", before="import pool.caller", caller=caller)
    assert "('none', 'one')" in found["keys"]


@pytest.mark.parametrize("change", ["added", "changed", "removed"])
def test_an_index_is_of_the_files_as_they_were(plain: Any, tmp_path: Path, change: str) -> None:
    plain.write("pool/__init__.py", "")
    plain.write("pool/base.py", METHOD)
    plain.write("pool/caller.py", CALLER)
    plain.write("pool/deep/other.py", "x = 1")
    index = ModuleIndex(tmp_path)
    assert index.area("pool.base") is not None
    assert index.is_current()
    if change == "added":
        plain.write("pool/deep/caller.py", CALLER)
    elif change == "changed":
        plain.write("pool/deep/other.py", "from pool.base import registered")
    else:
        (tmp_path / "pool" / "deep" / "other.py").unlink()
    assert not index.is_current()


def test_a_module_of_no_package_has_no_files_around_it(tmp_path: Path) -> None:
    assert ModuleIndex(tmp_path).area("made") is None


def test_words_are_whole_names() -> None:
    text = "@_register_x2(1)\nregistered = é_register + a.deregister\n# Registered"
    assert words_in(text) == {"_register_x2", "registered", "é_register", "deregister"}
