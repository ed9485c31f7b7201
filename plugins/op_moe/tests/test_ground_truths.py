"""Ground truths: which there are, what can be run of them here, and which form they have."""

from __future__ import annotations

import ast
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import attrs
import pytest

pytest.importorskip("torch")

import torch

from fibcore.testing.harness import harness
from fibcore_op_moe import fibcore_ground_truths, fibcore_test_template
from fibcore_op_moe.formats import BF16, FP8_BLOCK, FP8_TENSOR, INT8_CHANNEL
from fibcore_op_moe.ground_truths import flashinfer_routes, trtllm_takes
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.routings import DEFAULT, DS, LLAMA4, RENORM, SCORED

DEEPSEEK = Moe(FP8_BLOCK, DS, 8, 8, 4, 256, 32, 7168, 2048)
KIMI = Moe(FP8_BLOCK, DS, 8, 1, 1, 384, 48, 7168, 2048)
MIXTRAL = Moe(BF16, RENORM, 2, 0, 0, 8, 8, 4096, 14336)
SCOUT = Moe(FP8_TENSOR, LLAMA4, 1, 0, 0, 16, 16, 5120, 8192)
SMALL_KINDS = ("fp8_ds_remote", "fp8_ds", "fp8_llama4", "bf16_ds_remote", "bf16_renorm_remote")
ALL_KINDS = (
    *(*SMALL_KINDS, "bf16_default", "tensor_renorm", "tensor_default", "tensor_llama4"),
    *("tensor_ds_remote", "channel_ds_remote", "channel_llama4", "int8_renorm"),
    *("bf16_gelu", "bf16_gelu_tanh"),
)
PACKED_KINDS = (
    *("mxfp4_oai", "mxfp4_oai_remote", "mxfp4_ds_remote", "mxfp4_default", "mxfp4_llama4"),
    *("nvfp4_ds_remote", "nvfp4_oai", "nvfp4_renorm", "nvfp4_llama4"),
    *("mxint4_ds_remote", "mxint4_renorm", "mxint4_limit", "mxfp4_situ", "nvfp4_relu2"),
    *("w4a16_ds_remote", "w4a16_renorm", "w4a16_llama4", "w4a16_relu2", "w4a16_oai"),
)
# What SGLang and torch compute, and no kernel of FlashInfer's.
OTHER_KINDS = (
    *("bf16_oai", "bf16_relu2", "bf16_silu", "bf16_step", "fp8_limit", "fp8_relu2"),
    *("tensor_situ", "tensor_relu2", "channel_gelu_alone"),
    *(routing.name for routing in SCORED),
)


def entries(truths: Any) -> list[tuple[str, Any, Any]]:
    return [(t.entry, t.min_capability, t.max_capability) for t in truths]


def test_ground_truths_of_deepseek_in_order(definition_of: Any) -> None:
    assert entries(fibcore_ground_truths(definition_of(DEEPSEEK))) == [
        ("flashinfer_trtllm_fp8_block_scale_moe_ds_routing_topk8_ng8_kg4", (10, 0), (10, 3)),
        ("flashinfer_moe_segment_gemm_ds_routing_topk8_ng8_kg4", (8, 9), None),
        ("sglang_moe_ds_routing_topk8_ng8_kg4", None, None),
    ]


def test_ground_truths_of_mixtral_in_order(definition_of: Any) -> None:
    assert entries(fibcore_ground_truths(definition_of(MIXTRAL))) == [
        ("flashinfer_trtllm_bf16_moe_renorm_topk2", (10, 0), (10, 3)),
        ("flashinfer_cutlass_bf16_moe_renorm_topk2", (9, 0), (9, 0)),
        ("flashinfer_moe_segment_gemm_renorm_topk2_torch_routing", (8, 0), None),
        ("flashinfer_cute_dsl_bf16_moe_renorm_topk2", (9, 0), (9, 0)),
        ("sglang_moe_renorm_topk2", None, None),
    ]


def test_what_flashinfer_takes() -> None:
    assert flashinfer_routes(DEEPSEEK)
    assert not flashinfer_routes(KIMI)  # one group cannot have as many groups as experts a token
    assert not flashinfer_routes(MIXTRAL)
    assert trtllm_takes(DEEPSEEK)
    assert trtllm_takes(KIMI)
    assert trtllm_takes(SCOUT)
    # Its other kernels put Llama 4's weight on the output.
    assert not trtllm_takes(attrs.evolve(SCOUT, weights=BF16))
    assert not trtllm_takes(attrs.evolve(KIMI, top_k=9))
    assert not trtllm_takes(attrs.evolve(DEEPSEEK, top_groups=5))
    assert not trtllm_takes(attrs.evolve(MIXTRAL, intermediate_size=96))


