"""The references: properties, checks of sizes."""

from __future__ import annotations

import pytest

from fibcore.plugin import Definition
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted
from fibcore_op_dsa_index.names import KINDS

torch = pytest.importorskip("torch")

Small = dict[str, Definition]


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_references_have_the_properties(small: Small, template: Template, kind: str) -> None:
    assert_accepted(template, small[kind])


@pytest.mark.parametrize("kind", list(KINDS))
def test_sizes_are_checked(small: Small, template: Template, kind: str) -> None:
    made = small[kind]
    inputs = template.inputs(made, template.cases(made)[1])
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor):
            with pytest.raises(AssertionError):
                load_run(made.reference)(**{**inputs, name: value[..., :-1]})


def test_a_definition_with_other_tensors_is_skipped(small: Small, template: Template) -> None:
    data = small["q"].to_dict()
    data["inputs"]["mask"] = {"shape": None, "dtype": "float32"}
    case = template.module.cases(data)[0]
    with pytest.raises(pytest.skip.Exception, match="mask"):
        template.module.make_inputs(data, case, torch.device("cpu"), torch.Generator())
