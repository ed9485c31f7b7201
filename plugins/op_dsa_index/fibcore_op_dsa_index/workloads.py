"""Numbers of tokens to benchmark index queries and keys with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_dsa_index.definitions import kind_of

if TYPE_CHECKING:
    import numpy as np

POSITIONS = 4096
"""Rows of the table of angles."""


def workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> tuple[WorkloadCase, ...]:
    """Decode batches and prompts; empty for definitions that are not this plugin's."""
    if kind_of(definition) is None:
        return ()
    return tuple(_case(definition, constants, seed, tokens) for tokens in TOKENS)


def _case(
    definition: Definition, constants: Mapping[str, Scalar], seed: int, tokens: int
) -> WorkloadCase:
    from fibcore.plugin import pool_size

    sizes = definition.const_axes
    axes = {"num_tokens": tokens, "max_position": POSITIONS}
    scalars = {}
    if "out_loc" in definition.inputs:
        axes["num_pages"] = pool_size(-(-tokens // sizes["page_size"]))
    else:
        scale = constants.get("weight_scale", (sizes["head_dim"] * sizes["num_heads"]) ** -0.5)
        scalars = {"weight_scale": float(scale)}
    tensors = functools.partial(_tensors, definition, dict(axes), seed)
    return WorkloadCase(f"{tokens} tokens", axes, scalars, tensors)


def _tensors(
    definition: Definition, axes: Mapping[str, int], seed: int
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Angles of a model; positions and places without an order."""
    import numpy as np

    from fibcore.plugin import generator

    tokens, sizes = axes["num_tokens"], definition.const_axes
    draws = generator(seed, "index rows", definition.name, tokens)
    rope = sizes["rope_dim"]
    angle = np.arange(POSITIONS)[:, None] * 10000.0 ** (-np.arange(rope // 2) * 2 / rope)
    found: dict[str, np.ndarray[Any, Any]] = {
        "cos_sin_cache": np.concatenate((np.cos(angle), np.sin(angle)), -1).astype(np.float32),
        "positions": draws.uniform(0, POSITIONS, tokens).astype(np.int64),
    }
    if "out_loc" in definition.inputs:
        places = axes["num_pages"] * sizes["page_size"]
        found["out_loc"] = draws.permutations(1, places)[0][:tokens].astype(np.int64)
    return found
