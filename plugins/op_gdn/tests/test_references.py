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

FORMS = ("decode", "mtp", "prefill")
RULES = (("head", None), ("channel", None), ("channel", -5.0))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("gate", "bound"), RULES)
def test_the_references_have_the_properties(
    small_one: Make, definition: Make, templates: Templates, form: str, gate: str, bound: float
) -> None:
    assert_accepted(templates[gate], small_one(form, gate, bound))
    sizes = {"qk_heads": 1, "v_heads": 3, "head_size": 16, "lower_bound": bound}
    assert_accepted(templates[gate], definition(form, gate, **sizes))


@pytest.mark.parametrize("gate", ["head", "channel"])
def test_chunks_of_any_size_compute_the_same(
    definition: Make, templates: Templates, gate: str
) -> None:
    made = definition("prefill", gate, qk_heads=2, v_heads=4, head_size=16)
    inputs = templates[gate].inputs(made, {"lengths": (70, 1, 33)})
    whole = load_run(made.reference)(*inputs.values())
    for chunk, elements in ((1, 1), (5, 40_000), (64, 1)):
        other = with_constants(made, CHUNK=chunk, BLOCK_ELEMENTS=elements)
        for one, same in zip(load_run(other.reference)(*inputs.values()), whole, strict=True):
            torch.testing.assert_close(one, same, rtol=8e-3, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gate", ["head", "channel"])
def test_sizes_are_checked(small_one: Make, templates: Templates, form: str, gate: str) -> None:
    made = small_one(form, gate, None)
    run, template = load_run(made.reference), templates[gate]
    inputs = template.inputs(made, template.cases(made)[1])
    run(*inputs.values())
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor):
            for wrong in (value[..., :-1], value[:-1]):
                with pytest.raises((AssertionError, RuntimeError)):
                    run(*{**inputs, name: wrong}.values())


def test_a_definition_with_other_tensors_is_skipped(definition: Make, templates: Templates) -> None:
    data = definition().to_dict()
    data["inputs"]["bias"] = {"shape": None, "dtype": "float32"}
    with pytest.raises(pytest.skip.Exception, match="bias"):
        templates["head"].module.make_inputs(
            data, {"batch_size": 1}, torch.device("cpu"), torch.Generator()
        )
