"""The references: properties, chunks, checks of sizes."""

from __future__ import annotations

import pytest

from fibcore.plugin import Definition
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted
from fibcore_op_dsv4.names import KINDS

torch = pytest.importorskip("torch")

Small = dict[str, Definition]


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_references_have_the_properties(small: Small, template: Template, kind: str) -> None:
    assert_accepted(template, small[kind])


@pytest.mark.parametrize("kind", ["window", "compressed"])
@pytest.mark.parametrize("keys", [1, 60])
def test_chunks_of_queries_leave_no_seam(
    small: Small, template: Template, kind: str, keys: int
) -> None:
    assert_accepted(template, with_constants(small[kind], CPU_KEYS=keys))


@pytest.mark.parametrize("kind", list(KINDS))
def test_sizes_are_checked(small: Small, template: Template, kind: str) -> None:
    made = small[kind]
    inputs = template.inputs(made, template.cases(made)[1])
    free = {"extra_sparse_indices"}
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor) and name not in free:
            with pytest.raises(AssertionError):
                load_run(made.reference)(**{**inputs, name: value[..., :-1]})


def test_a_definition_with_other_tensors_is_skipped(small: Small, template: Template) -> None:
    data = small["q_norm_rope"].to_dict()
    data["inputs"]["mask"] = {"shape": None, "dtype": "float32"}
    case = template.module.cases(data)[0]
    with pytest.raises(pytest.skip.Exception, match="mask"):
        template.module.make_inputs(data, case, torch.device("cpu"), torch.Generator())
