"""The references: properties, large tables, checks of sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fibcore.plugin import Definition
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize(("vocab", "hidden"), [(64, 8), (1024, 100)])
def test_the_references_have_the_properties(
    definition: Make, template: Template, tp: int, vocab: int, hidden: int
) -> None:
    assert_accepted(template, definition(tp, vocab * tp, hidden))


@pytest.mark.parametrize("tp", [1, 8])
def test_large_tables_take_no_memory_and_differ_in_their_rows(
    definition: Make, template: Template, tp: int
) -> None:
    made = definition(tp, 128256, 4096)
    weight = template.inputs(made, template.cases(made)[1])["weight"]
    rows = made.const_axes["vocab_size"]
    assert weight.shape == (rows, 4096)
    assert weight.untyped_storage().nbytes() == 2 * (rows + 4095)
    assert not torch.equal(weight[0], weight[1])
    assert_accepted(template, made)


def test_sizes_are_checked(definition: Make) -> None:
    ids = torch.zeros(2, dtype=torch.int64)
    whole, part = (load_run(definition(tp, 64 * tp, 8).reference) for tp in (1, 2))
    for wrong in (torch.zeros(63, 8), torch.zeros(64, 7)):
        with pytest.raises(AssertionError):
            whole(ids, wrong)
        with pytest.raises(AssertionError):
            part(ids, wrong, 0)


def test_a_token_has_to_be_in_a_whole_table(definition: Make) -> None:
    run = load_run(definition(1, 64, 8).reference)
    for token in (-1, 64):
        with pytest.raises((IndexError, RuntimeError)):
            run(torch.tensor([token]), torch.zeros(64, 8))


def test_a_definition_with_other_tensors_is_skipped(definition: Make, template: Template) -> None:
    data = definition().to_dict()
    data["inputs"]["scale"] = {"shape": None, "dtype": "float32"}
    with pytest.raises(pytest.skip.Exception, match="scale"):
        template.module.make_inputs(
            data, template.module.cases(data)[0], torch.device("cpu"), torch.Generator()
        )
