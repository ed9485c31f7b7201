"""Following constructors of config classes: what becomes a step, and what is given up."""

from __future__ import annotations

import ast
import textwrap

import pytest

from fibcore.elaborate.transformers.summaries.lineage import Lineage
from fibcore.elaborate.transformers.summaries.summarise import summarise
from fibcore.elaborate.transformers.summaries.summary import ClassSummary, Expression


def summary_of(body: str, head: str = "") -> ClassSummary:
    """The summary of a class whose `__init__` has this body."""
    text = (
        f"{head}\nclass MadeConfig(PretrainedConfig):\n"
        "    sub_configs = {'inner': InnerConfig}\n"
        "    def __init__(self, a=1, b=2, **kwargs):\n"
    )
    tree = ast.parse(text + textwrap.indent(body, " " * 8))
    (cls,) = (n for n in tree.body if isinstance(n, ast.ClassDef))
    return summarise(Lineage([(cls, tree)]))


def steps(body: str, head: str = "") -> list[tuple[str, str, str | None]]:
    """Target, expression and condition of the steps of a constructor, besides the base's."""
    found = summary_of(body, head).steps
    return [(s.target, s.expression, s.condition) for s in found if not s.is_base]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("self.a = a", []),  # the key as it is
        ("self.c = a + b", [("c", "a + b", None)]),
        ("x = a\nself.c = x * 2", [("c", "a * 2", None)]),
        ("self.c = [a for i in range(b)]", [("c", "[a for i in range(b)]", None)]),
        ("self.c = SIZE", [("c", "7", None)]),
        ("self.c = kwargs.get('d', b)", [("c", "given.get('d', b)", None)]),
        ("self.c = getattr(self, 'd', b)", [("c", "self_.get('d', b)", None)]),
        ("self.inner = InnerConfig(**a)", [("inner", "InnerConfig(**a)", None)]),
        ("self.inner.d = a", [("inner.d", "a", None)]),
        ("self.c = a\nself.c += b", [("c", "a", None), ("c", "c + b", None)]),
        ("self.c = {}\nself.c['d'] = a", [("c", "{}", None), ("c", "{**c, 'd': a}", None)]),
        (
            "kwargs.setdefault('d', a)\nsuper().__init__(**kwargs)",
            [("d", "given.get('d', a)", None)],
        ),
        ("super().__init__(d=a, **kwargs)", [("d", "a", None)]),
        (
            "if a is None:\n    self.c = b\nelse:\n    self.c = a",
            [("_if0", "a is None", None), ("c", "b", "_if0"), ("c", "a", "not _if0")],
        ),
        (
            "if a:\n    return\nself.c = b",
            [("_if0", "a", None), ("c", "b", "not _if0")],
        ),
        (
            "x = a if a else b\nif x:\n    x = 3\nself.c = x",
            [("_if0", "a if a else b", None), ("c", "3 if _if0 else a if a else b", None)],
        ),
        # A local name that was the attribute keeps what it was.
        (
            "x = self.a\nself.a = 3\nself.c = x",
            [("_was_a", "a", None), ("a", "3", None), ("c", "_was_a", None)],
        ),
    ],
)
def test_steps(body: str, expected: list[tuple[str, str, str | None]]) -> None:
    assert steps(body, "SIZE = 3 + 4") == expected


@pytest.mark.parametrize(
    ("body", "unclear"),
    [
        ("for i in range(3):\n    self.c = i", ["c"]),
        ("self.c = self.compute(a)", ["c"]),
        ("self.c = foreign(a)", ["c"]),
        ("x = foreign(a)\nself.c = x", ["c"]),
        ("if foreign(a):\n    self.c = 1\nelse:\n    self.d = 2", ["c", "d"]),
        ("self.c = []\nself.c.append(a)", ["c"]),
        ("with foreign():\n    self.c = 1", ["c"]),
        ("self.c = (d := a)", ["c"]),
        ("x = a\nfor i in range(3):\n    x = i\nself.c = x", ["c"]),
        ("x = [a]\nx.append(b)\nself.c = x", ["c"]),
        ("self.c = foreign(a)\nself.d = getattr(self, 'c', 1)", ["c", "d"]),
        ("self.c = foreign(a)\nself.d = self.c + 1", ["c", "d"]),
    ],
)
def test_what_cannot_be_followed_is_unclear(body: str, unclear: list[str]) -> None:
    assert list(summary_of(body).unclear) == unclear


