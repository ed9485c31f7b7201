"""Rendering: constants of a real file are set, everything else stays as it is."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcore.errors import FibcoreError
from fibcore.model.tree import with_origins
from fibcore.ops.authoring.rendering import joined, render, select

SOURCE = '''\
"""Größe: HEADS = 3 in words."""
import torch

HEADS = 32  # heads of a rank
EPS: float = 1e-05
SHAPE = (
    1,
    2,
)
äöü = 1; NAME = "größe"; LAST = None


def run(x):
    HEADS_INSIDE = HEADS
    EPS = 3
    return x * EPS
'''


def test_values_are_replaced_and_nothing_else() -> None:
    constants = {"HEADS": 8, "EPS": 1e-6, "SHAPE": (3, 4), "NAME": "kleine größe", "LAST": True}
    expected = (
        SOURCE.replace("HEADS = 32", "HEADS = 8")
        .replace("1e-05", "1e-06")
        .replace("(\n    1,\n    2,\n)", "(3, 4)")
        .replace('"größe"', "'kleine größe'")
        .replace("None", "True")
    )
    assert render(SOURCE, constants) == expected


def test_a_file_and_its_text_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "reference.py"
    path.write_text(SOURCE, encoding="utf-8")
    assert render(path, {"HEADS": 8}) == render(SOURCE, {"HEADS": 8})


def test_without_constants_nothing_changes() -> None:
    assert render(SOURCE, {}) == SOURCE


def test_values_that_remember_their_origin_become_plain() -> None:
    origins = frozenset({"config:n"})
    constants = {"HEADS": with_origins(8, origins), "NAME": with_origins("x", origins)}
    text = render(SOURCE, constants)
    assert "HEADS = 8  #" in text
    assert "NAME = 'x';" in text


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_stay(end: str) -> None:
    text = f"A = 1{end}# a form feed \x0c and a separator \u2028 end no line{end}B = 2{end}"
    expected = text.replace("B = 2", "B = 5")
    assert render(text, {"B": 5}) == expected


@pytest.mark.parametrize(
    ("constants", "found"),
    [
        ({"MISSING": 1, "HEADS": 2}, "MISSING"),
        ({"HEADS_INSIDE": 1}, "HEADS_INSIDE"),
        ({"torch": 1}, "torch"),
    ],
)
def test_a_name_that_is_not_at_the_top_is_an_error(constants: dict[str, Any], found: str) -> None:
    with pytest.raises(FibcoreError, match="lacks constants") as caught:
        render(SOURCE, constants)
    assert found in str(caught.value.expected)


def test_a_name_that_is_assigned_twice_is_an_error() -> None:
    with pytest.raises(FibcoreError, match="twice"):
        render("A = 1\nA = 2\n", {"A": 3})


@pytest.mark.parametrize(
    "value", [float("inf"), float("nan"), [1], {1: 2}, object(), (1, float("inf")), b"x", 1j]
)
def test_values_that_source_cannot_state_are_refused(value: object) -> None:
    with pytest.raises(FibcoreError, match="plain value") as caught:
        render(SOURCE, {"HEADS": value})
    assert caught.value.where == "HEADS"


def test_a_numpy_float_becomes_plain() -> None:
    """NumPy 2 would write `np.float64(1.0)`, which the emitted file could not read."""
    numpy = pytest.importorskip("numpy", reason="about NumPy's numbers")
    assert "EPS: float = 1.0\n" in render(SOURCE, {"EPS": numpy.float64(1.0)})
    assert "SHAPE = (2.0,)\n" in render(SOURCE, {"SHAPE": (numpy.float64(2.0),)})


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda values: st.lists(values, max_size=3).map(tuple),
    max_leaves=4,
)


@settings(deadline=None)
@given(PLAIN, PLAIN, PLAIN)
def test_what_is_set_is_what_the_module_has(one: object, two: object, three: object) -> None:
    text = render("A = 1; B = (\n2, 3); C: object = 'é'\n", {"A": one, "B": two, "C": three})
    found = {
        ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target): node.value
        for node in ast.parse(text).body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
    }
    values = {name: ast.literal_eval(value) for name, value in found.items() if value is not None}
    assert values == {"A": one, "B": two, "C": three}


def test_select_takes_alternatives_out_of_comments() -> None:
    text = "f(\n    pages,  # only: pages\n    # except: pages: rows,\n)\n"
    assert select(text, ["pages"], ["pages"]) == "f(\n    pages,\n)\n"
    assert select(text, [], ["pages"]) == "f(\n    rows,\n)\n"


BASE = """\
import torch

SIZE = 4


def first(x):
    return x + 1  # only: plain
    # only: other: return x + 2


# Twice.
def second(x):
    return first(x) * 2


@torch.no_grad()
def run(x):
    return second(x) * SIZE
"""
OTHER = """\
import torch

from op.references.base import IMPORTED

SIZE = 8


def second(x):
    return first(x) * 3


def run(x):
    return second(x) * SIZE
"""


def write(folder: Path, imported: str, other: str = OTHER) -> Path:
    references = folder / "references"
    references.mkdir()
    (references / "base.py").write_text(BASE)
    (references / "other.py").write_text(other.replace("IMPORTED", imported))
    return references


def test_what_is_imported_from_a_neighbour_takes_the_place_of_the_import(tmp_path: Path) -> None:
    references = write(tmp_path, "first")
    assert joined(references, "base.py") == BASE
    shared = BASE[BASE.index("def first") : BASE.index("def second")]
    expected = OTHER.replace("from op.references.base import IMPORTED\n\n", "")
    assert joined(references, "other.py") == expected.replace("def second", f"{shared}def second")


def test_several_functions_come_in_the_order_of_the_neighbour(tmp_path: Path) -> None:
    own = OTHER[: OTHER.index("def second")] + OTHER[OTHER.index("def run") :]
    references = write(tmp_path, "second, first", own)
    found = joined(references, "other.py")
    assert [node.name for node in ast.parse(found).body if isinstance(node, ast.FunctionDef)] == [
        "first",
        "second",
        "run",
    ]
    assert "import first" not in found


@pytest.mark.parametrize("name", ["third", "run"])
def test_what_cannot_be_put_in_is_an_error(tmp_path: Path, name: str) -> None:
    last = OTHER[: OTHER.index("def run")]
    with pytest.raises(FibcoreError, match="imports what cannot be put in"):
        joined(write(tmp_path, name, last), "other.py")
