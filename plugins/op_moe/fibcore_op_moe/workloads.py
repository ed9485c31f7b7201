"""Sizes to benchmark routed experts with, and the inputs that decide which experts run.

flashinfer-bench draws weights and fp8 numbers of about one. What is made here keeps outputs in the
range for which its tolerance of 1e-2 is meant, and routing free of ties: implementations break them
differently, and then compute other experts.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_moe.activations import SWIGLU
from fibcore_op_moe.definitions import inputs_of
from fibcore_op_moe.formats import BF16, BLOCK
from fibcore_op_moe.identity import kernel_of
from fibcore_op_moe.kernel import Moe

if TYPE_CHECKING:
    import numpy as np

    from fibcore.plugin import Draws

    Arrays = dict[str, np.ndarray[Any, Any]]

# With bfloat16 the hidden states stand in the dataset, 2 bytes an element: fewer sizes.
BF16_TOKENS = (1, 8, 32, 128, 512, 2048, 8192)
# Normal numbers that are cut off at 2, as flashinfer-bench draws fp8, have this standard deviation.
CLAMPED_STD = 0.96
# Of up * silu(gate) where up and gate are standard normal numbers.
SWIGLU_STD = 0.6
# Of bytes that are drawn evenly, read as two numbers e2m1 each.
E2M1_STD = 2.926
# Numbers of a clamped SwiGLU where no model says them, those of gpt-oss.
ALPHA, LIMIT = 1.702, 7.0
# Scale of the fp8 activations between the products, where it is one number.
INNER_SCALE = 0.05
# Least distance of sigmoid scores that decide, and of their sums. Kernels whose sigmoid is the fast
# tanh of a GPU (`tanh.approx.f32`, 2^-11 off) have scores that are up to 2^-12 off: two of them
# come 2^-11 nearer to each other, two sums of two 2^-10.
MARGIN = 2.0**-9
# Where a bias decides with sigmoid scores: the largest logit of a token, about the distance of one
# that is chosen to it, and the largest bias. Every expert is chosen at least 0.4 times as often as
# on average, three of four tokens choose others than without the bias, and weights with it in them
# are 14 % off (8 of 256 or 384 experts, with groups and without).
TOP = -1.0
SPAN = 1.0
BIAS = 0.05
# With more tokens than these, every rank has a token.
FEW_TOKENS = 64


def workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 tokens; none where weights or routing are not known."""
    moe = kernel_of(definition)
    if moe is None or set(definition.inputs) != set(inputs_of(moe)):
        return ()
    made = []
    ranks = moe.num_experts // moe.num_local_experts
    for index, tokens in enumerate(BF16_TOKENS if moe.weights == BF16 else TOKENS):
        scalars: dict[str, int | float | bool] = {
            "local_expert_offset": _rank(definition, moe, index % ranks, tokens, seed)
            * moe.num_local_experts,
            "routed_scaling_factor": _factor(constants),
        }
        made.append(
            WorkloadCase(
                f"{tokens} tokens",
                {"seq_len": tokens},
                {name: v for name, v in scalars.items() if name in definition.inputs},
                functools.partial(_tensors, definition, moe, tokens, constants, seed),
            )
        )
    return tuple(made)


