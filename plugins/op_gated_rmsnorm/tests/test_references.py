"""The references: properties, chunks, checks of sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fibcore.plugin import Definition
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]
VARIANTS = [
    {},
    {"activation": "sigmoid"},
    {"norm_before_gate": False},
    {"group_size": 64},
    {"group_size": 64, "activation": "sigmoid", "norm_before_gate": False},
]


@pytest.mark.parametrize("changed", VARIANTS, ids=str)
@pytest.mark.parametrize("hidden_size", [64, 1536])
def test_the_references_have_the_properties(
    definition: Make, template: Template, hidden_size: int, changed: Any
) -> None:
    assert_accepted(template, definition(hidden_size=hidden_size, **changed))


@pytest.mark.parametrize("changed", VARIANTS, ids=str)
def test_chunks_of_rows_leave_no_seam(definition: Make, template: Template, changed: Any) -> None:
    made = definition(hidden_size=64, **changed)
    small = with_constants(made, CHUNK_ELEMENTS=192)
    inputs = template.inputs(made, {"batch_size": 8})
    whole = load_run(made.reference)(*inputs.values())
    assert torch.equal(load_run(small.reference)(*inputs.values()), whole)
    assert_accepted(template, small)


def test_sizes_are_checked(definition: Make) -> None:
    run = load_run(definition(hidden_size=64).reference)
    x, w = torch.zeros(2, 64, dtype=torch.bfloat16), torch.ones(64)
    for wrong in ((x[:, :32], x[:, :32], w), (x, x[:1], w), (x, x, w[:1])):
        with pytest.raises(AssertionError):
            run(*wrong)


def test_a_definition_with_other_tensors_is_skipped(definition: Make, template: Template) -> None:
    data = definition(hidden_size=64).to_dict()
    data["inputs"]["scale"] = {"shape": None, "dtype": "float32"}
    with pytest.raises(pytest.skip.Exception, match="scale"):
        template.module.make_inputs(data, {"batch_size": 1}, "cpu", torch.Generator())
