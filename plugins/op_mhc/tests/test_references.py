"""The references: properties, checks of sizes."""

from __future__ import annotations

import pytest

from fibcore.plugin import Definition
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted

torch = pytest.importorskip("torch")

Small = dict[str, Definition]
KINDS = ["mhc_post", "mhc_pre", "mhc_pre_norm", "mhc_fused_post_pre", "mhc_head"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_references_have_the_properties(small: Small, template: Template, kind: str) -> None:
    assert_accepted(template, small[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_checked(small: Small, template: Template, kind: str) -> None:
    made = small[kind]
    inputs = template.inputs(made, template.cases(made)[1])
    for name, value in inputs.items():
        with pytest.raises(AssertionError):
            load_run(made.reference)(**{**inputs, name: value[..., :-1]})


def test_three_halves_are_a_float32_number() -> None:
    fn = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    high = fn.bfloat16()
    middle = (fn - high.float()).bfloat16()
    low = (fn - high.float() - middle.float()).bfloat16()
    assert torch.equal(low.float() + middle.float() + high.float(), fn)


def test_a_definition_with_other_tensors_is_skipped(small: Small, template: Template) -> None:
    data = small["mhc_post"].to_dict()
    data["inputs"]["mask"] = {"shape": None, "dtype": "float32"}
    case = template.module.cases(data)[0]
    with pytest.raises(pytest.skip.Exception, match="mask"):
        template.module.make_inputs(data, case, torch.device("cpu"), torch.Generator())
