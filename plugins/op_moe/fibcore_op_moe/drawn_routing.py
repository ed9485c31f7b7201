"""Logits, biases and tables of workloads that leave no doubt which experts run.

Implementations break ties differently, and then compute other experts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fibcore.plugin import Definition
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.routings import Routing

if TYPE_CHECKING:
    import numpy as np

    from fibcore.plugin import Draws

    Array = np.ndarray[Any, Any]

# Least distance of scores that decide, and of their sums. Kernels whose sigmoid is the fast
# tanh of a GPU (`tanh.approx.f32`, 2^-11 off) have scores that are up to 2^-12 off: two of them
# come 2^-11 nearer to each other, two sums of two 2^-10.
MARGIN = 2.0**-9
# Where a bias or groups decide: the largest logit of a token, about the distance of one
# that is chosen to it, and the largest bias. Every expert is chosen at least 0.4 times as often as
# on average, three of four tokens choose others than without the bias, and weights with it in them
# are 14 % off (8 of 256 or 384 experts, with groups and without). Of a softmax, bias and margin go
# with the distance of scores.
TOP = -1.0
SPAN = 1.0
BIAS = 0.05
# What bounds logits where no model says it, that of Grok.
SOFTCAP = 30.0
# Different rows of the table that tokens ask.
HASHES = 4096


def inputs(definition: Definition, moe: Moe, tokens: int, seed: int) -> dict[str, Array]:
    """Logits [tokens, num_experts] without ties, and what else the routing takes."""
    import numpy as np

    from fibcore.plugin import generator

    draws = generator(seed, definition.name, "routing_logits", tokens)
    experts, routing = moe.num_experts, moe.routing
    made: dict[str, Array] = {}
    if routing.choice == "hash":
        return _hashed(definition, moe, tokens, seed)
    if "per_expert_scale" in routing.inputs:
        scale = generator(seed, definition.name, "per_expert_scale").uniform(0.5, 1.5, experts)
        made["per_expert_scale"] = scale.astype(np.float32)
    if not (routing.biased or routing.has_groups):
        # A row holds as many different bfloat16 numbers as there are experts, from -2 to 2; near
        # their middle where what matters is how near they are to each other.
        step = 2.0 ** (2 - math.ceil(math.log2(experts)))
        order = draws.permutations(tokens, experts)
        middle = 2.0**6 if routing.scoring == "sparsemixer" else 0.0
        logits = (order - experts // 2) * step + middle
        if "routing_bias" in definition.inputs:  # taken for the signature and not used
            made["routing_bias"] = np.zeros(experts, np.float32)
        return made | {"routing_logits": logits.astype(np.float32)}
    bias = np.zeros(experts, np.float32)
    if routing.biased:
        bias = _bias(definition, moe, seed)
        made["routing_bias"] = bias
    logits = _descending(draws, moe, tokens)
    unclear = _unclear(moe, logits, bias)
    while unclear.any():
        logits[unclear] = _descending(draws, moe, int(unclear.sum()))
        unclear[unclear] = _unclear(moe, logits[unclear], bias)
    return made | {"routing_logits": logits}


def chosen(definition: Definition, moe: Moe, tokens: int, seed: int) -> set[int]:
    """The experts that are chosen by any token."""
    import numpy as np

    made = inputs(definition, moe, tokens, seed)
    if "tid2eid" in made:
        return {int(e) for e in made["tid2eid"][made["input_ids"]].flatten()}
    scores = made["routing_logits"].astype(np.float64)
    if moe.routing.biased or moe.routing.has_groups:
        scores = _scores(moe.routing, scores) + made.get("routing_bias", 0.0)
    if moe.routing.has_groups:
        groups = scores.reshape(tokens, moe.num_groups, -1)
        if moe.routing.choice == "each_group":
            return {
                int(e) + g * groups.shape[2]
                for g in range(moe.num_groups)
                for e in np.argsort(groups[:, g], axis=1)[
                    :, -(moe.top_k // moe.num_groups) :
                ].flatten()
            }
        rank = np.sort(groups, axis=2)[:, :, -_best_of(moe) :].sum(axis=2)
        dropped = np.argsort(rank, axis=1)[:, : moe.num_groups - moe.top_groups]
        np.put_along_axis(groups, dropped[:, :, None], -np.inf, axis=1)
        scores = groups.reshape(tokens, -1)
    return {int(expert) for expert in np.argsort(scores, axis=1)[:, -moe.top_k :].flatten()}


def _scores(routing: Routing, logits: Array) -> Array:
    """What scores logits [tokens, experts], in float64."""
    import numpy as np

    found: Array
    if routing.scoring == "sigmoid":
        found = 1.0 / (1.0 + np.exp(-logits))
    elif routing.scoring == "sqrtsoftplus":
        found = np.sqrt(np.logaddexp(0.0, logits))
    else:
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        found = powers / powers.sum(axis=1, keepdims=True)
    return found


def _step(moe: Moe) -> float:
    """The distance of logits that follow each other."""
    return SPAN * 2.0 ** -math.ceil(math.log2(moe.top_k))


def _bias_size(moe: Moe) -> float:
    """The largest bias.

    Softmax scores of logits in even steps are a geometric series; the last that is chosen is about
    step / e, and step times that from the next. Three times that lets the bias decide.
    """
    return 3 * _step(moe) ** 2 / math.e if moe.routing.scoring == "softmax" else BIAS


def _best_of(moe: Moe) -> int:
    """How many of a group's experts say its rank."""
    return 2 if moe.routing.grouped else 1


