"""Numbers of tokens to benchmark hyper-connections with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_mhc.definitions import kind_of

if TYPE_CHECKING:
    import numpy as np


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """Decode batches and prompts; empty for definitions that are not this plugin's.

    What is projected with is as small as it is in models: a random one of unit variance would
    leave every coefficient 0 or 1. Weights behind a layer are as sigmoids make them.
    """
    if kind_of(definition) is None:
        return ()
    return tuple(
        WorkloadCase(
            f"{tokens} tokens",
            {"num_tokens": tokens},
            tensors=functools.partial(_tensors, definition, tokens, seed),
        )
        for tokens in TOKENS
    )


def _tensors(definition: Definition, tokens: int, seed: int) -> Mapping[str, np.ndarray[Any, Any]]:
    """The inputs in float32: they are no larger than some KB a token."""
    import numpy as np

    from fibcore.plugin import generator

    draws = generator(seed, "mhc", definition.name, tokens)
    sizes = definition.const_axes
    streams = sizes["hc"]
    made: dict[str, np.ndarray[Any, Any]] = {}
    if "fn" in definition.inputs:
        # Behind the last layer there are weights of the streams alone.
        rows = sizes.get("mhc_mix", streams)
        shape = (rows, sizes["hc_hidden_size"])
        spread = (3 / sizes["hc_hidden_size"]) ** 0.5
        made["fn"] = draws.uniform(-spread, spread, *shape).astype(np.float32)
        made["hc_scale"] = draws.uniform(0.5, 1.5, sizes["scale_size"]).astype(np.float32)
        made["hc_base"] = draws.uniform(-1, 1, rows).astype(np.float32)
    if "comb_res_mix" in definition.inputs:
        made["post_layer_mix"] = draws.uniform(0, 2, tokens, streams).astype(np.float32)
        mix = draws.uniform(0.1, 1, tokens, streams, streams)
        made["comb_res_mix"] = (mix / mix.sum(-2, keepdims=True)).astype(np.float32)
    return made
