"""The reference: properties, chunks, checks of sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fibcore.plugin import Definition
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


@pytest.mark.parametrize("hidden_size", [64, 100])
def test_the_reference_has_the_properties(
    definition: Make, template: Template, hidden_size: int
) -> None:
    assert_accepted(template, definition(hidden_size=hidden_size))


def test_chunks_of_rows_leave_no_seam(definition: Make, template: Template) -> None:
    made = definition(hidden_size=64)
    small = with_constants(made, CHUNK_ELEMENTS=384)
    inputs = template.inputs(made, {"batch_size": 8})
    whole = load_run(made.reference)(*inputs.values())
    assert torch.equal(load_run(small.reference)(*inputs.values()), whole)
    assert_accepted(template, small)


def test_sizes_are_checked(definition: Make, template: Template) -> None:
    made = definition(hidden_size=64)
    inputs = template.inputs(made, {"batch_size": 2})
    for name, value in inputs.items():
        with pytest.raises(AssertionError):
            load_run(made.reference)(**{**inputs, name: value[..., :-1]})
