"""The references: properties, chunks, checks of sizes, and that both make an RMSNorm."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fibcore.plugin import Definition
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]
FORMS = ("sums", "apply")


@pytest.mark.parametrize("form", FORMS)
def test_the_references_have_the_properties(
    small_one: Make, definition: Make, template: Template, form: str
) -> None:
    assert_accepted(template, small_one(form))
    assert_accepted(template, definition(form, q_size=1536, k_size=128, ranks=2))


@pytest.mark.parametrize("form", FORMS)
def test_chunks_of_tokens_leave_no_seam(definition: Make, template: Template, form: str) -> None:
    made = definition(form, q_size=96, k_size=32)
    small = with_constants(made, CHUNK_ELEMENTS=1)
    inputs = template.inputs(made, {"num_tokens": 8})
    whole = load_run(made.reference)(*inputs.values())
    for one, same in zip(load_run(small.reference)(*inputs.values()), whole, strict=True):
        assert torch.equal(one, same)


def test_sums_of_ranks_and_the_norm_are_an_rmsnorm(definition: Make) -> None:
    sums, apply = (
        load_run(definition(form, q_size=64, k_size=32, ranks=3).reference) for form in FORMS
    )
    generator = torch.Generator().manual_seed(1)
    parts = [
        [torch.randn(5, size, generator=generator).bfloat16() for _ in range(3)]
        for size in (64, 32)
    ]
    total = sum(sums(q, k) for q, k in zip(*parts, strict=True))
    weights = torch.ones(64).bfloat16(), torch.ones(32).bfloat16()
    outs = [apply(q, k, *weights, total) for q, k in zip(*parts, strict=True)]
    for kind, rows in enumerate(parts):
        whole = torch.cat(rows, dim=-1).float()
        expected = torch.nn.functional.rms_norm(whole, whole.shape[1:], eps=1e-6).bfloat16()
        actual = torch.cat([out[kind] for out in outs], dim=-1)
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("form", FORMS)
def test_sizes_are_checked(small_one: Make, template: Template, form: str) -> None:
    made = small_one(form)
    run = load_run(made.reference)
    inputs = template.inputs(made, {"num_tokens": 4})
    for name, value in inputs.items():
        with pytest.raises(AssertionError):
            run(*{**inputs, name: value[..., :-1]}.values())


def test_a_definition_with_other_tensors_is_skipped(definition: Make, template: Template) -> None:
    data = definition().to_dict()
    data["inputs"]["scale"] = {"shape": None, "dtype": "float32"}
    with pytest.raises(pytest.skip.Exception, match="scale"):
        template.module.make_inputs(data, {"num_tokens": 1}, "cpu", torch.Generator())
