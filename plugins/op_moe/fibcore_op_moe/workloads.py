"""Sizes to benchmark routed experts with, and the inputs that decide which experts run.

flashinfer-bench draws weights and fp8 numbers of about one. What is made here keeps outputs in the
range for which its tolerance of 1e-2 is meant, and routing free of ties.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_moe import drawn_routing
from fibcore_op_moe.definitions import inputs_of
from fibcore_op_moe.formats import BF16, BLOCK
from fibcore_op_moe.identity import kernel_of
from fibcore_op_moe.kernel import Moe

if TYPE_CHECKING:
    import numpy as np

    Arrays = dict[str, np.ndarray[Any, Any]]

# With bfloat16 the hidden states stand in the dataset, 2 bytes an element: fewer sizes.
BF16_TOKENS = (1, 8, 32, 128, 512, 2048, 8192)
# Normal numbers that are cut off at 2, as flashinfer-bench draws fp8, have this standard deviation.
CLAMPED_STD = 0.96
# Of up * silu(gate) where up and gate are standard normal numbers, and of max(up, 0)^2.
SWIGLU_STD = 0.6
RELU2_STD = 1.1
# Of int8 numbers that are drawn evenly.
INT8_STD = 73.9
# Of numbers of four bits with a sign that are drawn evenly.
INT4_STD = 4.61
# Of bytes that are drawn evenly, read as two numbers e2m1 each.
E2M1_STD = 2.926
# Numbers of a clamped SwiGLU where no model says them, those of gpt-oss.
ALPHA, LIMIT = 1.702, 7.0
# Where gate * sigmoid(gate) is most below zero: of a gate that is cut off there from below one sees
# it. At a limit of 10 it is 5e-4, which no tolerance shows.
LOWEST = 1.5
# One workload in so many, and the first, has a limit of about that in the place of the model's.
LOW_EVERY = 4
# Scale of the fp8 activations between the products, where it is one number.
INNER_SCALE = 0.05
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
            "router_logit_softcap": float(
                constants.get("router_logit_softcap", drawn_routing.SOFTCAP)
            ),
        }
        made.append(
            WorkloadCase(
                f"{tokens} tokens",
                {"seq_len": tokens},
                {name: v for name, v in scalars.items() if name in definition.inputs},
                functools.partial(
                    _tensors, definition, moe, tokens, constants, seed, low=_is_low(moe, index)
                ),
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
    hit = {
        expert // moe.num_local_experts
        for expert in drawn_routing.chosen(definition, moe, tokens, seed)
    }
    # Of experts that compute nothing there may be more than a rank has.
    return next(((rank + i) % ranks for i in range(ranks) if (rank + i) % ranks in hit), rank)


def _is_low(moe: Moe, index: int) -> bool:
    """Whether a workload has a low limit: of a gate that is clamped from above alone."""
    of_gate = moe.activation.name in ("swiglu_limit", "swiglu_oai")
    low = index == 0 or index % LOW_EVERY == LOW_EVERY - 1
    return of_gate and moe.weights != BF16 and low


def _numbers_of(constants: Mapping[str, Scalar]) -> tuple[float, float]:
    """Alpha and limit of a model's activation."""
    alpha = float(constants.get("gemm1_alpha", ALPHA))
    return alpha, float(constants.get("gemm1_clamp_limit", LIMIT))


def _numbers(moe: Moe, alpha: float, limit: float) -> Arrays:
    """The same numbers of the activation for each expert."""
    import numpy as np

    experts = moe.num_local_experts
    return {
        "gemm1_alpha": np.full(experts, alpha, np.float32),
        "gemm1_clamp_limit": np.full(experts, limit, np.float32),
    }


def _between(moe: Moe, constants: Mapping[str, Scalar]) -> tuple[float, float]:
    """The standard deviation of up and gate, and of what the activation makes of them.

    Up and gate are about one; half of the limit where there is one, so that it cuts some off.
    """
    alpha, limit = _numbers_of(constants)
    activation = moe.activation
    if "gemm1_clamp_limit" in activation.inputs:
        first = limit / 2
        if activation.function == "situ":
            return first, first * alpha / 2
        # Of a gate above zero, and of up, or of up + 1.
        return first, 0.7 * first * math.hypot(first, activation.beta)
    if activation.inputs:
        return alpha, alpha * alpha / 2
    return 1.0, RELU2_STD if activation.name == "relu2" else SWIGLU_STD


