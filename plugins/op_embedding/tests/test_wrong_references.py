"""The properties of the test template against plausible mistakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fibcore.plugin import Definition
from fibcore.testing.templates import CRASHES, Template
from fibcore.testing.wrong_references import (
    Mistake,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_embedding import fibcore_implementations

pytest.importorskip("torch")

Make = Callable[..., Definition]

LOOK_UP = "weight.index_select(0, input_ids)"
ROWS = "rows = input_ids - vocab_start_index"
OTHERS = "others = (rows < 0) | (rows >= VOCAB_SIZE)"
MASKED = "output.masked_fill_(others[:, None], 0.0)"
SAFE = "rows.masked_fill(others, 0)"

BY_KIND = {
    1: [
        Mistake.of("one row too far", "input_ids)", "(input_ids + 1) % VOCAB_SIZE)"),
        Mistake.of("rows in the order of the table", "input_ids)", "input_ids.sort().values)"),
        Mistake.of("every row once", "input_ids)", "input_ids.unique())"),
        Mistake.of("a product with numbers", LOOK_UP, f"{LOOK_UP} * 1.02"),
        Mistake.of("through float16", LOOK_UP, f"{LOOK_UP}.half().to(weight.dtype)"),
        Mistake.of("sign of zero lost", LOOK_UP, f"{LOOK_UP} + 0.0"),
        Mistake.of("what is no number is 0", LOOK_UP, f"{LOOK_UP}.nan_to_num()"),
        Mistake.of("in float32", LOOK_UP, f"{LOOK_UP}.float()"),
        Mistake.of("row 0 is padding", LOOK_UP, f"{LOOK_UP} * (input_ids != 0)[:, None]"),
        Mistake.of(
            "the table itself",
            LOOK_UP,
            f"weight[input_ids[0]][None] if len(input_ids) == 1 else {LOOK_UP}",
        ),
    ],
    2: [
        Mistake.of("the start is left out", ROWS, "rows = input_ids"),
        Mistake.of("the start is added", ROWS, "rows = input_ids + vocab_start_index"),
        Mistake.of("the start counts from 1", ROWS, f"{ROWS} - 1"),
        Mistake.of("one row too many", ">= VOCAB_SIZE", "> VOCAB_SIZE"),
        Mistake.of("the last row is others'", ">= VOCAB_SIZE", ">= VOCAB_SIZE - 1"),
        Mistake.of("the first row is others'", "rows < 0", "rows <= 0"),
        Mistake.of("tokens before wrap around", OTHERS, "others = rows >= VOCAB_SIZE"),
        Mistake.of(
            "tokens after wrap around", OTHERS, "others = rows < 0; rows = rows % VOCAB_SIZE"
        ),
        Mistake.of("tokens of others have a row", MASKED, "output"),
        Mistake.of("a product with the mask", MASKED, "output * ~others[:, None]"),
        Mistake.of(
            "tokens of the rank are zero", MASKED, "output.masked_fill_(~others[:, None], 0.0)"
        ),
        Mistake.of("ones for others", "0.0)", "1.0)"),
        Mistake.of("the nearest row", SAFE, "rows.clamp(0, VOCAB_SIZE - 2)"),
    ],
}


@pytest.mark.parametrize(("tp", "mistake"), parameters(BY_KIND))
def test_wrong_references_are_rejected(
    definition: Make, template: Template, tp: int, mistake: Mistake
) -> None:
    assert_rejected(template, definition(tp, 64 * tp, 8), mistake, crashes=CRASHES)


@pytest.mark.parametrize("tp", [1, 2])
def test_wrong_implementations_are_rejected(definition: Make, template: Template, tp: int) -> None:
    made = definition(tp, 64 * tp, 8)
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
