"""Sizes to benchmark with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_attn_residual.definitions import is_known

if TYPE_CHECKING:
    import numpy as np

BLOCKS = (8, 1, 4)
"""Streams that were kept, in turn: Kimi K3 has one in its first layers and eight in its last."""


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 tokens of random streams; none for a definition with other inputs.

    The weight is so small that no stream has all of the softmax.
    """
    if not is_known(definition):
        return ()
    tensors = functools.partial(_weight, definition, seed)
    found = []
    for at, tokens in enumerate(TOKENS):
        kept = BLOCKS[at % len(BLOCKS)]
        axes = {"num_tokens": tokens, "num_blocks": kept}
        found.append(WorkloadCase(f"{tokens} tokens, {kept} kept", axes, tensors=tensors))
    return tuple(found)


def _weight(definition: Definition, seed: int) -> Mapping[str, np.ndarray[Any, Any]]:
    """A weight by which scores have a standard deviation of 1."""
    import numpy as np

    from fibcore.plugin import generator

    hidden = definition.const_axes["hidden_size"]
    edge = (3 / hidden) ** 0.5
    draws = generator(seed, "attn_residual", definition.name)
    return {"score_weight": draws.uniform(-edge, edge, hidden).astype(np.float32)}
