"""The references: properties, chunks, checks of sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fibcore.plugin import Definition
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]
VARIANTS = ("gate_mrope", "mrope", "gate", "plain", "whole")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_references_have_the_properties(
    small_one: Make, template: Template, variant: str
) -> None:
    assert_accepted(template, small_one(variant))


def test_chunks_of_tokens_leave_no_seam(definition: Make, template: Template) -> None:
    made = definition(head_dim=64, rotary_dim=32)
    small = with_constants(made, CHUNK_ELEMENTS=1)
    inputs = template.inputs(made, template.cases(made)[1])
    whole = load_run(made.reference)(*inputs.values())
    for one, same in zip(load_run(small.reference)(*inputs.values()), whole, strict=True):
        assert torch.equal(one, same)


@pytest.mark.parametrize("variant", VARIANTS)
def test_sizes_are_checked(small_one: Make, template: Template, variant: str) -> None:
    made = small_one(variant)
    run = load_run(made.reference)
    inputs = template.inputs(made, template.cases(made)[1])
    run(*inputs.values())
    for name, value in inputs.items():
        with pytest.raises((AssertionError, RuntimeError, IndexError)):
            run(*{**inputs, name: value[..., :-1]}.values())


def test_a_definition_with_other_tensors_is_skipped(definition: Make, template: Template) -> None:
    made = definition()
    data = made.to_dict()
    data["inputs"]["scale"] = {"shape": None, "dtype": "float32"}
    case = template.cases(made)[0]
    with pytest.raises(pytest.skip.Exception, match="scale"):
        template.module.make_inputs(data, case, torch.device("cpu"), torch.Generator())
