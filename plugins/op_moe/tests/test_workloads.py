"""Workloads of routed experts: routing without ties, outputs of a size that tolerances are for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import ml_dtypes
import numpy as np
import pytest

from fibcore.plugin import Definition, WorkloadCase, scalar
from fibcore_op_moe import fibcore_implementations, fibcore_workloads
from fibcore_op_moe.drawn_routing import MARGIN
from fibcore_op_moe.formats import BF16, FP8_BLOCK, FP8_TENSOR, MXFP4
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.routings import DS, SCORED
from fibcore_op_moe.workloads import BF16_TOKENS

FORMS = (
    *("fp8_ds_remote", "fp8_ds", "fp8_renorm", "fp8_default_remote", "fp8_llama4"),
    *("bf16_ds_remote", "bf16_ds", "bf16_renorm_remote", "bf16_default", "bf16_llama4"),
    *("tensor_renorm", "tensor_default", "tensor_llama4"),
    *("mxfp4_oai", "mxfp4_oai_remote", "mxfp4_ds_remote", "mxfp4_default", "mxfp4_llama4"),
    *("nvfp4_ds_remote", "nvfp4_oai", "nvfp4_renorm", "nvfp4_llama4"),
    *("w4a16_ds_remote", "w4a16_renorm", "w4a16_llama4"),
)
# Formats, activations and routings that have workloads of their own.
MORE = (
    *("tensor_ds_remote", "channel_ds_remote", "channel_gelu_alone", "int8_renorm"),
    *("mxint4_renorm", "mxint4_limit", "bf16_oai", "bf16_gelu", "bf16_relu2", "bf16_step"),
    *("fp8_limit", "fp8_relu2", "mxfp4_situ", "tensor_situ", "tensor_relu2", "nvfp4_relu2"),
    *("w4a16_relu2", "w4a16_oai"),
    *(routing.name for routing in SCORED),
)
Define = Callable[..., Definition]


def cases_of(definition: Definition, seed: int = 0, **constants: Any) -> list[WorkloadCase]:
    found = fibcore_workloads(definition, constants, seed)
    assert found
    return list(found)


def case_of(definition: Definition, tokens: int, **constants: Any) -> WorkloadCase:
    return next(c for c in cases_of(definition, **constants) if c.axes["seq_len"] == tokens)


@pytest.mark.parametrize("form", FORMS)
def test_no_token_has_two_experts_of_one_score(
    form: str, small: dict[str, Moe], definition_of: Define
) -> None:
    moe = small[form]
    logits = case_of(definition_of(moe), 2048).tensors()["routing_logits"]
    assert logits.shape == (2048, moe.num_experts)
    kept = logits.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert (kept == logits).all()
    assert (np.diff(np.sort(kept, axis=1), axis=1) > 0).all()
    if moe.routing != DS:
        assert 1.0 <= kept.max() <= 2.0
        assert -2.0 <= kept.min() <= -1.0


@pytest.mark.parametrize("form", ["fp8_ds_remote", "bf16_ds_remote", "fp8_ds"])
def test_scores_that_decide_are_apart(
    form: str, small: dict[str, Moe], definition_of: Define
) -> None:
    moe = small[form]
    made = case_of(definition_of(moe), 8192).tensors()
    bias = made["routing_bias"].astype(np.float64)
    assert (bias.astype(ml_dtypes.bfloat16).astype(np.float64) == bias).all()
    assert np.abs(bias).max() <= 0.05
    scores = 1 / (1 + np.exp(-made["routing_logits"].astype(np.float64))) + bias
    groups = scores.reshape(len(scores), moe.num_groups, -1)
    rank = np.sort(groups, axis=2)[:, :, -2:].sum(axis=2)
    chosen = np.argsort(-rank, axis=1)[:, : moe.top_groups]
    if moe.top_groups < moe.num_groups:
        ordered = -np.sort(-rank, axis=1)
        assert (ordered[:, moe.top_groups - 1] - ordered[:, moe.top_groups]).min() >= MARGIN
    kept = np.stack([groups[i, row].ravel() for i, row in enumerate(chosen)])
    ordered = -np.sort(-kept, axis=1)
    assert (ordered[:, moe.top_k - 1] - ordered[:, moe.top_k]).min() >= MARGIN


LARGE = {
    "of DeepSeek-V3": Moe(FP8_BLOCK, DS, 8, 8, 4, 256, 32, 7168, 2048),
    "of Kimi-K2": Moe(FP8_BLOCK, DS, 8, 1, 1, 384, 48, 7168, 2048),
}


@pytest.mark.parametrize("moe", LARGE.values(), ids=list(LARGE))
@pytest.mark.parametrize("error", [0.0, 2.0**-12])
def test_kernels_that_round_scores_choose_the_same_experts(
    moe: Moe, error: float, definition_of: Define
) -> None:
    """Scores of float32 sums, and of a tanh that is 2^-11 off, as some kernels have them."""
    made = case_of(definition_of(moe), 8192).tensors()
    logits, bias = made["routing_logits"].astype(np.float64), made["routing_bias"]
    exact = 1 / (1 + np.exp(-logits))
    signs = np.random.default_rng(0).integers(0, 2, exact.shape) * 2 - 1
    rounded = (exact + error * signs).astype(np.float32)
    chosen = [_chosen_of(moe, scores + bias) for scores in (exact, rounded)]
    assert (chosen[0] == chosen[1]).all()


@pytest.mark.parametrize("moe", LARGE.values(), ids=list(LARGE))
def test_every_expert_has_its_tokens_and_the_bias_decides(moe: Moe, definition_of: Define) -> None:
    made = case_of(definition_of(moe), 8192).tensors()
    scores, bias = (
        1 / (1 + np.exp(-made["routing_logits"].astype(np.float64))),
        made["routing_bias"],
    )
    chosen = _chosen_of(moe, scores + bias)
    counts = np.bincount(chosen.ravel(), minlength=moe.num_experts)
    assert counts.min() > 0.3 * counts.mean()
    assert (chosen != _chosen_of(moe, scores)).any(axis=1).mean() > 0.5


def _chosen_of(moe: Moe, biased: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The experts of each token in their order, computed in the dtype of the scores."""
    groups = biased.reshape(len(biased), moe.num_groups, -1)
    rank = np.sort(groups, axis=2)[:, :, -2:].sum(axis=2)
    kept = np.argsort(rank, axis=1)[:, -moe.top_groups :]
    masked = np.full_like(groups, -np.inf)
    rows = np.arange(len(groups))[:, None]
    masked[rows, kept] = groups[rows, kept]
    return np.sort(np.argsort(masked.reshape(len(biased), -1), axis=1)[:, -moe.top_k :], axis=1)


