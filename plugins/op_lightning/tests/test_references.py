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

FORMS = ("decode", "prefill")
MINICPM = "sglang.srt.models.minicpm.MiniCPMLightningMixer"
SIZES = {"num_heads": 4, "num_kv_heads": 4, "head_dim": 16}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("holder", [None, MINICPM])
def test_the_references_have_the_properties(
    small_one: Make, definition: Make, template: Template, form: str, holder: str | None
) -> None:
    given = {"holder": holder} if holder else {}
    assert_accepted(template, small_one(form, **given))
    assert_accepted(template, definition(form, **SIZES, **given))


def test_chunks_of_any_size_compute_the_same(definition: Make, template: Template) -> None:
    made = definition("prefill", **SIZES)
    inputs = template.inputs(made, {"lengths": [70, 1, 33]})
    whole = load_run(made.reference)(*inputs.values())
    for chunk, elements in ((1, 1), (5, 40_000), (64, 1)):
        other = with_constants(made, CHUNK=chunk, BLOCK_ELEMENTS=elements)
        for one, same in zip(load_run(other.reference)(*inputs.values()), whole, strict=True):
            torch.testing.assert_close(one, same, rtol=1e-4, atol=1e-4)


def test_chunks_of_sequences_leave_no_seam(definition: Make, template: Template) -> None:
    made = definition(**SIZES)
    small = with_constants(made, CHUNK_ELEMENTS=1)
    inputs = template.inputs(made, template.cases(made)[1])
    whole = load_run(made.reference)(*inputs.values())
    for one, same in zip(load_run(small.reference)(*inputs.values()), whole, strict=True):
        torch.testing.assert_close(one, same)


@pytest.mark.parametrize("form", FORMS)
def test_sizes_are_checked(small_one: Make, template: Template, form: str) -> None:
    made = small_one(form)
    run = load_run(made.reference)
    inputs = template.inputs(made, template.cases(made)[1])
    run(*inputs.values())
    for name, value in inputs.items():
        if name == "scale":
            continue
        for wrong in (value[..., :-1], *([] if name == "state" else [value[:-1]])):
            with pytest.raises((AssertionError, RuntimeError)):
                run(*{**inputs, name: wrong}.values())


def test_a_definition_with_other_tensors_is_skipped(definition: Make, template: Template) -> None:
    data = definition().to_dict()
    data["inputs"]["z"] = data["inputs"]["q"]
    with pytest.raises(pytest.skip.Exception, match="z"):
        template.module.make_inputs(data, {}, torch.device("cpu"), torch.Generator())