def _rank(definition: Definition, moe: Moe, rank: int, tokens: int, seed: int) -> int:
    """The rank whose experts run: this one, or the next that a token chooses an expert of.

    A rank that no token chooses gives zeros, which every kernel gets right.
    """
    if moe.num_local_experts == moe.num_experts or tokens > FEW_TOKENS:
        return rank
    ranks = moe.num_experts // moe.num_local_experts
    hit = {expert // moe.num_local_experts for expert in _chosen(definition, moe, tokens, seed)}
    return next((rank + i) % ranks for i in range(ranks) if (rank + i) % ranks in hit)


def _chosen(definition: Definition, moe: Moe, tokens: int, seed: int) -> set[int]:
    """The experts that are chosen by any token."""
    import numpy as np

    made = _routing(definition, moe, tokens, seed)
    scores = made["routing_logits"].astype(np.float64)
    if moe.routing.grouped:
        scores = 1.0 / (1.0 + np.exp(-scores)) + made["routing_bias"]
        groups = scores.reshape(tokens, moe.num_groups, -1)
        rank = np.sort(groups, axis=2)[:, :, -2:].sum(axis=2)
        dropped = np.argsort(rank, axis=1)[:, : moe.num_groups - moe.top_groups]
        np.put_along_axis(groups, dropped[:, :, None], -np.inf, axis=1)
        scores = groups.reshape(tokens, -1)
    return {int(expert) for expert in np.argsort(scores, axis=1)[:, -moe.top_k :].flatten()}


def _factor(constants: Mapping[str, Scalar]) -> float:
    return float(constants.get("routed_scaling_factor", 1.0))


def _tensors(
    definition: Definition, moe: Moe, tokens: int, constants: Mapping[str, Scalar], seed: int
) -> Mapping[str, np.ndarray[Any, Any]]:
    made, factor = _routing(definition, moe, tokens, seed), _factor(constants)
    if moe.weights.group:
        made |= _group_scales(definition, moe, tokens, constants, seed)
    elif moe.weights == BF16:
        made |= _hidden_states(definition, moe, tokens, factor, seed)
    else:
        made |= _scales(definition, moe, tokens, factor, seed)
    return {name: made[name] for name in definition.inputs if name in made}


def _routing(definition: Definition, moe: Moe, tokens: int, seed: int) -> Arrays:
    """Logits [tokens, num_experts] without ties, and for ds_routing a bias [num_experts]."""
    import numpy as np

    from fibcore.plugin import generator

    draws = generator(seed, definition.name, "routing_logits", tokens)
    experts = moe.num_experts
    if not moe.routing.grouped:
        # A row holds as many different bfloat16 numbers as there are experts, from -2 to 2.
        step = 2.0 ** (2 - math.ceil(math.log2(experts)))
        order = draws.permutations(tokens, experts)
        made = {"routing_logits": ((order - experts // 2) * step).astype(np.float32)}
        if "routing_bias" in definition.inputs:  # taken for the signature and not used
            made["routing_bias"] = np.zeros(experts, np.float32)
        return made
    import ml_dtypes

    # The same for all sizes, as for one layer.
    bias = generator(seed, definition.name, "routing_bias").uniform(-BIAS, BIAS, experts)
    bias = bias.astype(ml_dtypes.bfloat16).astype(np.float32)
    logits = _descending(draws, moe, tokens)
    unclear = _unclear(moe, logits, bias)
    while unclear.any():
        logits[unclear] = _descending(draws, moe, int(unclear.sum()))
        unclear[unclear] = _unclear(moe, logits[unclear], bias)
    return {"routing_logits": logits, "routing_bias": bias}


def _descending(draws: Draws, moe: Moe, tokens: int) -> np.ndarray[Any, Any]:
    """Logits [tokens, num_experts] from `TOP` down in even steps; bfloat16 has the largest."""
    import numpy as np

    step = SPAN * 2.0 ** -math.ceil(math.log2(moe.top_k))
    return (TOP - draws.permutations(tokens, moe.num_experts) * step).astype(np.float32)


def _unclear(
    moe: Moe, logits: np.ndarray[Any, Any], bias: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Marks [tokens]: where two experts or two groups are too close to say which one is chosen."""
    import numpy as np

    scores = 1.0 / (1.0 + np.exp(-logits.astype(np.float64))) + bias
    groups = scores.reshape(len(scores), moe.num_groups, -1)
    rank = np.sort(groups, axis=2)[:, :, -2:].sum(axis=2)
    order = np.argsort(rank, axis=1)
    unclear: np.ndarray[Any, Any] = np.zeros(len(scores), dtype=bool)
    if moe.top_groups < moe.num_groups:
        sorted_rank = np.take_along_axis(rank, order, axis=1)
        unclear |= sorted_rank[:, -moe.top_groups] - sorted_rank[:, -moe.top_groups - 1] < MARGIN
    kept = np.take_along_axis(groups, order[:, -moe.top_groups :, None], axis=1)
    kept = np.sort(kept.reshape(len(scores), -1), axis=1)
    if moe.top_k < kept.shape[1]:
        unclear |= kept[:, -moe.top_k] - kept[:, -moe.top_k - 1] < MARGIN
    return unclear


def _hidden_states(
    definition: Definition, moe: Moe, tokens: int, factor: float, seed: int
) -> Arrays:
    """Hidden states so small that weights of about one give outputs of about `output_std`.

    For small x, up * silu(gate) is about up * gate / 2; the second product multiplies its standard
    deviation by sqrt(intermediate_size), and the weighted sum by less than the sum of the weights.
    """
    from fibcore.plugin import generator

    between = moe.weights.output_std / (max(1.0, factor) * math.sqrt(moe.intermediate_size))
    std = math.sqrt(2 * between) / math.sqrt(moe.hidden_size)
    draws = generator(seed, definition.name, "hidden_states", tokens)
    edge = std * math.sqrt(3)  # of an even distribution with that standard deviation
    return {"hidden_states": draws.uniform(-edge, edge, tokens, moe.hidden_size)}


def _scales(definition: Definition, moe: Moe, tokens: int, factor: float, seed: int) -> Arrays:
    """Scales that differ by up to three; those of weights are the same for all sizes."""
    from fibcore.plugin import generator

    hidden, inner, experts = moe.hidden_size, moe.intermediate_size, moe.num_local_experts
    first = 1 / (CLAMPED_STD**2 * math.sqrt(hidden))  # up and gate of about one
    target = moe.weights.output_std / max(1.0, factor)
    second = target / (CLAMPED_STD * SWIGLU_STD * math.sqrt(inner))

    def around(name: str, middle: float, *shape: int) -> np.ndarray[Any, Any]:
        draws = generator(seed, definition.name, name)
        return draws.uniform(0.5 * middle, 1.5 * middle, *shape)

    if moe.weights.tensor_scaled:
        gate = around("output1_scales_gate_scalar", first, experts)
        return {
            "output1_scales_scalar": gate / INNER_SCALE,
            "output1_scales_gate_scalar": gate,
            "output2_scales_scalar": around("output2", second * INNER_SCALE, experts),
        }
    draws = generator(seed, definition.name, "hidden_states_scale", tokens)
    return {
        "hidden_states_scale": draws.uniform(0.5, 1.5, hidden // BLOCK, tokens),
        "gemm1_weights_scale": around("gemm1", first, experts, 2 * inner // BLOCK, hidden // BLOCK),
        "gemm2_weights_scale": around("gemm2", second, experts, hidden // BLOCK, inner // BLOCK),
    }


def _group_scales(
    definition: Definition, moe: Moe, tokens: int, constants: Mapping[str, Scalar], seed: int
) -> Arrays:
    """Powers of two that differ by up to four, biases, and the numbers of the activation.

    Those of weights are the same for all numbers of tokens. Up and gate are about one; half of the
    limit where there is one, so that it cuts some of them off.
    """
    import numpy as np

    from fibcore.plugin import generator

    group, experts = moe.weights.group, moe.num_local_experts
    hidden, inner = moe.hidden_size, moe.intermediate_size
    alpha = float(constants.get("gemm1_alpha", ALPHA))
    limit = float(constants.get("gemm1_clamp_limit", LIMIT))
    first, between = 1.0, SWIGLU_STD
    if moe.activation != SWIGLU:
        # Of a gate above zero, and of up + 1.
        first = limit / 2
        between = 0.7 * first * math.hypot(first, 1.0)
    target = moe.weights.output_std / max(1.0, _factor(constants))

    if moe.weights.packed_states:
        return _fp4_scales(definition, moe, tokens, seed, (first, between, target, alpha, limit))

    def powers(name: str, middle: float, *shape: int) -> np.ndarray[Any, Any]:
        steps = generator(seed, definition.name, name).uniform(-1.5, 1.5, *shape).round()
        bits: np.ndarray[Any, Any] = steps + (127 + round(math.log2(middle)))
        return bits.astype(np.uint8).view(np.int8)

    def around_zero(name: str, size: float, *shape: int) -> np.ndarray[Any, Any]:
        draws = generator(seed, definition.name, name)
        return draws.uniform(-size, size, *shape)

    # Steps of one to either side make the mean square larger by this.
    spread = E2M1_STD * math.sqrt((0.25 + 1 + 4) / 3)
    return {
        "gemm1_weights_scale": powers(
            "gemm1", first / (spread * math.sqrt(hidden)), experts, 2 * inner, hidden // group
        ),
        "gemm2_weights_scale": powers(
            "gemm2", target / (between * spread * math.sqrt(inner)), experts, hidden, inner // group
        ),
        "gemm1_bias": around_zero("gemm1_bias", first, experts, 2 * inner),
        "gemm2_bias": around_zero("gemm2_bias", target, experts, hidden),
        "gemm1_alpha": np.full(experts, alpha, np.float32),
        "gemm1_clamp_limit": np.full(experts, limit, np.float32),
    }


def _fp4_scales(
    definition: Definition,
    moe: Moe,
    tokens: int,
    seed: int,
    sizes: tuple[float, float, float, float, float],
) -> Arrays:
    """Scales of groups of about one, and for each expert one for the whole of each product.

    Args:
        definition: The definition.
        moe: Its kernel.
        tokens: Rows of the hidden states.
        seed: Of the draws.
        sizes: Of up and gate, of what is between the products, of the output; alpha and limit.
    """
    import numpy as np

    from fibcore.plugin import generator

    first, between, target, alpha, limit = sizes
    group, experts = moe.weights.group, moe.num_local_experts
    hidden, inner = moe.hidden_size, moe.intermediate_size

    def around(name: str, middle: float, *shape: int) -> np.ndarray[Any, Any]:
        seeds = (tokens,) if name == "hidden_states_scale" else ()
        draws = generator(seed, definition.name, name, *seeds)
        return draws.uniform(0.5 * middle, 1.5 * middle, *shape)

    gate = around("gate_scalar", first / (E2M1_STD**2 * math.sqrt(hidden)), experts)
    second = target / (between * E2M1_STD * math.sqrt(inner))
    return {
        "hidden_states_scale": around("hidden_states_scale", 1.0, tokens, hidden // group),
        "gemm1_weights_scale": around("gemm1", 1.0, experts, 2 * inner, hidden // group),
        "gemm2_weights_scale": around("gemm2", 1.0, experts, hidden, inner // group),
        "output1_scale_scalar": gate / INNER_SCALE,
        "output1_scale_gate_scalar": gate,
        "output2_scale_scalar": around("output2", second * INNER_SCALE, experts),
        "gemm1_alpha": np.full(experts, alpha, np.float32),
        "gemm1_clamp_limit": np.full(experts, limit, np.float32),
    }
