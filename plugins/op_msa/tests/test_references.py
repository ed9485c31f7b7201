"""The references: properties, chunks, checks of sizes."""

from __future__ import annotations

import pytest

from fibcore.plugin import Definition
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted

torch = pytest.importorskip("torch")

Small = dict[str, Definition]


@pytest.mark.parametrize("kind", ["attention", "indexer"])
@pytest.mark.parametrize("keys", [1, 150, 1 << 20])
def test_the_references_have_the_properties(
    small: Small, template: Template, kind: str, keys: int
) -> None:
    assert_accepted(template, with_constants(small[kind], CPU_KEYS=keys))


def test_blocks_that_are_always_chosen(with_init: Definition, template: Template) -> None:
    assert_accepted(template, with_init)


@pytest.mark.parametrize("kind", ["attention", "indexer"])
def test_sizes_are_checked(small: Small, template: Template, kind: str) -> None:
    made = small[kind]
    inputs = template.inputs(made, template.cases(made)[1])
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor):
            part = value[:-1] if name == "block_table" else value[..., :-1]
            with pytest.raises(AssertionError):
                load_run(made.reference)(**{**inputs, name: part})


def test_a_definition_with_other_tensors_is_skipped(small: Small, template: Template) -> None:
    data = small["indexer"].to_dict()
    data["inputs"]["mask"] = {"shape": None, "dtype": "float32"}
    case = template.module.cases(data)[0]
    with pytest.raises(pytest.skip.Exception, match="mask"):
        template.module.make_inputs(data, case, torch.device("cpu"), torch.Generator())