def _factor(constants: Mapping[str, Scalar]) -> float:
    return float(constants.get("routed_scaling_factor", 1.0))


def _tensors(
    definition: Definition,
    moe: Moe,
    tokens: int,
    constants: Mapping[str, Scalar],
    seed: int,
    *,
    low: bool = False,
) -> Mapping[str, np.ndarray[Any, Any]]:
    made = drawn_routing.inputs(definition, moe, tokens, seed)
    if moe.weights.group:
        made |= _group_scales(definition, moe, tokens, constants, seed)
    elif moe.weights == BF16:
        made |= _hidden_states(definition, moe, tokens, constants, seed)
    else:
        made |= _scales(definition, moe, tokens, constants, seed)
    if moe.activation.inputs and moe.weights != BF16:
        if low and "gemm2_bias" in made:
            # What a low limit leaves is about one, and is not to vanish beside the bias.
            made["gemm2_bias"] = made["gemm2_bias"] / max(1.0, _between(moe, constants)[1])
        alpha, limit = _numbers_of(constants)
        steepness = alpha if "gemm1_alpha" in moe.activation.inputs else 1.0
        made |= _numbers(moe, alpha, min(limit, LOWEST / steepness) if low else limit)
    return {name: made[name] for name in definition.inputs if name in made}


def _hidden_states(
    definition: Definition, moe: Moe, tokens: int, constants: Mapping[str, Scalar], seed: int
) -> Arrays:
    """Hidden states so small that weights of about one give outputs of about `output_std`.

    For small x, up * silu(gate) is about up * gate / 2, as are most activations; the second product
    multiplies its standard deviation by sqrt(intermediate_size), and the weighted sum by less than
    the sum of the weights. Limits are as small as what they cut off, biases as what they are added
    to.
    """
    import numpy as np

    from fibcore.plugin import generator

    factor, activation = max(1.0, _factor(constants)), moe.activation
    between = moe.weights.output_std / (factor * math.sqrt(moe.intermediate_size))
    if activation.name == "relu2":
        first = math.sqrt(between / RELU2_STD)
    elif activation.beta or not activation.gated:
        first = 2 * between  # of (up + 1) * gate / 2
    else:
        first = math.sqrt(2 * between)
    draws = generator(seed, definition.name, "hidden_states", tokens)
    # Of an even distribution with that standard deviation.
    edge = first / math.sqrt(moe.hidden_size) * math.sqrt(3)
    experts, made = moe.num_local_experts, {}
    made["hidden_states"] = draws.uniform(-edge, edge, tokens, moe.hidden_size)
    if moe.biased:
        for name, size, rows in (
            ("gemm1_bias", first, moe.gemm1_rows),
            ("gemm2_bias", moe.weights.output_std / factor, moe.hidden_size),
        ):
            of_rows = generator(seed, definition.name, name).uniform(-size, size, experts, rows)
            made[name] = of_rows.astype(np.float32)
    alpha, _ = _numbers_of(constants)
    return made | _numbers(moe, first if activation.function == "situ" else alpha, first)


