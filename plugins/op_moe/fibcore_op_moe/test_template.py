"""Test sizes, inputs and properties of routed experts.

Routing ties: the inputs have none, so that every implementation chooses the same experts. Scores
that decide (experts around the k-th, groups around the last kept one) are at least `MARGIN` apart;
bfloat16 logits are multiples of 1/8 and therefore exact. The references break ties by the lower
index, which is not tested against others.

Weights: an expert of a large model has tens of millions of them, and an op type has many
definitions. All experts of a test are windows into one buffer, each shifted against the one before,
so that hundreds of them take the memory of one and still differ; their scales differ, too. Weights
are the same for all cases of a definition and are kept until another definition's turn. Tokens
share a small pool of experts, so that few are computed; in one case each expert of this rank has a
token whose output shows it.
"""

import math
import re
import unittest
from collections.abc import Callable, Sequence
from typing import Any

import torch

Run = Callable[..., torch.Tensor]
Definition = dict[str, Any]
Case = dict[str, Any]
Inputs = dict[str, Any]

BLOCK = 128
# Numbers of four bits that share a scale, by its dtype; what they stand for, and their spread.
GROUPS = {"int8": 32, "float8_e4m3fn": 16, "bfloat16": 32}
E2M1 = (0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6)
E2M1_STD = 2.926
INT4 = (0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1)
INT4_STD = 4.61
MARGIN = 1e-3
# Neither a multiple of a row nor of a block, so that no window repeats another's rows.
SHIFT = 16 * 33
SCALING_FACTOR = 2.5
# Largest magnitude of float8_e4m3fn, and the spread of the fp8 and int8 numbers that are drawn.
FP8_MAX = 448.0
INT8_MAX = 127.0
FP8_STD = 48.0
# Of logits that are bounded; so small that it can be seen.
SOFTCAP = 3.0
# Scale of the intermediate activations where it is one number (fp8 per-tensor).
INNER_SCALE = 0.05
COMMON = ("routing_logits", "hidden_states", "gemm1_weights", "gemm2_weights")
OPTIONAL = (
    *("input_ids", "tid2eid", "per_expert_scale", "router_logit_softcap"),
    *("routing_bias", "hidden_states_scale", "gemm1_weights_scale", "gemm2_weights_scale"),
    *("output1_scales_scalar", "output1_scales_gate_scalar", "output2_scales_scalar"),
    *("gemm1_bias", "gemm1_alpha", "gemm1_clamp_limit", "gemm2_bias"),
    *("output1_scale_scalar", "output1_scale_gate_scalar", "output2_scale_scalar"),
    *("local_expert_offset", "routed_scaling_factor"),
)

SCORINGS = ("softmax", "sigmoid", "sqrtsoftplus", "softcap", "sparsemixer")
# What experts compute between their products, where a function of a reference says it.
ACTIVATIONS = (
    *("swiglu_oai", "swiglu_limit", "swiglu_step", "situ", "situ_unbounded", "gelu", "gelu_tanh"),
    *("relu2", "silu", "gelu_alone"),
)
UNGATED = ("relu2", "silu", "gelu_alone")

_WEIGHTS: dict[tuple[object, ...], dict[str, torch.Tensor]] = {}


class Rule:
    """How tokens choose experts, as the name of a routing says it.

    Datasets have names for four; others are made of parts: `sqrtsoftplus_bias_renorm_routing`.
    """

    def __init__(self, name: str) -> None:
        plain = {
            "ds_routing": "sigmoid_bias_renorm",
            "renorm": "softmax_renorm",
            "default_routing": "softmax",
            "llama4_routing": "sigmoid",
        }
        self.name = name
        parts = f"_{plain.get(name, name.removesuffix('_routing'))}_"
        self.scoring = next((s for s in SCORINGS if parts.startswith(f"_{s}_")), "")
        choices = ("each_group", "groups", "hash")
        self.choice = next((c for c in choices if f"_{c}_" in parts), "")
        self.biased, self.renormalized = "_bias_" in parts, "_renorm_" in parts
        self.per_expert = "_expert_scale_" in parts
        # The ones with a correction bias take the groups whose two best experts are best.
        self.grouped = self.scoring == "sigmoid" and self.biased and not self.choice

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Of one token's logits, in their dtype."""
        if self.scoring == "sigmoid":
            return torch.sigmoid(logits)
        if self.scoring == "sqrtsoftplus":
            return torch.log1p(torch.exp(logits)).sqrt()
        if self.scoring == "softcap":
            logits = SOFTCAP * torch.tanh(logits / SOFTCAP)
        powers = torch.exp(logits - logits.max())
        return powers / powers.sum()

    def logits(self, scores: torch.Tensor) -> torch.Tensor:
        """Logits with these scores, up to a common factor where they are a softmax."""
        if self.scoring == "sigmoid":
            return torch.logit(scores)
        return torch.log(scores if self.scoring == "softmax" else torch.expm1(scores.square()))


def _rule_of(definition: Definition) -> tuple[Rule | None, bool]:
    """The routing of a definition, and whether its weight is on the input; None for an unknown."""
    reference = definition["reference"]
    known = ("ds_routing", "default_routing", "llama4_routing", "renorm")
    of_parts = rf"(?:{'|'.join(SCORINGS)})(?:_[a-z_]+)?_routing"
    # A reference says its routing by a function, one of earlier versions by constants.
    function = rf"^def ({of_parts}|{'|'.join(known)})(?:_routing)?(_on_input)?\("
    stated = re.search(function, reference, re.MULTILINE)
    on_input = bool(stated and stated[2]) or "WEIGHT_ON_INPUT = True" in reference
    stated = stated or re.search(r"^ROUTING = ['\"](\w+)['\"]", reference, re.MULTILINE)
    name = stated[1] if stated else next((k for k in known if f"_{k}" in definition["name"]), None)
    return (None if name is None else Rule(name)), on_input


