"""The references: properties, chunks, checks of sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fibcore.plugin import Definition, Named
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]

FORMS = ("update", "prefill")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_the_references_have_the_properties(
    definition: Make, small_one: Make, template: Template, form: str, silu: bool, bias: bool
) -> None:
    assert_accepted(template, small_one(form, silu=silu, bias=bias))
    other = definition(form, dim=20, width=2, silu=silu, bias=bias)
    assert_accepted(template, other)


def test_weights_of_float32_are_not_rounded(definition: Make, template: Template) -> None:
    for form in FORMS:
        made = definition(form, dim=20, params_dtype=Named("torch.float32"), bias=True)
        assert_accepted(template, made)


def test_chunks_of_tokens_leave_no_seam(definition: Make, template: Template) -> None:
    made = definition("prefill", dim=8)
    inputs = template.inputs(made, template.cases(made)[2])
    whole = load_run(made.reference)(*inputs.values())
    for elements in (1, 30, 100):
        other = load_run(with_constants(made, CHUNK_ELEMENTS=elements).reference)
        for one, same in zip(other(*inputs.values()), whole, strict=True):
            assert torch.equal(one, same)


@pytest.mark.parametrize("form", FORMS)
def test_sizes_are_checked(small_one: Make, template: Template, form: str) -> None:
    made = small_one(form)
    run = load_run(made.reference)
    inputs = template.inputs(made, template.cases(made)[1])
    run(*inputs.values())
    for name, value in inputs.items():
        cache = name == "conv_state" and form == "update"
        for wrong in (value[..., :-1], *([] if cache else [value[:-1]])):
            with pytest.raises((AssertionError, RuntimeError)):
                run(*{**inputs, name: wrong}.values())


def test_a_definition_with_other_tensors_is_skipped(definition: Make, template: Template) -> None:
    data = definition().to_dict()
    data["inputs"]["gate"] = data["inputs"]["x"]
    with pytest.raises(pytest.skip.Exception, match="gate"):
        template.module.make_inputs(
            data,
            {"batch_size": 1, "state_cache_size": 1},
            torch.device("cpu"),
            torch.Generator(),
        )