def test_other_forms_have_none(definition_of: Any) -> None:
    definition = definition_of(DEEPSEEK)
    parameters = ", ".join(definition.inputs)
    other = attrs.evolve(
        definition, name="moe_of_others", reference=f"def run({parameters}):\n    pass\n"
    )
    assert fibcore_ground_truths(other) == ()
    assert fibcore_ground_truths(attrs.evolve(definition, op_type="gemm")) == ()


def test_names_of_different_ground_truths_are_different(definition_of: Any, small: Any) -> None:
    template = fibcore_test_template("moe")
    assert template is not None
    owners = dict.fromkeys(top_level(template.source), template.source)
    for moe in (*small.values(), DEEPSEEK, KIMI, MIXTRAL, SCOUT):
        for truth in fibcore_ground_truths(definition_of(moe)) or ():
            names = top_level(truth.source)
            assert truth.entry in names
            for name in names:
                assert name.lower().startswith(truth.entry.lower())
                assert owners.setdefault(name, truth.source) == truth.source


def top_level(source: str) -> set[str]:
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names.add(node.targets[0].id)
    return names


def entry_of(truth: Any) -> Any:
    namespace: dict[str, Any] = {"__name__": "ground_truth"}
    exec(truth.source, namespace)  # noqa: S102 - our own file
    return namespace[truth.entry]


def agree(template: Any, definition: Any, run: Any, entry: Any, tolerance: float) -> None:
    for case in template.cases(definition):
        inputs = template.inputs(definition, case)
        expected = run(*inputs.values()).float()
        actual = entry(**inputs)
        assert actual.dtype == torch.bfloat16
        spread = float(expected.std()) if expected.numel() > 1 else 0.0
        near = actual.float().isclose(expected, rtol=tolerance, atol=tolerance * spread)
        # Of many elements some few are sums of roundings that all went one way.
        assert int((~near).sum()) <= near.numel() / 10_000


@pytest.mark.parametrize(
    "kernel", [*ALL_KINDS, *PACKED_KINDS, *(k for k in OTHER_KINDS if k != "softcap_routing")]
)
def test_references_agree_with_sglang(
    definition_of: Any, small: Any, template: Any, load_run: Any, kernel: str
) -> None:
    package, where = harness().find_sglang(None)
    if package is None:
        pytest.skip(where)
    definition = definition_of(small[kernel])
    (truth,) = [t for t in fibcore_ground_truths(definition) or () if t.kind == "sglang"]
    entry, source = entry_of(truth), harness().SGLangSource(package)

    def bound(**inputs: Any) -> Any:
        return entry(source, **inputs)

    try:
        agree(template, definition, load_run(definition.reference), bound, 1e-2)
    except LookupError as missing:  # this version of SGLang has not all that it takes
        pytest.skip(str(missing))


@pytest.mark.parametrize("kernel", [*PACKED_KINDS, *OTHER_KINDS, "channel_ds_remote"])
def test_references_agree_with_torch(
    definition_of: Any, small: Any, template: Any, load_run: Any, kernel: str
) -> None:
    definition = definition_of(small[kernel])
    (truth,) = [t for t in fibcore_ground_truths(definition) or () if t.kind == "torch"]
    assert truth.solution
    agree(template, definition, load_run(definition.reference), entry_of(truth), 1e-2)