class Sizes:
    """What a definition's data says about its kernel; `known` is whether it tells."""

    rule: Rule

    def __init__(self, definition: Definition) -> None:
        axes = {name: axis.get("value") or 0 for name, axis in definition["axes"].items()}
        name, reference = definition["name"], definition["reference"]
        self.inputs = list(definition["inputs"])
        self.local: int = axes.get("num_local_experts", 0) or axes.get("num_experts", 0)
        self.experts: int = axes.get("num_experts", 0) or self.local
        self.hidden: int = axes.get("hidden_size", 0)
        self.inner: int = axes.get("intermediate_size", 0)

        def number(axis: str, constant: str, mark: str) -> int:
            stated = re.search(rf"^{constant} = (\d+)", reference, re.MULTILINE)
            named = re.search(rf"_{mark}(\d+)", name)
            found = [axes.get(axis, 0), *(int(m[1]) for m in (stated, named) if m)]
            return next((n for n in found if n), 0)

        self.top_k = number("top_k", "TOP_K", "topk")
        self.groups = number("n_group", "NUM_GROUPS", "ng") or 1
        self.top_groups = number("topk_group", "TOP_GROUPS", "kg") or 1
        self.vocabulary: int = axes.get("vocab_size", 0)
        first = definition["inputs"].get("gemm1_weights", {})
        scales = definition["inputs"].get("gemm1_weights_scale", {})
        self.channel = len(scales.get("shape") or ()) == 2
        self.dtype = first.get("dtype")
        self.packed = self.dtype == "int8" and not self.channel
        self.scale = scales.get("dtype")
        self.group = GROUPS.get(self.scale, 0) if self.packed else 0
        self.table = INT4 if self.scale == "bfloat16" else E2M1
        self.packed_states = self.packed and "output1_scale_scalar" in self.inputs
        self.block = "gemm1_weights_scale" in self.inputs and not self.packed and not self.channel
        self.per_tensor = "output1_scales_scalar" in self.inputs
        self.narrow = self.block or self.per_tensor or self.channel
        functions = re.findall(r"^def (\w+)\(", reference, re.MULTILINE)
        self.activation = next((f for f in functions if f in ACTIVATIONS), "")
        if not self.activation and "gemm1_clamp_limit" in self.inputs:
            self.activation = "swiglu_oai" if "gemm1_alpha" in self.inputs else "swiglu_limit"
        self.rows = self.inner if self.activation in UNGATED else 2 * self.inner
        rule, self.on_input = _rule_of(definition)
        whole = set(COMMON) <= set(self.inputs) <= {*COMMON, *OPTIONAL}
        whole = whole and bool(self.group or not self.packed)
        sizes = (self.local, self.hidden, self.inner, self.top_k)
        self.known = bool(whole and rule and rule.scoring and all(sizes))
        if rule is not None:
            self.rule = rule

    @property
    def remote(self) -> bool:
        """Whether some experts are on other ranks."""
        return self.local < self.experts

    @property
    def avoidable(self) -> bool:
        """Whether a token can do with experts of other ranks alone."""
        if self.known and self.rule.choice == "each_group":
            return False
        return self.experts - self.local >= self.top_k + 1

    @property
    def near(self) -> bool:
        """Whether tokens choose by scores that have to be drawn, and not by logits in steps."""
        rule = self.rule
        return rule.biased or rule.choice in ("groups", "each_group")


