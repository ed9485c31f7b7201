"""The references: properties, checks of sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fibcore.plugin import Definition
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


@pytest.mark.parametrize("page_size", [1, 4, 64])
@pytest.mark.parametrize(
    "layout", ["kv", "kv_widths", "mla", "kv_fp8", "mla_fp8", "mla_block_scale"]
)
def test_the_references_have_the_properties(
    definition: Make, template: Template, layout: str, page_size: int
) -> None:
    assert_accepted(template, definition(layout, page_size))


@pytest.mark.parametrize(
    "layout", ["kv", "kv_widths", "mla", "kv_fp8", "mla_fp8", "mla_block_scale"]
)
def test_sizes_are_checked(definition: Make, template: Template, layout: str) -> None:
    made = definition(layout)
    inputs = template.inputs(made, template.cases(made)[0])
    checked = [name for name in inputs if name.startswith("append") or name.endswith("cache")]
    for name in (*checked, "kv_indptr", "kv_last_page_len"):
        shape = inputs[name].shape
        wrong = torch.zeros((*shape[:-1], shape[-1] + 1))
        with pytest.raises(AssertionError):
            load_run(made.reference)(*{**inputs, name: wrong}.values())


def test_latent_caches_have_the_same_pages(definition: Make, template: Template) -> None:
    made = definition("mla")
    values = list(template.inputs(made, template.cases(made)[0]).values())
    values[5] = values[5][:, :1]
    with pytest.raises(AssertionError):
        load_run(made.reference)(*values)


def test_a_definition_with_other_tensors_is_skipped(definition: Make, template: Template) -> None:
    data = definition().to_dict()
    data["inputs"]["scale"] = {"shape": None, "dtype": "float32"}
    with pytest.raises(pytest.skip.Exception, match="scale"):
        template.module.make_inputs(
            data, template.module.cases(data)[0], torch.device("cpu"), torch.Generator()
        )
