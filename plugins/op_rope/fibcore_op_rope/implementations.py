"""Right and wrong rotary position embeddings, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_rope.definitions import (
    gives_angles,
    has_known_tensors,
    has_rows,
    has_sections,
    sections_of,
)

_FIRST = "torch.addcmul(a * cos, b, sin, value=-1, out=out[..., first])"
_SECOND = "torch.addcmul(b * cos, a, sin, out=out[..., second])"
_NEOX = "first, second = slice(0, half), slice(half, ROTARY_DIM)"
_GPTJ = "first, second = slice(0, ROTARY_DIM, 2), slice(1, ROTARY_DIM, 2)"


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for a definition with other tensors."""
    if gives_angles(definition):
        return _of_angles(definition)
    if has_rows(definition):
        return _of_rows(definition)
    if not has_known_tensors(definition):
        return ()
    return (*_right(definition), *_wrong(definition))


def _right(definition: Definition) -> tuple[Implementation, ...]:
    flipped = {"q": "q.flip(0)", "k": "k.flip(0)", "positions": "positions.flip(-1)"}
    return (
        *wrapped(
            definition,
            "tokens in the other order",
            right=True,
            result="(result[0].flip(0), result[1].flip(0))",
            inputs=flipped,
        ),
        # SGLang's kernel for head sizes that FlashInfer's lacks reads the table in the dtype of q.
        *wrapped(
            definition,
            "the table is rounded to the dtype of q",
            right=True,
            cos_sin_cache="cos_sin_cache.to(q.dtype).to(torch.float32)",
        ),
        *rewritten(
            definition,
            "every product is rounded to float32",
            _FIRST,
            "out[..., first] = a * cos - b * sin",
            _SECOND,
            "out[..., second] = b * cos + a * sin",
            right=True,
        ),
    )


def _wrong(definition: Definition) -> tuple[Implementation, ...]:
    halves = "cos_sin_cache.chunk(2, dim=-1)"
    return (
        *rewritten(definition, "pairs stand side by side", _NEOX, _GPTJ),
        *rewritten(definition, "pairs are of both halves", _GPTJ, _NEOX),
        *wrapped(
            definition,
            "it turns the other way",
            cos_sin_cache=f"torch.cat(({halves}[0], -{halves}[1]), dim=-1)",
        ),
        *wrapped(
            definition,
            "cosines and sines are swapped",
            cos_sin_cache=f"torch.cat({halves}[::-1], dim=-1)",
        ),
        *wrapped(
            definition,
            "positions are one too far",
            positions="(positions + 1) % len(cos_sin_cache)",
        ),
        *wrapped(
            definition,
            "tokens are counted from 0",
            positions="(positions * 0 + 1).cumsum(-1) % len(cos_sin_cache)",
        ),
        *_wrong_sections(definition),
        *wrapped(definition, "keys are not turned", result="(result[0], k.clone())"),
        *wrapped(
            definition,
            "keys of the last head are not turned",
            result="(result[0], torch.cat((result[1][:, :-1], k[:, -1:]), dim=1))",
        ),
        *wrapped(
            definition,
            "the result is 2 % too large",
            result="(result[0] * 1.02, result[1] * 1.02)",
        ),
        *rewritten(definition, "one of a pair is not turned", _FIRST, "out[..., first] = a"),
    )


def _wrong_sections(definition: Definition) -> tuple[Implementation, ...]:
    """Mistakes with several positions a token."""
    if not has_sections(definition):
        return ()
    turns = "torch.where(pairs < 3 * ends[pairs % 3], pairs % 3, 0)"
    split = "torch.bucketize(pairs, ends.cumsum(0), right=True)"
    sizes = [int(part) for part in sections_of(definition) if part.isdigit()]
    ended = any(3 * size + axis < sum(sizes) for axis, size in enumerate(sizes) if axis)
    first = "positions[:1].expand(3, -1)"
    return (
        *wrapped(definition, "the first position turns all pairs", positions=first),
        *wrapped(definition, "rows and columns change places", positions="positions[[0, 2, 1]]"),
        *rewritten(definition, "sections one after the other", turns, split),
        *rewritten(definition, "sections take turns", split, turns),
        *(rewritten(definition, "turns without an end", turns, "pairs % 3") if ended else ()),
    )


def _of_rows(definition: Definition) -> tuple[Implementation, ...]:
    """Those of a kernel that is given every token's cosines and sines."""
    flipped = {name: f"{name}.flip(0)" for name in definition.inputs}
    return (
        *wrapped(
            definition,
            "tokens in the other order",
            right=True,
            result="(result[0].flip(0), result[1].flip(0))",
            inputs=flipped,
        ),
        *rewritten(
            definition,
            "every product is rounded to float32",
            "torch.addcmul(b * c[..., second], a, s[..., second], out=out[..., second])",
            "out[..., second] = b * c[..., second] + a * s[..., second]",
            right=True,
        ),
        *wrapped(definition, "it turns the other way", sin="-sin"),
        *wrapped(definition, "cosines and sines are swapped", cos="sin", sin="cos"),
        *wrapped(
            definition, "a pair has one angle", cos="cos[:, : cos.shape[1] // 2].repeat(1, 2)"
        ),
        *wrapped(definition, "the first token's for all", cos="cos[:1].expand_as(cos)"),
        *wrapped(definition, "keys are not turned", result="(result[0], k.clone())"),
        *wrapped(
            definition,
            "the result is 2 % too large",
            result="(result[0] * 1.02, result[1] * 1.02)",
        ),
        *rewritten(
            definition,
            "pairs stand side by side",
            "slice(0, HEAD_SIZE // 2), slice(HEAD_SIZE // 2, HEAD_SIZE)",
            "slice(0, HEAD_SIZE, 2), slice(1, HEAD_SIZE, 2)",
        ),
    )


def _of_angles(definition: Definition) -> tuple[Implementation, ...]:
    """Those of a kernel that gives every token's cosines and sines."""
    return (
        *wrapped(
            definition,
            "tokens in the other order",
            right=True,
            positions="positions.flip(0)",
            result="(result[0].flip(0), result[1].flip(0))",
        ),
        *wrapped(definition, "positions are int32", right=True, positions="positions.int()"),
        *wrapped(definition, "cosines and sines are swapped", result="result[::-1]"),
        *wrapped(definition, "positions count from 1", positions="positions + 1"),
        *wrapped(
            definition, "frequencies of 16 bits", inv_freq="inv_freq.bfloat16().to(torch.float32)"
        ),
        *wrapped(definition, "scaled twice", attention_scaling="attention_scaling * 1.02"),
    )
