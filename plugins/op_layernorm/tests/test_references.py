"""References: properties, chunks, checks of sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fibcore.plugin import Definition
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted
from fibcore_op_layernorm.forms import FORMS

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


@pytest.mark.parametrize("hidden_size", [64, 100, 1536])
@pytest.mark.parametrize("form", FORMS)
def test_references_have_the_properties(
    definition: Make, template: Template, form: str, hidden_size: int
) -> None:
    made = definition(form, hidden_size)
    assert_accepted(template, made, cases=template.cases(made)[:2])


@pytest.mark.parametrize("form", FORMS)
def test_chunks_of_rows_leave_no_seam(definition: Make, template: Template, form: str) -> None:
    made = definition(form, 64)
    small = with_constants(made, CHUNK_ELEMENTS=192)
    inputs = template.inputs(made, {"batch_size": 8})
    whole = load_run(made.reference)(*inputs.values())
    assert torch.equal(load_run(small.reference)(*inputs.values()), whole)


def test_sizes_are_checked(definition: Make) -> None:
    run = load_run(definition("layernorm", 64).reference)
    x, w = torch.zeros(2, 64, dtype=torch.bfloat16), torch.ones(64)
    for wrong in ((x[:, :32], w, w), (x, w[:1], w), (x, w, w[:1])):
        with pytest.raises(AssertionError):
            run(*wrong)


def test_a_mean_far_larger_than_the_deviation_costs_no_digits(definition: Make) -> None:
    run = load_run(definition("layernorm_no_affine", 256).reference)
    x = (1000 + 8 * torch.arange(256) % 64).bfloat16().reshape(1, -1)
    wide = x.double()
    deviation = (wide - wide.mean()).square().mean().add(1e-5).sqrt()
    expected = (wide - wide.mean()) / deviation
    torch.testing.assert_close(run(x).double(), expected, rtol=0.004, atol=1e-5)
