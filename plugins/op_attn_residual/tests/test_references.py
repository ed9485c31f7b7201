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


@pytest.mark.parametrize("size", [64, 100])
def test_the_reference_has_the_properties(definition: Make, template: Template, size: int) -> None:
    assert_accepted(template, definition(size=size))


def test_chunks_of_tokens_leave_no_seam(definition: Make, template: Template) -> None:
    assert_accepted(template, with_constants(definition(size=64), CHUNK_ELEMENTS=64 * 8))


def test_sizes_are_checked(definition: Make, template: Template) -> None:
    made = definition(size=64)
    inputs = template.inputs(made, {"num_tokens": 2, "num_blocks": 3})
    for name, value in inputs.items():
        with pytest.raises(AssertionError):
            load_run(made.reference)(**{**inputs, name: value[..., :-1]})