@pytest.mark.parametrize("routing", [r.name for r in SCORED if r.biased or r.has_groups])
def test_scores_of_parts_that_decide_are_apart(
    routing: str, small: dict[str, Moe], definition_of: Define
) -> None:
    """Bits that a kernel rounds elsewhere change no choice, and the bias has to be there."""
    moe = small[routing]
    made = case_of(definition_of(moe), 2048).tensors()
    logits = made["routing_logits"].astype(np.float64)
    rng = np.random.default_rng(0)
    chosen = [
        _chosen_by_parts(moe, logits * (1 + error * rng.standard_normal(logits.shape)), made)
        for error in (0.0, 1e-6)
    ]
    assert (chosen[0] == chosen[1]).all()
    if moe.routing.biased:
        without = {**made, "routing_bias": np.zeros(moe.num_experts)}
        other = _chosen_by_parts(moe, logits, without)
        assert (chosen[0] != other).any(axis=1).mean() > 0.1


def _chosen_by_parts(
    moe: Moe, logits: np.ndarray[Any, Any], made: Mapping[str, Any]
) -> np.ndarray[Any, Any]:
    """The experts of each token in their order."""
    scores = {
        "softmax": lambda x: np.exp(x) / np.exp(x).sum(axis=1, keepdims=True),
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "sqrtsoftplus": lambda x: np.sqrt(np.log1p(np.exp(x))),
    }[moe.routing.scoring](logits)
    scores = scores + made.get("routing_bias", 0.0)
    groups = scores.reshape(len(scores), moe.num_groups or 1, -1)
    if moe.routing.choice == "each_group":
        best = np.argsort(-groups, axis=2)[:, :, : moe.top_k // moe.num_groups]
        first = np.arange(moe.num_groups)[:, None] * groups.shape[2]
        return np.sort((best + first).reshape(len(scores), -1), axis=1)
    ranked = np.sort(groups, axis=2)
    rank = ranked[:, :, -2:].sum(axis=2) if moe.routing.grouped else ranked[:, :, -1]
    kept = np.argsort(rank, axis=1)[:, -(moe.top_groups or 1) :]
    masked = np.full_like(groups, -np.inf)
    rows = np.arange(len(groups))[:, None]
    masked[rows, kept] = groups[rows, kept]
    return np.sort(np.argsort(masked.reshape(len(scores), -1), axis=1)[:, -moe.top_k :], axis=1)


def test_tokens_of_the_vocabulary_ask_a_table(small: dict[str, Moe], definition_of: Define) -> None:
    moe = small["sqrtsoftplus_hash_renorm_routing"]
    definition = definition_of(moe)
    one, other = (case_of(definition, n).tensors() for n in (32, 512))
    assert one["tid2eid"].shape == (moe.vocab_size, moe.top_k)
    assert (one["tid2eid"] == other["tid2eid"]).all()
    assert all(len(set(row)) == moe.top_k for row in one["tid2eid"].tolist())
    assert one["input_ids"].dtype == np.int64
    assert one["input_ids"].min() >= 0
    assert one["input_ids"].max() < moe.vocab_size
    assert len(set(other["input_ids"].tolist())) > 100


def test_ranks_and_factors(small: dict[str, Moe], definition_of: Define) -> None:
    definition = definition_of(small["fp8_ds_remote"])
    scalars = [c.scalars for c in cases_of(definition, routed_scaling_factor=2.5)]
    assert {s["local_expert_offset"] for s in scalars} == {0, 4, 8, 12}
    assert {s["routed_scaling_factor"] for s in scalars} == {2.5}
    assert cases_of(definition)[0].scalars["routed_scaling_factor"] == 1.0
    assert cases_of(definition_of(small["bf16_default"]))[0].scalars == {}


def test_sizes(small: dict[str, Moe], definition_of: Define) -> None:
    def tokens(form: str) -> list[int]:
        return [c.axes["seq_len"] for c in cases_of(definition_of(small[form]))]

    assert tokens("fp8_renorm")[0] == tokens("bf16_renorm_remote")[0] == 1
    assert tokens("fp8_renorm")[-1] == tokens("bf16_renorm_remote")[-1] == 8192
    assert tokens("bf16_ds") == list(BF16_TOKENS)


def test_seeds_differ_and_weight_scales_are_shared(
    small: dict[str, Moe], definition_of: Define
) -> None:
    definition = definition_of(small["fp8_renorm"])
    one, other = (case_of(definition, n).tensors() for n in (1, 64))
    for name in ("gemm1_weights_scale", "gemm2_weights_scale"):
        assert (one[name] == other[name]).all()
    again = cases_of(definition, seed=1)[0].tensors()
    assert (again["gemm1_weights_scale"] != one["gemm1_weights_scale"]).any()
    assert (again["hidden_states_scale"] != one["hidden_states_scale"]).any()


def test_inputs_of_others_are_not_guessed(small: dict[str, Moe], definition_of: Define) -> None:
    definition = definition_of(small["bf16_default"])
    more = {**definition.inputs, "quant_seed": scalar("int32")}
    reference = f"TOP_K = 4\nROUTING = 'default_routing'\ndef run({', '.join(more)}): pass\n"
    other = attrs.evolve(definition, inputs=more, reference=reference)
    assert fibcore_workloads(other, {}, 0) == ()


@pytest.mark.parametrize("form", [*FORMS, *MORE])
def test_outputs_are_of_the_size_that_the_tolerance_is_for(
    form: str, small: dict[str, Moe], definition_of: Define, run_of: Callable[..., Any]
) -> None:
    """With weights as flashinfer-bench draws them: within a factor of four of the target."""
    torch = pytest.importorskip("torch", reason="references need torch")
    moe, definition = small[form], definition_of(small[form])
    case = case_of(definition, 512, routed_scaling_factor=2.5)
    generator = torch.Generator().manual_seed(0)
    made = case.tensors()
    inputs = []
    for name, spec in definition.inputs.items():
        if spec.shape is None:
            inputs.append(case.scalars[name])
            continue
        dtype = getattr(torch, spec.dtype)
        if name in made:
            inputs.append(torch.from_numpy(np.ascontiguousarray(made[name])).to(dtype))
            continue
        sizes = {**definition.const_axes, **case.axes}
        shape = [sizes[a] for a in spec.shape]
        if spec.dtype == "int8":
            inputs.append(torch.randint(-128, 128, shape, generator=generator).to(dtype))
            continue
        drawn = torch.randn(shape, generator=generator)
        inputs.append((drawn.clamp(-2, 2) if "float8" in spec.dtype else drawn).to(dtype))
    output = run_of(definition)(*inputs).float()
    assert torch.isfinite(output).all()
    busy = output[output.abs().sum(dim=1) > 0]
    std = float(busy.std())
    # Weights of a token that do not sum to one make it smaller.
    assert std < 2 * moe.weights.output_std
    sums_to_one = moe.routing.renormalized or moe.routing.weight_on_input
    assert std > moe.weights.output_std / (8 if sums_to_one else 100)


@pytest.fixture
def run_of() -> Callable[[Definition], Any]:
    """A function to the `run` of a definition."""

    def run(definition: Definition) -> Any:
        namespace: dict[str, Any] = {}
        exec(definition.reference, namespace)  # noqa: S102 - our own file
        return namespace["run"]

    return run


def test_bfloat16_states_and_fp8_scales(small: dict[str, Moe], definition_of: Define) -> None:
    for form, moe in small.items():
        made = case_of(definition_of(moe), 8).tensors()
        assert ("hidden_states" in made) is (moe.weights == BF16), form
        for name, values in made.items():
            if "scale" in name and moe.weights != MXFP4:
                assert (values > 0).all(), name
    assert "output2_scales_scalar" in case_of(definition_of(small["tensor_renorm"]), 8).tensors()
    assert small["tensor_renorm"].weights == FP8_TENSOR


def test_numbers_of_the_activation_are_the_models(
    small: dict[str, Moe], definition_of: Define
) -> None:
    definition = definition_of(small["mxfp4_oai"])
    made = case_of(definition, 4, gemm1_alpha=1.5, gemm1_clamp_limit=5.0).tensors()
    assert made["gemm1_alpha"].tolist() == [1.5] * 16
    assert made["gemm1_clamp_limit"].tolist() == [5.0] * 16
    usual = case_of(definition, 64).tensors()
    assert usual["gemm1_clamp_limit"].tolist() == [7.0] * 16
    assert usual["gemm1_weights_scale"].dtype == np.int8
    assert len(np.unique(usual["gemm1_weights_scale"])) == 3
    assert np.abs(usual["gemm1_bias"]).max() > 3.0


def _right_and_wrong(
    definition: Definition, run_of: Callable[..., Any], wrong: str, tokens: int, **constants: Any
) -> tuple[Any, Any]:
    """Outputs of the reference and of a wrong implementation, on a workload."""
    torch = pytest.importorskip("torch", reason="references need torch")
    made = case_of(definition, tokens, **constants).tensors()
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for name, spec in definition.inputs.items():
        shape = [{**definition.const_axes, "seq_len": tokens}[a] for a in spec.shape or ()]
        drawn = torch.randint(-128, 128, shape, generator=generator)
        if spec.dtype != "int8":
            drawn = torch.randn(shape, generator=generator)
        found = torch.from_numpy(made[name]) if name in made else drawn
        inputs.append(found.to(getattr(torch, spec.dtype)))
    other = next(i for i in fibcore_implementations(definition) or () if i.name == wrong)
    right = run_of(definition)(*inputs).float()
    return right, run_of(attrs.evolve(definition, reference=other.source))(*inputs).float()


@pytest.mark.parametrize(
    ("form", "limit"), [("mxfp4_limit", 10.0), ("fp8_limit", 10.0), ("mxfp4_oai", 7.0)]
)
def test_some_limits_are_so_low_that_a_clamped_gate_shows_below_zero(
    small: dict[str, Moe],
    definition_of: Define,
    run_of: Callable[..., Any],
    form: str,
    limit: float,
) -> None:
    """At the models' limits gate * sigmoid(gate) is next to nothing there."""
    definition, wrong = definition_of(small[form]), "gate is clamped on both sides"
    assert [
        c.axes["seq_len"] for c in cases_of(definition) if c.tensors()["gemm1_clamp_limit"][0] < 2
    ] == [1, 8, 128, 2048]
    right, found = _right_and_wrong(
        definition, run_of, wrong, 128, gemm1_alpha=1.702, gemm1_clamp_limit=limit
    )
    # Kernels that quantise between the products are 2.3 % off.
    assert (found - right).norm() > 0.08 * right.norm()


@pytest.mark.parametrize("wrong", ["up is clamped on one side", "the gate has no alpha"])
def test_limits_show_in_the_outputs(
    small: dict[str, Moe], definition_of: Define, run_of: Callable[..., Any], wrong: str
) -> None:
    """Benchmarks see kernels that leave a limit or the alpha out: errors beyond 1e-2."""
    right, found = _right_and_wrong(definition_of(small["mxfp4_oai"]), run_of, wrong, 64)
    far = (found - right).abs() > 1e-2 + 1e-2 * right.abs()
    assert far.float().mean() > 0.05
