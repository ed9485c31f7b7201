"""Mutations of references: what is changed, what is left as it is, and that they say where."""

from __future__ import annotations

import ast

import pytest
from plugin_toy import definition, kernel

from fibcore.errors import FibcoreError
from fibcore.testing.mutations import mutations, with_constants

HEAD = "import torch\nfrom torch import Tensor\n\n"


def changes(statement: str) -> set[str]:
    """What the mutations of a statement in a function make of it."""
    source = f"{HEAD}def run(x):\n    {statement}\n"
    return {m.after for m in mutations(source)}


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("y = a < b", {"pass", "y = a <= b", "y = a >= b"}),
        ("y = a - b", {"pass", "y = a + b"}),
        ("y = -a", {"pass", "y = a"}),
        ("y = 3", {"pass", "y = 4", "y = 2", "y = 6"}),
        ("y = 0", {"pass", "y = 1", "y = -1"}),
        ("y = True", {"pass", "y = False"}),
        ("y = 'text'", {"pass"}),
        ("y = a and b", {"pass", "y = a or b"}),
        ("y = a if b else c", {"pass", "y = a", "y = c"}),
        ("y = x.exp()", {"pass", "y = x", "y = x.exp2()"}),
        ("y = x.add_(z)", {"pass", "y = x", "y = x.sub_(z)", "y = x.add_()"}),
        ("y = torch.exp(x)", {"pass", "y = x", "y = torch.exp2(x)"}),
        ("y = f(a, b)", {"pass", "y = a", "y = f(a)", "y = f(b)", "y = f(b, a)"}),
        ("y = min(a, b)", {"pass", "y = a", "y = max(a, b)", "y = min(a)", "y = min(b)"}),
        ("y = f(a, dim=b)", {"pass", "y = a", "y = f(a)"}),
        ("y = f(a, device=b, strict=True)", {"pass", "y = a"}),
        ("y = x[a]", {"pass", "y = x"}),
        ("y = x[a:b]", {"pass", "y = x", "y = x[a:]", "y = x[:b]"}),
        ("x[a] = b", {"pass"}),
        ("x += a", {"pass", "x -= a"}),
        ("return x * a", {"return x / a"}),
        ("if a:\n        f()", {"if True:", "if False:", "pass"}),
        ("for i in range(a):\n        continue", {"for i in a:", "pass"}),
        ("assert x.shape == (3, 4)", set()),
        ("del x", set()),
        ("x: list[int] = a", set()),
    ],
)  # fmt: skip
def test_changes_of_a_statement(statement: str, expected: set[str]) -> None:
    assert changes(statement) == expected


def test_constants_at_the_top_are_changed_and_not_dropped() -> None:
    assert {m.after for m in mutations("SIZE = 8\n")} == {"SIZE = 9", "SIZE = 7", "SIZE = 16"}


def test_every_mutation_is_one_change_in_its_place() -> None:
    source = (
        f"{HEAD}SIZE = 2\n\n\ndef run(x: Tensor) -> Tensor:\n"
        "    if x.is_cuda:\n        return x\n    return x * SIZE\n"
    )
    found = list(mutations(source))
    assert [(m.line, m.last_line, m.function) for m in found if m.before == "if x.is_cuda:"] == [
        (8, 8, "run"),
        (8, 8, "run"),
    ]
    right = ast.unparse(ast.parse(source)).splitlines()
    for mutation in found:
        wrong = ast.unparse(ast.parse(mutation.source)).splitlines()
        (different,) = [(a, b) for a, b in zip(right, wrong, strict=True) if a != b]
        assert tuple(text.strip() for text in different) == (mutation.before, mutation.after)
    assert found == list(mutations(source))


def test_what_is_mutated_may_work_in_small_pieces() -> None:
    made = definition(kernel(), reference="CHUNK = 4096\n\ndef run(x):\n    return x\n")
    assert with_constants(made, CHUNK=4).reference.startswith("CHUNK = 4\n")
    with pytest.raises(FibcoreError):
        with_constants(made, SIZE=4)
