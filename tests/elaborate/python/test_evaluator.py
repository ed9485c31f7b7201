"""The evaluator on plain source: no SGLang, no facts, a folder of .py files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate.python import evaluator
from fibcore.elaborate.python.environment import Environment
from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.index import ModuleIndex
from fibcore.elaborate.python.values import Class, Ext, Func, Native, Raised
from fibcore.model.tree import Alternatives, Unknown, origins_of, with_origins


def test_the_value_of_a_name(plain: Any) -> None:
    assert plain.value("def f(n):\n    return n * 2\n\nx = [f(i) for i in range(3)]\n") == [0, 2, 4]


def test_functions_are_called_with_values_from_outside(plain: Any) -> None:
    plain.write("shapes.py", "def area(width, *, height=2):\n    return width * height\n")
    assert plain.evaluator.call("shapes", "area", 3) == 6
    assert plain.evaluator.call("shapes", "area", 3, height=5) == 15


def test_classes_are_called_too(plain: Any) -> None:
    plain.write("point.py", "class Point:\n    def __init__(self, a):\n        self.a = a + 1\n")
    point = plain.evaluator.call("point", "Point", 4)
    assert point.attrs == {"a": 5}
    assert point.class_name == "Point"


def test_modules_and_packages_of_the_folder_are_imported(plain: Any) -> None:
    plain.write("base.py", "WIDTH = 3\n")
    plain.write("pack/__init__.py", "from .inner import TWICE\n")
    plain.write("pack/inner.py", "from base import WIDTH\nTWICE = WIDTH * 2\n")
    found = plain.value("import pack\nfrom pack.inner import TWICE\nx = (pack.TWICE, TWICE)\n")
    assert found == (6, 6)


def test_what_the_folder_does_not_hold_is_an_opaque_name(plain: Any) -> None:
    assert plain.value("import numpy as np\nx = np.float32\n") == Ext("numpy.float32")
    found = plain.value("import numpy\ny = numpy.linalg.norm(3)\n", "y")
    assert isinstance(found, Unknown)
    assert "numpy.linalg.norm" in found.reason


def test_no_such_module_or_name(plain: Any) -> None:
    plain.write("one.py", "V = 1\n")
    assert "no module two" in plain.evaluator.value("two", "V").reason
    assert "one has no W" in plain.evaluator.value("one", "W").reason


def test_an_exception_of_the_source_is_raised(plain: Any) -> None:
    plain.write("strict.py", "def f(n):\n    if n < 0:\n        raise ValueError('negative')\n")
    assert plain.evaluator.call("strict", "f", 1) is None
    with pytest.raises(Raised) as caught:
        plain.evaluator.call("strict", "f", -1)
    assert (caught.value.kind, caught.value.message) == ("ValueError", "negative")
    assert str(caught.value.place) == "strict.py:3"


def test_an_unknown_argument_takes_both_sides(plain: Any) -> None:
    plain.write("pick.py", "def f(flag):\n    return 1 if flag else 2\n")
    found = plain.evaluator.call("pick", "f", Unknown("asked later"))
    assert found == Alternatives((1, 2))


def test_numbers_remember_where_they_are_from(plain: Any) -> None:
    plain.write("size.py", "def f(n):\n    return max(n // 2, 1) * 3\n")
    found = plain.evaluator.call("size", "f", with_origins(8, frozenset(("given:n",))))
    assert (found, origins_of(found)) == (12, {"given:n"})


def test_kinds_of_values(plain: Any) -> None:
    text = "class C:\n    pass\ndef f():\n    pass\nx = (C, f, len)\n"
    assert [type(v) for v in plain.value(text)] == [Class, Func, Native]


class Facts(Environment):
    """Facts about a made-up machine."""

    record_bases = ("Settings",)

    def __init__(self) -> None:
        super().__init__()
        self.constants["machine.CORES"] = 8
        self.absent_packages.add("accelerator")

    def function(self, qualname: str, module: str) -> Any:
        """One function has an answer; others are followed."""
        return "fact" if qualname == "probe.name" else super().function(qualname, module)


def test_an_environment_answers_what_the_source_asks(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(
        "import machine\n"
        "from lib import Settings\n"
        "try:\n    import accelerator\nexcept ImportError:\n    accelerator = None\n"
        "def name():\n    return machine.ask()\n"
        "class Mine(Settings):\n    size: int = 4\n"
        "x = (machine.CORES, accelerator, name(), Mine(size=5).size)\n"
    )
    ev = Evaluator(ModuleIndex(tmp_path), Facts())
    assert ev.value("probe", "x") == (8, None, "fact", 5)


def test_two_evaluators_share_nothing(plain: Any, tmp_path: Path) -> None:
    text = "SEEN = []\ndef f(n):\n    SEEN.append(n)\n    return list(SEEN)\n"
    plain.write("state.py", text)
    other = Evaluator(ModuleIndex(tmp_path))
    assert plain.evaluator.call("state", "f", 1) == [1]
    assert other.call("state", "f", 2) == [2]
    assert plain.evaluator.call("state", "f", 3) == [1, 3]


def test_it_knows_of_no_program_that_it_is_used_on() -> None:
    folder = Path(evaluator.__file__).parent
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8").lower()
        assert not [word for word in ("sglang", "transformers", "srt.") if word in text], path