def _scales(
    definition: Definition, moe: Moe, tokens: int, constants: Mapping[str, Scalar], seed: int
) -> Arrays:
    """Scales that differ by up to three; those of weights are the same for all sizes."""
    from fibcore.plugin import generator

    hidden, inner, experts = moe.hidden_size, moe.intermediate_size, moe.num_local_experts
    spread = INT8_STD if moe.weights.dtype == "int8" else CLAMPED_STD
    up, between = _between(moe, constants)
    first = up / (spread**2 * math.sqrt(hidden))
    target = moe.weights.output_std / max(1.0, _factor(constants))
    second = target / (spread * between * math.sqrt(inner))

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
    if moe.weights.channel_scaled:
        return {
            "hidden_states_scale": draws.uniform(0.5, 1.5, tokens),
            "gemm1_weights_scale": around("gemm1", first, experts, moe.gemm1_rows),
            "gemm2_weights_scale": around("gemm2", second, experts, hidden),
        }
    return {
        "hidden_states_scale": draws.uniform(0.5, 1.5, hidden // BLOCK, tokens),
        "gemm1_weights_scale": around(
            "gemm1", first, experts, moe.gemm1_rows // BLOCK, hidden // BLOCK
        ),
        "gemm2_weights_scale": around("gemm2", second, experts, hidden // BLOCK, inner // BLOCK),
    }


def _group_scales(
    definition: Definition, moe: Moe, tokens: int, constants: Mapping[str, Scalar], seed: int
) -> Arrays:
    """Scales of groups, and biases; those of weights are the same for all numbers of tokens.

    Exponents differ by up to two, numbers by up to three times.
    """
    import numpy as np

    from fibcore.plugin import generator

    group, experts = moe.weights.group, moe.num_local_experts
    hidden, inner = moe.hidden_size, moe.intermediate_size
    rows = moe.gemm1_rows
    first, between = _between(moe, constants)
    target = moe.weights.output_std / max(1.0, _factor(constants))

    if moe.weights.expert_scales:
        return _fp4_scales(definition, moe, tokens, seed, (first, between, target))
    if moe.weights.scale_dtype == "bfloat16":

        def around(name: str, middle: float, *shape: int) -> np.ndarray[Any, Any]:
            draws = generator(seed, definition.name, name)
            return draws.uniform(0.5 * middle, 1.5 * middle, *shape)

        second = target / (between * INT4_STD * math.sqrt(inner))
        up = first / (INT4_STD * math.sqrt(hidden))
        return {
            "gemm1_weights_scale": around("gemm1", up, experts, rows, hidden // group),
            "gemm2_weights_scale": around("gemm2", second, experts, hidden, inner // group),
        }

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
            "gemm1", first / (spread * math.sqrt(hidden)), experts, rows, hidden // group
        ),
        "gemm2_weights_scale": powers(
            "gemm2", target / (between * spread * math.sqrt(inner)), experts, hidden, inner // group
        ),
        "gemm1_bias": around_zero("gemm1_bias", first, experts, rows),
        "gemm2_bias": around_zero("gemm2_bias", target, experts, hidden),
    }


def _fp4_scales(
    definition: Definition,
    moe: Moe,
    tokens: int,
    seed: int,
    sizes: tuple[float, float, float],
) -> Arrays:
    """Scales of groups of about one, and for each expert one for the whole of each product.

    Hidden states that are not quantised are normal numbers; then nothing is scaled between the
    products.

    Args:
        definition: The definition.
        moe: Its kernel.
        tokens: Rows of the hidden states.
        seed: Of the draws.
        sizes: Of up and gate, of what is between the products, of the output.
    """
    from fibcore.plugin import generator

    first, between, target = sizes
    group, experts = moe.weights.group, moe.num_local_experts
    hidden, inner = moe.hidden_size, moe.intermediate_size

    def around(name: str, middle: float, *shape: int) -> np.ndarray[Any, Any]:
        seeds = (tokens,) if name == "hidden_states_scale" else ()
        draws = generator(seed, definition.name, name, *seeds)
        return draws.uniform(0.5 * middle, 1.5 * middle, *shape)

    states = moe.weights.packed_states
    std, inner_scale = (E2M1_STD, INNER_SCALE) if states else (1.0, 1.0)
    gate = around("gate_scalar", first / (std * E2M1_STD * math.sqrt(hidden)), experts)
    second = target / (between * E2M1_STD * math.sqrt(inner))
    made = {
        "gemm1_weights_scale": around("gemm1", 1.0, experts, moe.gemm1_rows, hidden // group),
        "gemm2_weights_scale": around("gemm2", 1.0, experts, hidden, inner // group),
        "output1_scale_scalar": gate / inner_scale,
        "output1_scale_gate_scalar": gate,
        "output2_scale_scalar": around("output2", second * inner_scale, experts),
    }
    if states:
        shape = (tokens, hidden // group)
        made["hidden_states_scale"] = around("hidden_states_scale", 1.0, *shape)
    return made
