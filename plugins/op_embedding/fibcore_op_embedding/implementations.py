"""Right and wrong embeddings, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_embedding.definitions import has_known_tensors

_MASKED = "output.masked_fill_(others[:, None], 0.0)"


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for a definition with other tensors."""
    if not has_known_tensors(definition):
        return ()
    if "vocab_start_index" in definition.inputs:
        return (*_of_both(definition), *_of_a_part(definition))
    scaled: tuple[Implementation, ...] = ()
    if "embed_scale" in definition.inputs:
        scaled = (
            *wrapped(definition, "rows are not scaled", embed_scale="1.0"),
            *wrapped(definition, "scaled twice", embed_scale="embed_scale * embed_scale"),
        )
    next_row = "(input_ids + 1) % len(weight)"
    return (
        *_of_both(definition),
        *scaled,
        *wrapped(definition, "rows are one too far", input_ids=next_row),
    )


def _of_both(definition: Definition) -> tuple[Implementation, ...]:
    return (
        *wrapped(
            definition,
            "tokens in the other order",
            right=True,
            input_ids="input_ids.flip(0)",
            result="result.flip(0)",
        ),
        *wrapped(definition, "tokens are int32", right=True, input_ids="input_ids.int()"),
        *wrapped(
            definition,
            "the second half of a row is left out",
            helpers="def halved(x):\n    x[:, x.shape[1] // 2 :] = 0\n    return x",
            result="halved(result)",
        ),
        *wrapped(definition, "the result is 2 % too large", result="result * 1.02"),
    )


def _of_a_part(definition: Definition) -> tuple[Implementation, ...]:
    start = "rows = input_ids - vocab_start_index"
    return (
        *wrapped(definition, "rows are one too far", vocab_start_index="vocab_start_index - 1"),
        *rewritten(definition, "tokens of other ranks have the first row", _MASKED, "output"),
        *rewritten(definition, "rows are counted from the first token", start, "rows = input_ids"),
        *rewritten(
            definition,
            "tokens after the part have rows of it",
            "others = (rows < 0) | (rows >= VOCAB_SIZE)",
            "others = rows < 0\n    rows = rows % VOCAB_SIZE",
        ),
    )
