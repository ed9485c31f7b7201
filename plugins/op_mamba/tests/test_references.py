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
Templates = dict[str, Template]

FORMS = ("decode", "prefill")


@pytest.mark.parametrize("form", FORMS)
def test_the_references_have_the_properties(
    small_one: Make, definition: Make, templates: Templates, form: str
) -> None:
    assert_accepted(templates[form], small_one(form))
    sizes = {"nheads": 3, "head_dim": 16, "ssm_state_size": 32, "n_groups": 1}
    assert_accepted(templates[form], definition(form, **sizes))


def test_chunks_of_any_size_compute_the_same(definition: Make, templates: Templates) -> None:
    made = definition("prefill", nheads=4, head_dim=8, ssm_state_size=16, n_groups=2)
    inputs = templates["prefill"].inputs(made, {"lengths": [70, 1, 33]})
    whole = load_run(made.reference)(*inputs.values())
    for chunk, elements in ((1, 1), (5, 40_000), (64, 1)):
        other = with_constants(made, CHUNK=chunk, BLOCK_ELEMENTS=elements)
        for one, same in zip(load_run(other.reference)(*inputs.values()), whole, strict=True):
            torch.testing.assert_close(one, same, rtol=1e-2, atol=1e-4)


def test_chunks_of_sequences_leave_no_seam(definition: Make, templates: Templates) -> None:
    made = definition(nheads=4, head_dim=8, ssm_state_size=16, n_groups=2)
    small = with_constants(made, CHUNK_ELEMENTS=1)
    inputs = templates["decode"].inputs(made, templates["decode"].cases(made)[1])
    whole = load_run(made.reference)(*inputs.values())
    for one, same in zip(load_run(small.reference)(*inputs.values()), whole, strict=True):
        torch.testing.assert_close(one, same)


@pytest.mark.parametrize("form", FORMS)
def test_sizes_are_checked(small_one: Make, templates: Templates, form: str) -> None:
    made, template = small_one(form), templates[form]
    run = load_run(made.reference)
    inputs = template.inputs(made, template.cases(made)[1])
    run(*inputs.values())
    for name, value in inputs.items():
        for wrong in (value[..., :-1], *([] if name == "state" else [value[:-1]])):
            with pytest.raises((AssertionError, RuntimeError)):
                run(*{**inputs, name: wrong}.values())


def test_a_definition_with_other_tensors_is_skipped(definition: Make, templates: Templates) -> None:
    data = definition().to_dict()
    data["inputs"]["z"] = data["inputs"]["x"]
    with pytest.raises(pytest.skip.Exception, match="z"):
        templates["decode"].module.make_inputs(
            data,
            {"batch_size": 1, "state_cache_size": 1},
            torch.device("cpu"),
            torch.Generator(),
        )