def test_a_nested_config_that_cannot_be_followed_is_still_made() -> None:
    summary = summary_of("for i in a:\n    self.inner = InnerConfig(**i)")
    assert summary.unclear == ()
    assert [s.target for s in summary.steps if s.is_nested] == ["inner"]


def test_checks_and_logging_change_nothing() -> None:
    body = "logger.warning('x')\nself._validate(a)\nassert a\nif a:\n    raise ValueError"
    assert steps(body) == []
    assert summary_of(body).unclear == ()


def test_keys_that_are_taken_and_not_kept() -> None:
    summary = summary_of("kwargs.pop('d', None)\nself.c = kwargs.pop('e', 4)")
    assert summary.dropped == ("d", "e")
    assert steps("self.c = kwargs.pop('e', 4)") == [("c", "given.get('e', 4)", None)]


def test_the_base_class_runs_where_it_is_called_or_at_the_end() -> None:
    found = summary_of("super().__init__(**kwargs)\nself.c = a").steps
    assert [s.is_base for s in found] == [True, False]
    found = summary_of("self.c = a").steps
    assert [s.is_base for s in found] == [False, True]


def test_a_derived_class_passes_arguments_on() -> None:
    tree = ast.parse(
        "class Outer(Inner):\n"
        "    def __init__(self, a=1, **kwargs):\n"
        "        super().__init__(width=2 * a, **kwargs)\n"
        "class Inner(PretrainedConfig):\n"
        "    def __init__(self, width=8, depth=2, **kwargs):\n"
        "        self.width = width\n"
        "        self.size = width * depth\n"
    )
    outer, inner = (n for n in tree.body if isinstance(n, ast.ClassDef))
    summary = summarise(Lineage([(outer, tree), (inner, tree)]))
    assert summary.bases == ("Inner",)
    assert summary.fields == {"a": 1, "depth": 2}
    found = [(s.target, s.expression) for s in summary.steps if not s.is_base]
    assert found == [("width", "2 * a"), ("size", "2 * a * depth")]


def test_fields_of_transformers_5() -> None:
    tree = ast.parse(
        "class MadeConfig(PreTrainedConfig):\n"
        "    model_type = 'made'\n"
        "    attribute_map = {'width': 'n_embd'}\n"
        "    kind: ClassVar[str] = 'x'\n"
        "    a: int = interval(min=0)(default=4 * 2)\n"
        "    b: list = field(default_factory=lambda: [1])\n"
        "    c: tuple = (1, 2)\n"
        "    d: int | None = None\n"
        "    def __post_init__(self, **kwargs):\n"
        "        if self.d is None:\n"
        "            self.d = self.a\n"
        "        super().__post_init__(**kwargs)\n"
        "    @property\n"
        "    def doubled(self):\n"
        "        return self.width * 2\n"
    )
    (cls,) = (n for n in tree.body if isinstance(n, ast.ClassDef))
    summary = summarise(Lineage([(cls, tree)]))
    assert summary.model_type == "made"
    assert summary.constants == {"kind": "x"}
    assert summary.fields == {"a": 8, "b": [1], "c": Expression("(1, 2)"), "d": None}
    assert summary.properties == {"doubled": "n_embd * 2"}
    assert [(s.target, s.condition) for s in summary.steps] == [
        ("_if0", None),
        ("d", "_if0"),
        ("", None),
    ]