def cases(definition: Definition) -> list[Case]:
    """Test sizes: few tokens, one for every expert, all to the same, many so, all to others."""
    sizes = Sizes(definition)
    if not sizes.known:
        return [{"id": "unknown_form"}]
    plain = {"tokens": "mixed", "negative": False, "rank": 0}
    ranks = sizes.experts // sizes.local
    found = [
        {"id": "one_token", "seq_len": 1, **plain},
        {"id": "sixteen_tokens", "seq_len": 16, **plain, "rank": ranks // 2},
        {
            "id": "same_experts_negative_logits",
            "seq_len": 5,
            "tokens": "same",
            "negative": True,
            "rank": ranks - 1,
        },
        # Rows for an expert that no block holds: references multiply many in another way than few.
        {"id": "same_experts_for_many", "seq_len": 2 * BLOCK + 32, **plain, "tokens": "same"},
        {
            "id": "every_local_expert",
            "seq_len": sizes.local + -(-sizes.local // 2),  # neighbours have one token or two
            "tokens": "every",
            "negative": False,
            "rank": ranks // 2,
        },
    ]
    if sizes.avoidable:
        found.append(
            {
                "id": "no_local_expert",
                "seq_len": 3,
                "tokens": "remote",
                "negative": False,
                "rank": min(1, ranks - 1),
            }
        )
    return found


def make_inputs(
    definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Inputs of a case, in order, with outputs of a size for which the tolerances are made."""
    sizes = Sizes(definition)
    if not sizes.known:
        raise unittest.SkipTest(
            "the test template makes inputs for routings and weights that it knows, and does not "
            f"know those of {definition['name']}"
        )
    first = case["rank"] * sizes.local if sizes.remote else 0
    made: Inputs = dict(_weights(definition, sizes, device))
    seq_len = case["seq_len"]
    hidden = torch.randn(seq_len, sizes.hidden, generator=generator)
    made["hidden_states"] = _stored(sizes, hidden * FP8_STD if sizes.narrow else hidden)
    if sizes.channel:
        made["hidden_states_scale"] = _around_one(generator, seq_len) / FP8_STD
    if sizes.block:
        made["hidden_states_scale"] = (
            _around_one(generator, sizes.hidden // BLOCK, seq_len) / FP8_STD
        )
    if sizes.packed_states:
        scales = _around_one(generator, seq_len, sizes.hidden // sizes.group)
        made["hidden_states_scale"] = scales.to(torch.float8_e4m3fn)
    made["routed_scaling_factor"] = 1.0 if case["negative"] else SCALING_FACTOR
    made["router_logit_softcap"] = SOFTCAP
    if sizes.rule.per_expert:
        made["per_expert_scale"] = _around_one(generator, sizes.experts).to(torch.bfloat16)
    # Llama 4 has no bias, and who takes one may add it or leave it: 0 does not tell.
    made["routing_bias"] = torch.zeros(sizes.experts, dtype=torch.bfloat16)
    if sizes.rule.biased:
        spread = 0.02 if case["negative"] else 0.1
        if sizes.rule.scoring == "softmax":  # whose scores are as many times smaller
            spread /= sizes.top_k + 1
        bias = (torch.rand(sizes.experts, generator=generator) * 2 - 1) * spread
        made["routing_bias"] = bias.to(torch.bfloat16)
    if sizes.rule.choice == "hash":
        made |= _hashed(sizes, case, first, generator)
    elif sizes.near:
        made["routing_logits"] = _near_logits(
            sizes, case, first, made["routing_bias"].double(), generator
        )
    else:
        logits = _stepped_logits(sizes, case, first, generator)
        plain = definition["inputs"]["routing_logits"]["dtype"] == "bfloat16"
        made["routing_logits"] = logits.to(torch.bfloat16) if plain else logits
    made["local_expert_offset"] = first
    return {
        name: made[name].to(device) if isinstance(made[name], torch.Tensor) else made[name]
        for name in sizes.inputs
    }


def _fp8(values: torch.Tensor) -> torch.Tensor:
    return values.clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn)


def _int8(values: torch.Tensor) -> torch.Tensor:
    return values.round().clamp(-INT8_MAX, INT8_MAX).to(torch.int8)


def _stored(sizes: Sizes, states: torch.Tensor) -> torch.Tensor:
    """Hidden states as the definition stores them, rounded to the numbers that there are."""
    if sizes.narrow:
        return _int8(states) if sizes.dtype == "int8" else _fp8(states)
    if not sizes.packed_states:
        return states.to(torch.bfloat16)
    table = torch.tensor(E2M1, device=states.device)
    bits = (states[..., None] * E2M1_STD - table).abs().argmin(dim=-1).to(torch.uint8)
    return (bits[..., ::2] | (bits[..., 1::2] << 4)).view(torch.int8)


def _loaded(sizes: Sizes, states: torch.Tensor) -> torch.Tensor:
    """What hidden states stand for, without scales, in float32 units of `_stored`'s argument."""
    if not sizes.packed_states:
        return states.float()
    bits = states.view(torch.uint8)
    halves = torch.stack((bits & 15, bits >> 4), dim=-1).flatten(-2)
    return torch.tensor(E2M1, device=states.device)[halves.long()] / E2M1_STD


def _around_one(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=generator) + 0.5


def _windows(
    base: torch.Tensor, experts: int, rows: int, columns: int, device: torch.device
) -> torch.Tensor:
    """Weights [experts, rows, columns] whose experts are shifted windows of one buffer."""
    count = rows * columns + (experts - 1) * SHIFT
    repeats = -(-count // base.numel())
    # uint8: torch repeats fp8 tensors on some devices only.
    buffer = base.view(torch.uint8).to(device).repeat(repeats)[: count * base.element_size()]
    return buffer.view(base.dtype).as_strided((experts, rows, columns), (SHIFT, columns, 1))


def _weights(definition: Definition, sizes: Sizes, device: torch.device) -> dict[str, torch.Tensor]:
    """The weights and weight scales of a definition."""
    key = (definition["name"], sizes.experts, sizes.local, sizes.hidden, sizes.inner, str(device))
    if key in _WEIGHTS:
        return _WEIGHTS[key]
    _WEIGHTS.clear()
    # Of its own, so that weights do not depend on which case came first.
    generator = torch.Generator().manual_seed(3)
    hidden, inner, local = sizes.hidden, sizes.inner, sizes.local
    # The length is a prime, so that rows and columns do not fall on its period.
    base = torch.randn(1_000_003, generator=generator)
    # up * silu(gate) of standard normal numbers has the standard deviation 0.6.
    factor = SCALING_FACTOR if "routed_scaling_factor" in sizes.inputs else 1.0
    # One scale for a whole row leaves what is between the products coarser than one for a block:
    # a kernel that rounds to 16 bits first, and so takes another step of fp8, is further off.
    wanted = 2.0 if sizes.channel else 4.0 if sizes.narrow else 0.5
    target = wanted * sizes.top_k**0.5 / factor
    scale1, scale2 = hidden**-0.5, target / (0.6 * inner**0.5)
    each = 2 if sizes.packed else 1
    if sizes.packed:
        drawn = torch.randint(-128, 128, (base.numel(),), generator=generator)
        base1 = base2 = drawn.to(torch.int8)
    elif sizes.narrow:
        base1 = base2 = _stored(sizes, base * FP8_STD)
    else:
        base1, base2 = (base * scale1).to(torch.bfloat16), (base * scale2).to(torch.bfloat16)
    made = {
        "gemm1_weights": _windows(base1, local, sizes.rows, hidden // each, device),
        "gemm2_weights": _windows(base2, local, hidden, inner // each, device),
    }
    if sizes.packed:
        for name, rows, columns, scale in (
            ("gemm1_weights_scale", sizes.rows, hidden, scale1),
            ("gemm2_weights_scale", hidden, inner, scale2),
        ):
            shape = (local, rows, columns // sizes.group)
            if sizes.scale == "float8_e4m3fn":
                made[name] = _around_one(generator, *shape).to(torch.float8_e4m3fn)
                continue
            if sizes.scale == "bfloat16":
                around = _around_one(generator, *shape) * scale / INT4_STD
                made[name] = around.to(torch.bfloat16)
                continue
            middle = 127 + round(math.log2(scale / E2M1_STD))
            steps = torch.randint(-1, 2, shape, generator=generator)
            made[name] = (steps + middle).to(torch.uint8).view(torch.int8)
    if sizes.block:
        shape1 = (local, sizes.rows // BLOCK, hidden // BLOCK)
        shape2 = (local, hidden // BLOCK, inner // BLOCK)
        made["gemm1_weights_scale"] = _around_one(generator, *shape1) * scale1 / FP8_STD
        made["gemm2_weights_scale"] = _around_one(generator, *shape2) * scale2 / FP8_STD
    if sizes.channel:
        for name, rows, scale in (("gemm1", sizes.rows, scale1), ("gemm2", hidden, scale2)):
            around = _around_one(generator, local, rows) * scale / FP8_STD
            made[f"{name}_weights_scale"] = around
    if sizes.per_tensor:
        # Activation and weight scales in one number; the fp8 numbers of both have FP8_STD.
        product = _around_one(generator, local) * scale1 / FP8_STD**2
        made["output1_scales_gate_scalar"] = product
        made["output1_scales_scalar"] = product / INNER_SCALE
        made["output2_scales_scalar"] = (
            _around_one(generator, local) * scale2 / FP8_STD * INNER_SCALE
        )
    if sizes.packed_states:
        product = _around_one(generator, local) * scale1 / E2M1_STD**2
        made["output1_scale_gate_scalar"] = product
        made["output1_scale_scalar"] = product / INNER_SCALE
        made["output2_scale_scalar"] = (
            _around_one(generator, local) * scale2 / E2M1_STD * INNER_SCALE
        )
    elif sizes.scale == "float8_e4m3fn" and sizes.packed:
        for name, scale in (("output1_scale_gate", scale1), ("output2_scale", scale2)):
            made[f"{name}_scalar"] = _around_one(generator, local) * scale / E2M1_STD
    # As large as what they are added to; limits that cut off a good part of it.
    if "gemm1_bias" in sizes.inputs:
        made["gemm1_bias"] = 0.5 * torch.randn(local, sizes.rows, generator=generator)
        made["gemm2_bias"] = 0.5 * target * torch.randn(local, hidden, generator=generator)
    if {"gemm1_alpha", "gemm1_clamp_limit"} & set(sizes.inputs):
        made["gemm1_alpha"] = 1.2 + torch.rand(local, generator=generator)
        made["gemm1_clamp_limit"] = 0.75 + 0.5 * torch.rand(local, generator=generator)
    for name in list(made):
        made[name] = made[name].to(device)
    _WEIGHTS[key] = made
    return made


# --- routing: logits that leave no doubt ---------------------------------------------------------


def _goes_here(sizes: Sizes, case: Case, token: int) -> bool:
    """Whether a token goes to experts of this rank: all but the last one, if there are several."""
    if case["tokens"] == "remote":
        return False
    last = case["tokens"] == "mixed" and 0 < token == case["seq_len"] - 1
    return not (last and sizes.avoidable)


def _expert_of(sizes: Sizes, case: Case, token: int, first: int) -> int | None:
    """The expert that a token has to choose; None where it may choose any."""
    if case["tokens"] != "every":
        return None
    # One token for each, and a second one for every other expert.
    return first + (token if token < sizes.local else 2 * (token - sizes.local))


def _pick(generator: torch.Generator, candidates: Sequence[int], count: int) -> list[int]:
    """`count` of the candidates, in random order; all of them where there are fewer."""
    order = torch.randperm(len(candidates), generator=generator).tolist()
    return [candidates[i] for i in order[:count]]


def _candidates(sizes: Sizes, first: int, generator: torch.Generator) -> list[list[int]]:
    """The few experts that the tokens of a case choose among, by group.

    An expert of a large model takes a good part of a second on a CPU, so two of this rank's are
    among them where others are on other ranks.
    """
    size = sizes.experts // sizes.groups
    each = max(2, -(-(sizes.top_k + 1) // sizes.top_groups)) + (sizes.groups > 1)
    room = max(2, sizes.top_k + 2 - (sizes.experts - sizes.local))
    if sizes.rule.choice == "each_group":
        room = each * sizes.groups
    found: list[list[int]] = []
    for group in range(sizes.groups):
        members = range(group * size, (group + 1) * size)
        if not sizes.remote:
            found.append(_pick(generator, members, each))
            continue
        mine = [e for e in members if first <= e < first + sizes.local]
        others = [e for e in members if not first <= e < first + sizes.local]
        mine = _pick(generator, mine, room)
        room -= len(mine)
        found.append(mine + _pick(generator, others, each))
    return found


def _pool(
    sizes: Sizes,
    generator: torch.Generator,
    candidates: list[int],
    count: int,
    first: int,
    local: bool,
) -> list[int]:
    """`count` experts of the candidates: two of this rank if `local` (or more), else none."""
    if not sizes.remote:
        return _pick(generator, candidates, count)
    mine = [e for e in candidates if first <= e < first + sizes.local]
    others = [e for e in candidates if not first <= e < first + sizes.local]
    chosen = _pick(generator, mine, max(2, count - len(others))) if local else []
    return chosen + _pick(generator, others, count - len(chosen))


def _rows(case: Case, make: Callable[[int], torch.Tensor]) -> torch.Tensor:
    """Logits [seq_len, experts] of one row a token, or of one row for all."""
    rows = [make(0)]
    for token in range(1, case["seq_len"]):
        rows.append(rows[0] if case["tokens"] == "same" else make(token))
    return torch.stack(rows)


def _attempts(
    make: Callable[[], torch.Tensor], accept: Callable[[torch.Tensor], bool]
) -> torch.Tensor:
    """What `make` returns, as soon as it is acceptable."""
    for _ in range(5000):
        made = make()
        if accept(made):
            return made
    raise AssertionError("no logits could be found that leave no doubt")


def _hashed(
    sizes: Sizes, case: Case, first: int, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Tokens, the experts that the table has for them, and logits that say nothing of these."""
    count, experts = case["seq_len"], sizes.experts
    offsets = torch.arange(sizes.top_k)
    table = (torch.arange(sizes.vocabulary)[:, None] + offsets) % experts
    ids = torch.randperm(sizes.vocabulary, generator=generator)[:count]
    if case["tokens"] == "same":
        ids = ids[:1].repeat(count)
    (candidates,) = _candidates(sizes, first, generator)
    for token in range(count if case["tokens"] != "same" else 1):
        local, own = _goes_here(sizes, case, token), _expert_of(sizes, case, token, first)
        pool = _pool(sizes, generator, candidates, sizes.top_k, first, local)
        if own is not None and own not in pool:
            pool[0] = own
        table[ids[token]] = torch.tensor(_pick(generator, pool, sizes.top_k))
    low = -4.0 if case["negative"] else -2.0
    logits = low + 4.0 * torch.rand(count, experts, generator=generator)
    return {"input_ids": ids, "tid2eid": table.to(torch.int32), "routing_logits": logits}


def _stepped_logits(
    sizes: Sizes, case: Case, first: int, generator: torch.Generator
) -> torch.Tensor:
    """float32 logits in steps of 1/8: a few experts in front, a few next, the others far behind.

    Those that come next are never chosen and have a good part of the softmax. An expert that a
    token has to choose is one of those in front. bfloat16 has the logits.
    """
    experts, scoring = sizes.experts, sizes.rule.scoring
    low, high = (-16.0 if scoring in ("softmax", "sparsemixer") else -1.5), 2.0
    if scoring == "sparsemixer":  # two steps from here are near, from lower they are not
        high = 12.625
    (candidates,) = _candidates(sizes, first, generator)
    others = [e for e in range(experts) if e not in candidates]
    following = _pick(generator, others, 3)

    def make(token: int) -> torch.Tensor:
        local, own = _goes_here(sizes, case, token), _expert_of(sizes, case, token, first)

        def attempt() -> torch.Tensor:
            pool = _pool(sizes, generator, candidates, sizes.top_k + 1, first, local)
            if own is not None and own not in pool:
                pool[0] = own
            after = [e for e in following if e != own]
            pool = _pick(generator, pool, len(pool)) + after
            top = (low if case["negative"] else high) - 0.25 * (token % 4)
            steps = torch.randint(0, 16, (experts,), generator=generator)
            row = top - 8.0 - 0.125 * steps
            row[pool] = top - 0.125 * torch.arange(len(pool))
            return row

        return _attempts(attempt, lambda row: _acceptable(sizes, case, token, first, row, None))

    return _rows(case, make)


def _near_logits(
    sizes: Sizes, case: Case, first: int, bias: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """float32 logits with which bias and groups matter to the first token's choice."""
    experts, size = sizes.experts, sizes.experts // sizes.groups
    low, high, rest = (0.05, 0.12, 0.002) if case["negative"] else (0.35, 0.9, 0.01)
    if sizes.rule.scoring == "softmax":  # of which only ratios count
        low, high, rest = 0.35, 0.9, 1e-4
    candidates = _candidates(sizes, first, generator)
    home = sorted({e // size for e in range(first, first + sizes.local)})

    def make(token: int) -> torch.Tensor:
        local, own = _goes_here(sizes, case, token), _expert_of(sizes, case, token, first)

        def attempt() -> torch.Tensor:
            scores = torch.rand(experts, generator=generator) * rest / 2 + rest / 2
            groups = list(range(sizes.groups))
            if sizes.groups > 1 and local and (sizes.remote or own is not None):
                best = home[0] if own is None else own // size
                groups = [best, *_pick(generator, [g for g in groups if g != best], experts)]
            elif sizes.remote and sizes.groups > 1:
                groups = _pick(generator, [g for g in groups if g not in home], experts)
            else:
                groups = _pick(generator, groups, experts)
            filled = groups[: sizes.top_groups + 1]
            each = -(-(sizes.top_k + 1) // min(sizes.top_groups, len(filled)))
            for group in filled:
                pool = _pool(sizes, generator, candidates[group], max(2, each), first, local)
                scores[pool] = low + (high - low) * torch.rand(len(pool), generator=generator)
            if len(groups) > sizes.top_groups + 1 and sizes.rule.grouped:
                # The best of all experts, alone in its group: the group is not kept.
                alone = groups[sizes.top_groups + 1]
                scores[(candidates[alone] or [alone * size])[-1]] = high + 0.05
            if own is not None:
                # Two good experts, or their group would not be kept.
                both = [own, own // size * size + (own + 1) % size]
                scores[both] = high - (high - low) / 2 * torch.rand(2, generator=generator)
            return sizes.rule.logits(scores.double()).float()

        return _attempts(attempt, lambda row: _acceptable(sizes, case, token, first, row, bias))

    return _rows(case, make)


def _acceptable(
    sizes: Sizes,
    case: Case,
    token: int,
    first: int,
    logits: torch.Tensor,
    bias: torch.Tensor | None,
) -> bool:
    """Whether a row of logits is free of near ties and tests what it has to."""
    chosen, margin = _choose(sizes, logits.double(), bias)
    if margin < MARGIN:
        return False
    mine = [e for e in chosen if first <= e < first + sizes.local]
    if sizes.remote and bool(mine) != _goes_here(sizes, case, token):
        return False
    if _expert_of(sizes, case, token, first) not in {None, *chosen}:
        return False
    if token or bias is None or case["tokens"] == "remote" or sizes.top_k >= sizes.experts:
        return True
    without = torch.zeros_like(bias)
    if sizes.rule.biased and _choose(sizes, logits.double(), without)[0] == chosen:
        return False  # the bias has to matter
    if sizes.top_groups == sizes.groups and sizes.rule.choice != "each_group":
        return True
    ungrouped = torch.topk(sizes.rule.scores(logits.double()) + bias, sizes.top_k).indices
    return set(ungrouped.tolist()) != chosen


def _choose(
    sizes: Sizes, logits: torch.Tensor, bias: torch.Tensor | None
) -> tuple[set[int], float]:
    """The set of experts of one token and the smallest gap that decided, in float64."""
    if bias is None or not sizes.near:
        ranked = torch.sort(logits, descending=True)
        gaps = ranked.values[:-1] - ranked.values[1:]
        chosen = set(ranked.indices[: sizes.top_k].tolist())
        return chosen, float(gaps[sizes.top_k - 1]) if sizes.top_k < sizes.experts else 1.0
    scores, margin = (sizes.rule.scores(logits) + bias).tolist(), 1.0
    size = sizes.experts // sizes.groups
    if sizes.rule.choice == "each_group":
        of_each, found = sizes.top_k // sizes.groups, set[int]()
        for group in range(sizes.groups):
            best = sorted(range(group * size, (group + 1) * size), key=lambda e: -scores[e])
            if of_each < size:
                margin = min(margin, scores[best[of_each - 1]] - scores[best[of_each]])
            found.update(best[:of_each])
        return found, margin
    best_of = 1 if sizes.rule.choice == "groups" else 2
    rank = [sum(sorted(scores[g * size : (g + 1) * size])[-best_of:]) for g in range(sizes.groups)]
    order = sorted(range(sizes.groups), key=lambda g: -rank[g])
    if sizes.top_groups < sizes.groups:
        margin = rank[order[sizes.top_groups - 1]] - rank[order[sizes.top_groups]]
    allowed = [g * size + i for g in order[: sizes.top_groups] for i in range(size)]
    allowed.sort(key=lambda e: -scores[e])
    if sizes.top_k < len(allowed):
        gap = scores[allowed[sizes.top_k - 1]] - scores[allowed[sizes.top_k]]
        margin = min(margin, gap)
    return set(allowed[: sizes.top_k]), margin


# --- comparison ----------------------------------------------------------------------------------

# Every element has to be inside, of fp8 weights too: how far kernels are off follows from below.
MATCHED_RATIO = {"output": 1.0}
# What rounding to bfloat16 changes a number by at most, relative to it.
HALF_PLACE = 2.0**-8
# How often a right kernel may be refused, of one comparison.
CHANCE = 1e-6


def compare(
    definition: Definition,
    case: Case,
    name: str,
    actual: torch.Tensor,
    expected: torch.Tensor,
    check: Callable[..., None],
) -> None:
    """Compare with room for what kernels round between inputs and output; see `_rounding`."""
    del case, name
    sizes = Sizes(definition)
    check(actual, expected, _rounding(sizes, expected) if sizes.known else None)


def _rounding(sizes: Sizes, expected: torch.Tensor) -> torch.Tensor:
    """How far sums of rounded numbers may lie from exact ones, for each of [tokens, hidden].

    An element is a sum of many products. Of a number in one of them rounding makes one between
    1 - d and 1 + d times as large, with d = `HALF_PLACE`, independently of the others. So the error
    of the sum has at most the tails of a normal distribution with d / sqrt(3) times the root of the
    sum of squares, which is what the element's size is about where weights have both signs: the
    spread of a token's elements. Rounded are
    - gate and up, the former times what the activation makes of a relative error (at most 1.25 in
      the mean square of normal numbers, 2 of a square);
    - what is made of them, an expert's output and its routing weight: a factor each;
    - what kernels make bfloat16 of: dequantised weights and hidden states, and those that have
      been multiplied by the routing weight.
    Sums in float32 add next to nothing, for any size. The largest of n such errors is below
    sqrt(2 log(2 n / p)) times their spread but for a chance of p (by the bound exp(-z^2 / 2) of a
    tail, of both signs).
    """
    gate = 2.0 if sizes.activation == "relu2" else 1.25
    first = gate**2 + (sizes.activation not in UNGATED)
    dequantised = sizes.narrow or sizes.packed
    squares = first * (1 + 2 * dequantised + (sizes.on_input and not dequantised))
    squares += 3 + dequantised
    most = math.sqrt(2 * math.log(2 * max(1, expected.numel()) / CHANCE))
    values = expected.double()
    whole = values.square().mean(1, keepdim=True)
    # Scales of blocks make some of a token's elements larger than others.
    padded = torch.nn.functional.pad(values, (0, -values.shape[1] % BLOCK))
    blocks = padded.view(len(values), -1, BLOCK)
    count = torch.full_like(blocks[:1, :, 0], BLOCK)
    count[:, -1] -= -values.shape[1] % BLOCK
    of_blocks = (blocks.square().sum(-1) / count).repeat_interleave(BLOCK, 1)
    spread = torch.maximum(whole, of_blocks[:, : values.shape[1]]).sqrt()
    return most * HALF_PLACE * math.sqrt(squares / 3) * spread


# --- properties ----------------------------------------------------------------------------------


def _weights_of_token(sizes: Sizes, inputs: Inputs, token: int) -> dict[int, float]:
    """{expert: weight} of one token, from the definition of the routing, in float64."""
    logits = inputs["routing_logits"][token].double()
    if sizes.rule.choice == "hash":
        chosen = set(inputs["tid2eid"][inputs["input_ids"][token]].tolist())
    else:
        bias = inputs["routing_bias"].double() if "routing_bias" in inputs else None
        bias = torch.zeros_like(logits) if bias is None and sizes.near else bias
        chosen, _ = _choose(sizes, logits, bias)
    if sizes.rule.scoring == "sparsemixer":
        found = _mixed(logits.tolist(), sizes.top_k)
    else:
        scores = sizes.rule.scores(logits)
        found = {e: float(scores[e]) for e in chosen}
    whole = sum(found.values()) if sizes.rule.renormalized else 1.0
    factor = float(inputs.get("routed_scaling_factor", 1.0)) / whole
    scale = inputs["per_expert_scale"].double() if sizes.rule.per_expert else None
    return {e: w * factor * (1.0 if scale is None else float(scale[e])) for e, w in found.items()}


def _mixed(logits: list[float], count: int) -> dict[int, float]:
    """{expert: weight} of the best logits, each its part of what is near it and not chosen yet."""
    found: dict[int, float] = {}
    for _ in range(count):
        left = [e for e in range(len(logits)) if e not in found]
        best = max(left, key=lambda e: logits[e])
        near = [
            e
            for e in left
            if (logits[best] - logits[e]) <= 0.02 * max(abs(logits[e]), logits[best])
        ]
        found[best] = 1 / sum(math.exp(logits[e] - logits[best]) for e in near)
    return found


def _spread(count: int, pieces: int, width: int) -> torch.Tensor:
    """Indices of a few pieces of `width` over `count`, the first and the last among them."""
    if count <= pieces * width:
        return torch.arange(count)
    starts = [round(i * (count // width - 1) / (pieces - 1)) * width for i in range(pieces)]
    return torch.cat([torch.arange(start, start + width) for start in starts])


def _expert_in_float64(
    sizes: Sizes,
    inputs: Inputs,
    local: int,
    x: torch.Tensor,
    columns: torch.Tensor,
    rows: torch.Tensor,
) -> torch.Tensor:
    """Outputs [n, rows] of one expert for tokens x [n, columns], whose other columns are 0."""
    scale: dict[str, torch.Tensor] = {
        name: inputs[name][local].double() for name in inputs if name.endswith("scalar")
    }
    one = torch.ones((), dtype=torch.float64, device=x.device)
    whole = scale.get("output1_scale_gate_scalar", one)
    ratio = scale.get("output1_scale_scalar", whole) / whole
    if sizes.packed:
        inner = torch.arange(sizes.inner, device=x.device)
        first = _unpacked(sizes, inputs, "gemm1", local, slice(None), columns) * whole
        second = _unpacked(sizes, inputs, "gemm2", local, rows, inner) * ratio
        second = second * scale.get("output2_scale_scalar", one)
    else:
        first = inputs["gemm1_weights"][local][:, columns].double()
        second = inputs["gemm2_weights"][local][rows].double()
    if sizes.channel:
        first = first * inputs["gemm1_weights_scale"][local].double()[:, None]
        second = second * inputs["gemm2_weights_scale"][local].double()[rows][:, None]
    if sizes.block:
        down = torch.arange(sizes.rows, device=x.device) // BLOCK
        blocks = inputs["gemm1_weights_scale"][local].double()
        first = first * blocks[down][:, columns // BLOCK]
        along = torch.arange(sizes.inner, device=x.device) // BLOCK
        second = second * inputs["gemm2_weights_scale"][local].double()[rows // BLOCK][:, along]
    whole = scale.get("output1_scales_gate_scalar", one)
    both = x @ first.T * whole
    if "gemm1_bias" in inputs:
        both = both + inputs["gemm1_bias"][local].double()
    activated = _activated(sizes, inputs, local, both) * (
        scale.get("output1_scales_scalar", whole) / whole
    )
    output = activated @ second.T
    if "gemm2_bias" in inputs:
        output = output + inputs["gemm2_bias"][local][rows].double()
    return output * scale.get("output2_scales_scalar", torch.ones_like(output[:1, :1]))


def _activated(sizes: Sizes, inputs: Inputs, local: int, both: torch.Tensor) -> torch.Tensor:
    """What an expert computes of its first product, [n, rows]: [n, inner]."""
    name = sizes.activation
    up, gate = both[:, : sizes.inner], both[:, sizes.inner :]
    if name == "relu2":
        return torch.where(up > 0, up, 0.0) ** 2
    if name in ("silu", "gelu_alone"):
        up, gate, name = torch.ones_like(up), up, name.removesuffix("_alone")
    alpha, limit = (
        float(inputs[key][local]) if key in inputs else 1.0
        for key in ("gemm1_alpha", "gemm1_clamp_limit")
    )
    if name.startswith("swiglu_"):
        up = torch.where(up > limit, limit, torch.where(up < -limit, -limit, up))
    if name in ("swiglu_oai", "swiglu_limit"):
        gate = torch.where(gate > limit, limit, gate)
    if name == "swiglu_oai":
        up = up + 1
    elif not name.startswith("situ"):
        alpha = 1.0
    if name == "gelu":
        return up * gate * (1 + torch.erf(gate / 2**0.5)) / 2
    if name == "gelu_tanh":
        inside = (2 / math.pi) ** 0.5 * (gate + 0.044715 * gate**3)
        return up * gate * (1 + torch.tanh(inside)) / 2
    if name.startswith("situ"):
        up = up if name == "situ_unbounded" else limit * torch.tanh(up / limit)
        return up * alpha * torch.tanh(gate / alpha) / (1 + torch.exp(-gate))
    activated = gate / (1 + torch.exp(-alpha * gate))
    if name == "swiglu_step":
        activated = torch.where(activated > limit, limit, activated)
    return up * activated


def _unpacked(
    sizes: Sizes,
    inputs: Inputs,
    gemm: str,
    local: int,
    rows: torch.Tensor | slice,
    columns: torch.Tensor,
) -> torch.Tensor:
    """What weights of four bits stand for, in float64: of some rows of an expert, at columns."""
    of_rows: torch.Tensor = inputs[f"{gemm}_weights"][local][rows]
    pairs = of_rows[:, columns // 2].contiguous().view(torch.uint8)
    bits = (pairs >> (4 * (columns % 2)).to(torch.uint8)) & 15
    values = torch.tensor(sizes.table, dtype=torch.float64, device=bits.device)[bits.long()]
    scales = inputs[f"{gemm}_weights_scale"][local]
    if sizes.scale == "bfloat16":
        return values.mul_(scales[rows][:, columns // sizes.group].double())
    scales = scales.view(torch.uint8)[rows][:, columns // sizes.group].contiguous()
    if sizes.scale == "float8_e4m3fn":
        factors = scales.view(torch.float8_e4m3fn).double()
    else:
        factors = torch.exp2(scales.double() - 127)
    return values.mul_(factors)


def _near(actual: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    """Assert equality up to the rounding of the bfloat16 output."""
    assert torch.isfinite(actual).all(), f"{what}: not finite"
    error = (actual - expected).abs()
    allowed = 6e-3 * expected.abs() + 2e-3 * expected.pow(2).mean().sqrt()
    worst = int((error - allowed).argmax())
    assert (error <= allowed).all(), (
        f"{what}: element {worst} is {actual.flatten()[worst]:.6g}, expected "
        f"{expected.flatten()[worst]:.6g}; {int((error > allowed).sum())} of {error.numel()} differ"
    )


def agrees_with_float64(
    run: Run,
    definition: Definition,
    case: Case,
    device: torch.device,
    generator: torch.Generator,
) -> None:
    """The output is what the formulas give in float64, token by token, expert by expert.

    Hidden states are 0 outside a few blocks of columns, and a few output columns are looked at, so
    that an expert of any size takes little to compute. Of many tokens the last is all zeros, and so
    is its output: what is added to it is not lost among large numbers.
    """
    sizes = Sizes(definition)
    inputs = make_inputs(definition, case, device, generator)
    columns = _spread(sizes.hidden, 3, BLOCK).to(device)
    rows = _spread(sizes.hidden, 24, 2).to(device)
    hidden = _loaded(sizes, inputs["hidden_states"])
    kept = torch.zeros_like(hidden)
    # As large as with all columns, or the activation would be as good as linear.
    kept[:, columns] = hidden[:, columns] * (sizes.hidden / columns.numel()) ** 0.5
    if case["seq_len"] > BLOCK:
        kept[-1] = 0.0
    inputs["hidden_states"] = _stored(sizes, kept)
    output = run(*inputs.values())
    (spec,) = definition["outputs"].values()
    assert output.shape == kept.shape, f"the output has shape {tuple(output.shape)}"
    assert output.dtype == getattr(torch, spec["dtype"]), f"the output is {output.dtype}"
    actual = output[:, rows].double()

    x = _loaded(sizes, inputs["hidden_states"])[:, columns].double()
    if sizes.packed_states:
        groups = inputs["hidden_states_scale"].double()[:, columns // sizes.group]
        x = x * E2M1_STD * groups
    if sizes.block:
        x = x * inputs["hidden_states_scale"].T[:, columns // BLOCK].double()
    if sizes.channel:
        x = x * inputs["hidden_states_scale"].double()[:, None]
    offset = int(inputs.get("local_expert_offset", 0))
    tokens: dict[int, list[tuple[int, float]]] = {}
    choosing = ("routing_logits", "routing_bias", "input_ids", "tid2eid", "per_expert_scale")
    of_routing = {name: inputs[name].cpu() for name in choosing if name in inputs}
    of_routing |= {n: inputs[n] for n in ("routed_scaling_factor",) if n in inputs}
    for token in range(case["seq_len"]):
        for expert, weight in _weights_of_token(sizes, of_routing, token).items():
            if 0 <= expert - offset < sizes.local:
                tokens.setdefault(expert - offset, []).append((token, weight))
    expected = torch.zeros_like(actual)
    for local, found in tokens.items():
        index = torch.tensor([token for token, _ in found], device=device)
        share = torch.tensor([[w] for _, w in found], device=device, dtype=torch.float64)
        into = x[index] * share if sizes.on_input else x[index]
        out = _expert_in_float64(sizes, inputs, local, into, columns, rows)
        expected[index] += out if sizes.on_input else out * share
    for token in range(case["seq_len"]):
        _near(actual[token], expected[token], f"token {token}")


def exponents_may_be_as_large_as_there_are(
    run: Run,
    definition: Definition,
    case: Case,
    device: torch.device,
    generator: torch.Generator,
) -> None:
    """Powers of two may go from the activations to the scales, up to 2^100 and 2^-127. NaN."""
    sizes = Sizes(definition)
    if not sizes.packed or sizes.scale != "int8" or case["id"] != "one_token":
        return
    inputs = make_inputs(definition, case, device, generator)
    expected = run(*inputs.values()).double()
    hidden, scale = inputs["hidden_states"].double(), inputs["gemm1_weights_scale"]
    bits = scale.view(torch.uint8).to(torch.int16)
    steps = torch.randint(-100, 101, (scale.shape[2],), generator=generator).to(device)
    for of_groups in (steps, torch.full_like(steps, -int(bits.min()))):
        of_columns = of_groups.repeat_interleave(sizes.group).double()
        inputs["hidden_states"] = (hidden * torch.exp2(-of_columns)).to(torch.bfloat16)
        moved = (bits + of_groups).to(torch.uint8).view(torch.int8)
        inputs["gemm1_weights_scale"] = moved
        _near(run(*inputs.values()).double().flatten(), expected.flatten(), "moved exponents")
    # Of both signs alike an infinity would give NaN, too.
    inputs["hidden_states"] = hidden.abs().to(torch.bfloat16)
    inputs["gemm1_weights"] = (inputs["gemm1_weights"] & 0x77) | 0x11
    moved = scale.clone()
    moved[:, 0, -1] = -1  # the byte 255
    inputs["gemm1_weights_scale"] = moved
    assert run(*inputs.values()).isnan().all(), "a scale that is NaN gives numbers"


PROPERTIES = [agrees_with_float64, exponents_may_be_as_large_as_there_are]