def _bias(definition: Definition, moe: Moe, seed: int) -> Array:
    """The correction bias [num_experts], the same for all sizes, as for one layer."""
    import ml_dtypes
    import numpy as np

    from fibcore.plugin import generator

    size = _bias_size(moe)
    bias = generator(seed, definition.name, "routing_bias").uniform(-size, size, moe.num_experts)
    found: Array = bias.astype(ml_dtypes.bfloat16).astype(np.float32)
    return found


def _hashed(definition: Definition, moe: Moe, tokens: int, seed: int) -> dict[str, Array]:
    """Tokens, the table of their experts, and logits, which decide nothing."""
    import numpy as np

    from fibcore.plugin import generator

    def drawn(name: str, *key: object) -> Draws:
        return generator(seed, definition.name, name, *key)

    # So many rows for the whole vocabulary, which would take a permutation for each token.
    rows = min(moe.vocab_size, HASHES)
    order = drawn("tid2eid").permutations(rows, moe.num_experts)[:, : moe.top_k]
    order = order[np.arange(moe.vocab_size) % rows]
    ids = drawn("input_ids", tokens).uniform(0.0, 1.0, tokens) * moe.vocab_size
    ids = np.minimum(ids, moe.vocab_size - 1)
    logits = drawn("routing_logits", tokens).uniform(-2.0, 2.0, tokens, moe.num_experts)
    return {
        "input_ids": ids.astype(np.int64),
        "tid2eid": order.astype(np.int32),
        "routing_logits": logits.astype(np.float32),
    }


def _descending(draws: Draws, moe: Moe, tokens: int) -> Array:
    """Logits [tokens, num_experts] from `TOP` down in even steps; bfloat16 has the largest."""
    import numpy as np

    order = draws.permutations(tokens, moe.num_experts)
    return (TOP - order * _step(moe)).astype(np.float32)


def _unclear(moe: Moe, logits: Array, bias: Array) -> Array:
    """Marks [tokens]: where two experts or two groups are too close to say which one is chosen."""
    import numpy as np

    unclear: Array = np.zeros(len(logits), dtype=bool)
    if moe.routing.choice == "each_group":
        return unclear  # logits alone decide, and none are equal
    scores, margin = (
        _scores(moe.routing, logits.astype(np.float64)) + bias,
        MARGIN * _bias_size(moe) / BIAS,
    )
    groups = scores.reshape(len(scores), max(1, moe.num_groups), -1)
    top_groups = moe.top_groups or 1
    rank = np.sort(groups, axis=2)[:, :, -_best_of(moe) :].sum(axis=2)
    order = np.argsort(rank, axis=1)
    if top_groups < groups.shape[1]:
        sorted_rank = np.take_along_axis(rank, order, axis=1)
        unclear |= sorted_rank[:, -top_groups] - sorted_rank[:, -top_groups - 1] < margin
    kept = np.take_along_axis(groups, order[:, -top_groups:, None], axis=1)
    kept = np.sort(kept.reshape(len(scores), -1), axis=1)
    if moe.top_k < kept.shape[1]:
        unclear |= kept[:, -moe.top_k] - kept[:, -moe.top_k - 1] < margin
    return unclear