def stand_ins(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Modules in FlashInfer's place that do in torch what its kernels do."""
    used = SimpleNamespace(routed=0, segments=0)

    def module(name: str, **names: Any) -> None:
        made = ModuleType(name)
        for key, value in names.items():
            setattr(made, key, value)
        monkeypatch.setitem(sys.modules, name, made)

    class SegmentGEMMWrapper:
        def __init__(self, workspace: Any) -> None:
            assert workspace.dtype == torch.int8

        def run(
            self, x: Any, weights: Any, batch_size: int, column_major: bool, *, seg_indptr: Any
        ) -> Any:
            assert x.dtype == weights.dtype == torch.bfloat16
            assert column_major
            assert weights.is_contiguous()
            assert len(seg_indptr) == batch_size + 1 == len(weights) + 1
            assert int(seg_indptr[-1]) == len(x)
            used.segments += batch_size
            parts = [
                x[start:stop].float() @ w.float().T
                for start, stop, w in zip(
                    seg_indptr[:-1].tolist(), seg_indptr[1:].tolist(), weights, strict=True
                )
            ]
            return torch.cat(parts).to(torch.bfloat16)

    def silu_and_mul(x: Any) -> Any:
        first, second = x.float().chunk(2, dim=1)
        return (torch.nn.functional.silu(first) * second).to(torch.bfloat16)

    def geglu(approximate: str) -> Any:
        def run(x: Any) -> Any:
            first, second = x.float().chunk(2, dim=1)
            activated = torch.nn.functional.gelu(first, approximate=approximate)
            return (activated * second).to(torch.bfloat16)

        return run

    def fused_topk_deepseek(
        scores: Any,
        bias: Any,
        n_group: int,
        topk_group: int,
        topk: int,
        routed_scaling_factor: float,
        topk_values: Any,
        topk_indices: Any,
    ) -> None:
        used.routed += 1
        sigmoid = torch.sigmoid(scores)
        groups = (sigmoid + bias).unflatten(1, (n_group, -1))
        kept = groups.topk(2, dim=2).values.sum(2).topk(topk_group).indices
        mask = torch.zeros(groups.shape[:2]).scatter(1, kept, 1.0)[:, :, None].bool()
        chosen = groups.masked_fill(~mask, -torch.inf).flatten(1).topk(topk).indices
        weights = sigmoid.gather(1, chosen)
        topk_values.copy_(weights / weights.sum(1, keepdim=True) * routed_scaling_factor)
        topk_indices.copy_(chosen)

    module("flashinfer")
    module("flashinfer.gemm", SegmentGEMMWrapper=SegmentGEMMWrapper)
    names = {"gelu_and_mul": "none", "gelu_tanh_and_mul": "tanh"}
    geglus = {name: geglu(approximate) for name, approximate in names.items()}
    module("flashinfer.activation", silu_and_mul=silu_and_mul, **geglus)
    sys.modules["flashinfer"].activation = sys.modules["flashinfer.activation"]  # type: ignore[attr-defined]
    module("flashinfer.fused_moe", fused_topk_deepseek=fused_topk_deepseek)
    return used


@pytest.mark.parametrize("kernel", ALL_KINDS)
def test_segment_gemm_puts_the_kernels_together(
    definition_of: Any,
    small: Any,
    template: Any,
    load_run: Any,
    monkeypatch: pytest.MonkeyPatch,
    kernel: str,
) -> None:
    """Its bookkeeping, with stand-ins for FlashInfer; on a GPU the generated tests run it."""
    used = stand_ins(monkeypatch)
    definition = definition_of(small[kernel])
    (truth,) = [t for t in fibcore_ground_truths(definition) or () if "segment_gemm" in t.entry]
    entry = entry_of(truth)
    agree(template, definition, load_run(definition.reference), entry, 3e-2)
    assert used.segments > 0
    assert (used.routed > 0) == flashinfer_routes(small[kernel])


SIZED = {  # as wide as models have them: of few elements none is far off
    "bf16": Moe(BF16, DS, 8, 1, 1, 32, 32, 2048, 512),
    "one_expert": Moe(BF16, LLAMA4, 1, 0, 0, 16, 16, 2048, 256),
    "fp8_block": Moe(FP8_BLOCK, DS, 8, 1, 1, 32, 32, 2048, 256),
    "int8": Moe(INT8_CHANNEL, RENORM, 4, 0, 0, 16, 16, 2048, 256),
}


@pytest.mark.parametrize("kernel", SIZED)
def test_what_kernels_round_is_inside_and_not_far_inside(
    definition_of: Any, template: Any, load_run: Any, monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    """A kernel that rounds to 16 bits uses a good part of the room that sizes give it."""
    stand_ins(monkeypatch)
    definition = definition_of(SIZED[kernel])
    (truth,) = [t for t in fibcore_ground_truths(definition) or () if "segment_gemm" in t.entry]
    (case,) = [c for c in template.cases(definition) if c["id"] == "sixteen_tokens"]
    inputs = template.inputs(definition, case)
    expected = entry_of(truth)(**inputs)
    actual = load_run(definition.reference)(*inputs.values())
    found: list[tuple[float, float]] = []

    def check(actual: Any, expected: Any, rounding: Any) -> None:
        error = (actual.double() - expected.double()).abs()
        # What the outputs themselves are rounded by, both of them.
        error -= 2**-7 * expected.double().abs()
        found.append((float((error / rounding).max()), float(rounding.min())))

    template.module.compare(definition.to_dict(), case, "output", actual, expected, check)
    ((used, least),) = found
    assert 0.2 < used < 0.6
    assert least > 0


def test_what_kernels_round_grows_with_the_elements(definition_of: Any, template: Any) -> None:
    module = template.module
    sizes = module.Sizes(definition_of(SIZED["bf16"]).to_dict())
    torch.manual_seed(0)
    few = torch.randn(1, 2048)
    many = few.repeat(1000, 1)
    ratio = float((module._rounding(sizes, many)[:1] / module._rounding(sizes, few)).max())
    assert 1.1 < ratio < 1.2
    twice = module._rounding(sizes, 2 * few) / module._rounding(sizes, few)
    assert torch.allclose(twice, torch.tensor(2.0, dtype=torch.float64))
    assert module._rounding(sizes, few[:, :100]).shape == (1, 100)
    assert not module._rounding(sizes, torch.zeros(2, 2048)).any()


def test_segment_gemm_takes_experts_in_parts(
    definition_of: Any, small: Any, template: Any, load_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins(monkeypatch)
    definition = definition_of(small["bf16_default"])
    (truth,) = [t for t in fibcore_ground_truths(definition) or () if "segment_gemm" in t.entry]
    entry = entry_of(truth)
    entry.__globals__[
        f"{truth.entry.removesuffix('_torch_routing')}_torch_routing_BYTES".upper()
    ] = 1
    agree(template, definition, load_run(definition.reference), entry, 3e-2)


def test_cutlass_is_not_built_for_a_test(
    definition_of: Any, small: Any, template: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("flashinfer.fused_moe")
    vars(module)["cutlass_fused_moe"] = None
    vars(module)["gen_cutlass_fused_moe_sm90_module"] = lambda: SimpleNamespace(is_compiled=False)
    monkeypatch.setitem(sys.modules, "flashinfer", ModuleType("flashinfer"))
    monkeypatch.setitem(sys.modules, "flashinfer.fused_moe", module)
    definition = definition_of(small["bf16_default"])
    (truth,) = [t for t in fibcore_ground_truths(definition) or () if "cutlass" in t.entry]
    inputs = template.inputs(definition, template.cases(definition)[0])
    with pytest.raises(NotImplementedError, match="not built"):
        entry_of(truth)(**inputs)


def test_the_experts_of_the_cute_dsl_take_up_before_gate_in_blocks(
    definition_of: Any, small: Any, template: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def kernel(*arguments: Any, **named: Any) -> Any:
        given.update(named, weights=arguments[3], chosen=arguments[1])
        return arguments[0]

    module = ModuleType("flashinfer.fused_moe")
    vars(module)["cute_dsl_fused_moe_bf16"] = kernel
    monkeypatch.setitem(sys.modules, "flashinfer", ModuleType("flashinfer"))
    monkeypatch.setitem(sys.modules, "flashinfer.fused_moe", module)
    moe = attrs.evolve(small["bf16_default"], intermediate_size=64)
    definition = definition_of(moe)
    (truth,) = [t for t in fibcore_ground_truths(definition) or () if "cute_dsl" in t.entry]
    inputs = template.inputs(definition, template.cases(definition)[0])
    entry_of(truth)(**inputs)
    up, gate = inputs["gemm1_weights"].chunk(2, 1)
    blocks = [half[:, rows] for rows in (slice(0, 32), slice(32, 64)) for half in (up, gate)]
    assert torch.equal(given["weights"], torch.cat(blocks, 1))
    assert given["chosen"].dtype == torch.int32
    assert (given["num_experts"], given["top_k"]) == (moe.num_experts, moe.top_k)
    del vars(module)["cute_dsl_fused_moe_bf16"]
    with pytest.raises(NotImplementedError, match="no CuTe DSL"):
        entry_of(truth)(**inputs)
    odd = fibcore_ground_truths(definition_of(attrs.evolve(moe, intermediate_size=48)))
    assert not any("cute_dsl" in t.entry for t in odd or ())


def test_default_routing_is_not_renorm_for_any_ground_truth(definition_of: Any) -> None:
    kinds = [Moe(BF16, kind, 2, 0, 0, 8, 8, 128, 128) for kind in (RENORM, DEFAULT)]
    sources = [{t.source for t in fibcore_ground_truths(definition_of(m)) or ()} for m in kinds]
    assert not sources[0] & sources[1]
