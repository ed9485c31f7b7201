"""Statements of class bodies that wait until somebody reads what they bind."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.index import ModuleIndex, SourceModule
from fibcore.elaborate.python.quiet import put_off

SETTING = '''
class Setting:
    """A setting."""

    open = True

    def __init__(self, default, secret=False):
        self.default = default
        self.secret = secret

    def __set_name__(self, owner, name):
        assert Setting.open, "too late"
        self.name = name

    def get(self):
        return (self.name, self.default)


class Flag(Setting):
    pass


class Old(Flag):
    def __init__(self, default, former):
        super().__init__(default, secret=True)
        self.former = former
'''
MANY = "\n".join(f"    S{n} = Flag({n})" for n in range(20))


def waiting(text: str) -> set[str]:
    module = SourceModule("m", Path("m.py"), "m.py", is_package=False)
    module.__dict__["text"] = text
    (node,) = (s.nodes[0] for s in module.binding("All"))
    assert isinstance(node, ast.ClassDef)
    return set(put_off(node.body, module))


def results(text: str, folder: Path) -> tuple[Any, Any]:
    """What `run()` gives in Python, and here."""
    folder.joinpath("m.py").write_text(text)
    scope: dict[str, Any] = {"__name__": "m"}
    exec(compile(text, "m.py", "exec"), scope)  # noqa: S102
    return scope["run"](), Evaluator(ModuleIndex(folder)).call("m", "run")


def test_a_registry_is_read_setting_by_setting(tmp_path: Path) -> None:
    text = f"""{SETTING}

class All:
{MANY}
    LATE = Old(-1, "FORMER")
    SIZE = len("text")

alls = All()
Setting.open = False

def run():
    closed = Setting.open  # which runs the statement that closes it
    return (closed, alls.S3.get(), alls.LATE.get(), alls.LATE.former, All.SIZE, alls.S7.secret)
"""
    assert len(waiting(text)) == 21
    python, mine = results(text, tmp_path)
    assert mine == python


def test_all_settings_in_the_order_of_the_body(tmp_path: Path) -> None:
    text = f"""{SETTING}
class All:
    FIRST = 1
{MANY}
    LAST = 2

Setting.open = False

def run():
    return [n for n, s in All.__dict__.items() if not n.startswith("__")] + [
        s.get() for s in All.__dict__.values() if isinstance(s, Setting)]
"""
    assert len(waiting(text)) == 20
    python, mine = results(text, tmp_path)
    assert mine == python


def test_a_class_that_is_changed_when_the_module_runs_on(tmp_path: Path) -> None:
    text = f"""{SETTING.replace("self.name = name", "self.name = name; self.mark = Setting.open")}
class All:
{MANY}

def close():
    Setting.open = 0

def run():
    Setting.open = 7
    first = All.S1.mark
    close()
    return first, All.S2.mark, Setting.open, All.S3.get()
"""
    assert len(waiting(text)) == 20
    python, mine = results(text, tmp_path)
    assert mine == python


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.secret = secret", "self.secret = secret; SEEN.append(default)"),
        ("self.default = default", "self.default = next(COUNT)"),
        ("    open = True", "    open = True\n    seen = []"),
        ("    open = True", "    def __new__(cls, *a): return object.__new__(cls)"),
        ("class Flag(Setting)", "class Flag(Setting, Other)"),
        ("class Flag", "@decorated\nclass Flag"),
        ("self.name = name", "self.name = name; owner.COUNT = name"),
        ("self.name = name", "self.name = str(name)"),
        ("secret=False", "secret=SEEN"),
    ],
)
def test_constructors_that_somebody_may_hear_of(old: str, new: str) -> None:
    assert SETTING.count(old)
    text = SETTING.replace(old, new, 1)
    assert waiting(f"{SETTING}\nclass All:\n{MANY}\n")
    assert not waiting(f"{text}\nclass All:\n{MANY}\n")


@pytest.mark.parametrize(
    "more",
    [
        "    B = [S1]",  # reads one in the body
        "    B = Flag(S1)",
        "    S1 = 1",  # binds it again
        "    B = sorted(locals())",
        "    for S1 in (): pass",
        "    del S1",
    ],
)
def test_bodies_that_look_at_what_they_bind(more: str) -> None:
    assert not waiting(f"{SETTING}\nclass All:\n{MANY}\n{more}\n")
