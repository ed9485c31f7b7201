"""Sizes to benchmark rotary position embeddings with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_rope.definitions import gives_angles, has_known_tensors, has_rows, has_sections

if TYPE_CHECKING:
    import numpy as np

HEADS = (32, 8)
"""Heads of queries and of keys."""
LATENT_HEADS = (16, 1)
"""The same in latent attention, whose heads share the part of the keys that is turned."""
LATENT_TOKENS = (1, 64, 4096)
POSITIONS = 32768
"""Rows of the table."""
DECODED = 256
"""Up to so many tokens are one of each sequence; more are prompts, one after the other."""
_SIDE = 16
_PATCHES = _SIDE * _SIDE
_CONTEXT, _PROMPT = 2048, 1024  # medians of the lengths of sequences


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 tokens at positions of decoding sequences, or of prompts; with one key head, too.

    Queries, keys and the table are random numbers: any are a table. None for a definition with
    other tensors.
    """
    if gives_angles(definition):
        return tuple(
            WorkloadCase(
                f"{tokens} tokens",
                {"num_tokens": tokens},
                scalars={"attention_scaling": 1.0},
                tensors=functools.partial(_angles, definition, tokens, seed),
            )
            for tokens in TOKENS
        )
    if not (has_known_tensors(definition) or has_rows(definition)):
        return ()
    cases = [(tokens, HEADS) for tokens in TOKENS]
    cases += [(tokens, LATENT_HEADS) for tokens in LATENT_TOKENS]
    made = []
    for tokens, (queries, keys) in cases:
        label = f"{tokens} tokens, {queries} and {keys} heads"
        axes = {
            "num_tokens": tokens,
            "num_qo_heads": queries,
            "num_kv_heads": keys,
            "max_seq_len": POSITIONS,
        }
        if has_rows(definition):  # all random: any numbers are cosines and sines
            del axes["max_seq_len"]
            made.append(WorkloadCase(label, axes))
            continue
        several = _several if has_sections(definition) else _positions
        tensors = functools.partial(several, definition.name, tokens, seed)
        made.append(WorkloadCase(label, axes, tensors=tensors))
    return tuple(made)


def _angles(definition: Definition, tokens: int, seed: int) -> Mapping[str, np.ndarray[Any, Any]]:
    """Positions, and frequencies that fall from 1 to 1 / 10000."""
    import numpy as np

    pairs = definition.const_axes["num_pairs"]
    steps = np.arange(pairs, dtype=np.float64) / pairs
    frequencies = (10000.0**-steps).astype(np.float32)
    return {**_positions(definition.name, tokens, seed), "inv_freq": frequencies}


def _positions(name: str, tokens: int, seed: int) -> Mapping[str, np.ndarray[Any, Any]]:
    """The last position of each of `tokens` sequences, or all positions of prompts."""
    import numpy as np

    from fibcore.plugin import generator

    draws = generator(seed, name, "positions", tokens)
    if tokens <= DECODED:
        lengths = draws.lengths(tokens, _CONTEXT, POSITIONS)
        return {"positions": np.array(lengths, np.int64) - 1}
    parts: list[np.ndarray[Any, Any]] = []
    left = tokens
    while left:
        (length,) = draws.lengths(1, _PROMPT, POSITIONS)
        parts.append(np.arange(min(length, left), dtype=np.int64))
        left -= len(parts[-1])
    return {"positions": np.concatenate(parts)}


def _several(name: str, tokens: int, seed: int) -> Mapping[str, np.ndarray[Any, Any]]:
    """Three positions a token: the same for text, time, row and column within images.

    A prompt has images of 16 x 16 patches, with as many tokens of text between them.
    """
    import numpy as np

    text = _positions(name, tokens, seed)["positions"]
    if tokens <= DECODED:
        return {"positions": np.tile(text, (3, 1))}
    image, place = text // _PATCHES % 2 == 1, text % _PATCHES
    start = text - place
    row, column = start + place // _SIDE, start + place % _SIDE
    axes = [np.where(image, own, text) for own in (start, row, column)]
    return {"positions": np.stack(axes).astype(np.int64)}
