"""Ground truths: which there are, and that the references agree with them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import fibcore_op_msa as plugin
from fibcore.plugin import Definition
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

Small = dict[str, Definition]


@pytest.mark.parametrize("kind", ["attention", "indexer"])
def test_torch_agrees(small: Small, template: Template, kind: str) -> None:
    check(small[kind], template)


def test_torch_agrees_on_blocks_that_are_always_chosen(
    with_init: Definition, template: Template
) -> None:
    check(with_init, template)


def check(made: Definition, template: Template) -> None:
    (truth,) = plugin.fibcore_ground_truths(made)
    entry = getattr(load_source(truth.source, "truth"), truth.entry)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        actual, expected = load_run(made.reference)(*inputs.values()), entry(**inputs)
        (name,) = made.outputs
        template.module.compare(made.to_dict(), case, name, actual, expected, close, inputs)


def close(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=2**-7, atol=1e-4)


def test_no_ground_truths_for_what_is_not_known(small: Small) -> None:
    for made in small.values():
        more = {**made.outputs, "more": next(iter(made.outputs.values()))}
        for other in ({"op_type": "of_another_plugin"}, {"outputs": more}):
            assert plugin.fibcore_ground_truths(attrs.evolve(made, **other)) == ()
    made = small["indexer"]
    unknown = attrs.evolve(made, reference=made.reference.replace("INIT_BLOCKS = 0", "X = 0"))
    assert plugin.fibcore_ground_truths(unknown) == ()


def test_a_choice_that_is_wrong_is_rejected(small: Small, template: Template) -> None:
    made = small["indexer"]
    case = {"keys": [60, 3]}
    inputs = template.inputs(made, case)
    right = load_run(made.reference)(*inputs.values())

    def compare(wrong: Any) -> None:
        template.module.compare(made.to_dict(), case, "block_indices", right, wrong, None, inputs)

    compare(right.clone())
    shuffled = right.clone()
    shuffled[0] = right[0].flip(-1)
    compare(shuffled)
    others = [block for block in range(10) if block not in right[0, 0].tolist()]
    for row, column, value in ((0, 0, others[0]), (0, 0, -1), (0, 0, 10), (1, 1, 0), (0, 2, 0)):
        wrong = right.clone()
        wrong[row, 0, column] = value
        if not torch.equal(wrong, right):
            with pytest.raises(AssertionError):
                compare(wrong)
