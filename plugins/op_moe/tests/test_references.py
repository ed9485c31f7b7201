"""References by themselves: files that run alone, ties, pieces of work, memory, edge cases."""

from __future__ import annotations

import itertools
import unittest
from typing import Any

import attrs
import pytest

pytest.importorskip("torch")

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fibcore.plugin import render
from fibcore.testing.idle_code import idle_code
from fibcore.testing.shares import a_share
from fibcore.testing.wrong_references import assert_accepted
from fibcore_op_moe.activations import ACTIVATIONS, SWIGLU, SWIGLU_OAI
from fibcore_op_moe.assembling import select, source, whole
from fibcore_op_moe.formats import (
    BF16,
    FP8_BLOCK,
    FP8_TENSOR,
    INT8_CHANNEL,
    MXFP4,
    MXINT4,
    NVFP4,
    W4A16_NVFP4,
)
from fibcore_op_moe.identity import kernel_of
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.routings import DS, RENORM

WITH_EVERYTHING = Moe(MXFP4, DS, 4, 4, 2, 16, 4, 128, 64, SWIGLU_OAI, biased=True)


def case_of(template: Any, definition: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in template.cases(definition) if c["id"] == name)
    return found


def namespace_of(run: Any) -> dict[str, Any]:
    """Top level of a reference; `no_grad` is wrapped around its `run`."""
    found: dict[str, Any] = run.__wrapped__.__globals__
    return found


def outputs(template: Any, definition: Any, run: Any, name: str = "sixteen_tokens") -> Any:
    return run(*template.inputs(definition, case_of(template, definition, name)).values())


@pytest.mark.parametrize(
    ("file", "kernel"),
    [
        ("fp8_block_scale", "fp8_ds_remote"),
        ("bf16", "bf16_ds_remote"),
        ("group_scale", "mxfp4_oai_ds_remote"),
        ("row_scale", "channel_ds_remote"),
    ],
)
def test_file_runs_by_itself(
    definition_of: Any, small: Any, template: Any, load_run: Any, file: str, kernel: str
) -> None:
    moe = WITH_EVERYTHING if file == "group_scale" else small[kernel]
    definition = definition_of(moe)
    text = whole(file)
    constants = {
        "NUM_EXPERTS": moe.num_experts,
        "NUM_LOCAL_EXPERTS": moe.num_local_experts,
        "HIDDEN_SIZE": moe.hidden_size,
        "INTERMEDIATE_SIZE": moe.intermediate_size,
        "TOP_K": moe.top_k,
        "NUM_GROUPS": moe.num_groups,
        "TOP_GROUPS": moe.top_groups,
    }
    alone = outputs(template, definition, load_run(render(text, constants)))
    emitted = outputs(template, definition, load_run(definition.reference))
    assert torch.equal(alone, emitted)
    # What is emitted for the kernel with everything in it is the file without its marks.
    assert select(render(text, constants), moe.words) == definition.reference.replace(
        "ds_routing(", "route("
    )


def test_activations_run_by_themselves() -> None:
    namespace: dict[str, Any] = {}
    exec(source("references", "activations.py"), namespace)  # noqa: S102 - our own file
    given = {"up": torch.randn(3), "gate": torch.randn(3), "alpha": 1.5, "limit": 0.5}
    for activation in ACTIVATIONS:
        if activation is not SWIGLU:
            namespace.update(given)
            assert eval(activation.call, namespace).shape == (3,)  # noqa: S307 - our own call


def test_emitted_references_have_no_idle_code(definition_of: Any, small: Any) -> None:
    for moe in small.values():
        assert idle_code(definition_of(moe).reference) == []


@pytest.mark.parametrize(
    ("file", "experts", "given"),
    [
        ("routing_renorm", 12, ()),
        ("routing_default", 12, ()),
        ("routing_llama4", 12, ()),
        ("routing_sparsemixer", 12, (1.0,)),
        ("routing_scored", 256, (torch.zeros(256), 1.0)),
    ],
)
def test_routing_file_runs_by_itself(file: str, experts: int, given: tuple[Any, ...]) -> None:
    namespace: dict[str, Any] = {}
    exec(source("references", f"{file}.py"), namespace)  # noqa: S102 - our own file
    chosen, weights = namespace["route"](torch.randn(3, experts), *given)
    assert chosen.shape == weights.shape == (3, namespace["TOP_K"])


def test_ties_go_to_the_lower_index(definition_of: Any, small: Any, load_run: Any) -> None:
    for kernel in ("bf16_ds", "bf16_default", "tensor_llama4"):
        moe = small[kernel]
        namespace = namespace_of(load_run(definition_of(moe).reference))
        logits = torch.zeros(2, moe.num_experts)
        logits[:, 5:] = 1.0
        bias = (torch.zeros(moe.num_experts), 1.0) if moe.routing == DS else ()
        chosen, _ = namespace[moe.routing.function](logits, *bias)
        assert chosen.tolist() == [list(range(5, 5 + moe.top_k))] * 2


@pytest.mark.parametrize(
    "kernel", ["fp8_ds", "bf16_renorm_remote", "tensor_default", "mxfp4_oai", "nvfp4_oai"]
)
def test_pieces_do_not_change_the_output(
    definition_of: Any, small: Any, template: Any, load_run: Any, kernel: str
) -> None:
    definition = definition_of(small[kernel])
    whole = outputs(template, definition, load_run(definition.reference)).float()
    pieces = render(
        definition.reference,
        {"TOKEN_CHUNK": 3, "INTERMEDIATE_CHUNK": 32 if kernel.endswith("fp4_oai") else 128},
    )
    assert torch.allclose(
        outputs(template, definition, load_run(pieces)).float(), whole, rtol=1e-2, atol=1e-3
    )


def test_a_last_piece_may_be_smaller(definition_of: Any, template: Any) -> None:
    definition = definition_of(Moe(BF16, RENORM, 2, 0, 0, 8, 8, 64, 640))
    assert_accepted(template, definition)


def test_scalars_may_be_tensors(
    definition_of: Any, small: Any, template: Any, load_run: Any
) -> None:
    definition = definition_of(small["fp8_ds_remote"])
    run = load_run(definition.reference)
    inputs = template.inputs(definition, case_of(template, definition, "sixteen_tokens"))
    plain = run(*inputs.values())
    inputs["local_expert_offset"] = torch.tensor(inputs["local_expert_offset"], dtype=torch.int32)
    inputs["routed_scaling_factor"] = torch.tensor(inputs["routed_scaling_factor"])
    assert torch.equal(run(*inputs.values()), plain)


@pytest.mark.parametrize(
    "kernel",
    [
        *("fp8_ds_remote", "bf16_default", "tensor_llama4", "channel_ds_remote"),
        *("sqrtsoftplus_hash_renorm_routing", "sparsemixer_routing", "softmax_groups_routing"),
    ],
)
def test_no_tokens_give_no_output(
    definition_of: Any, small: Any, template: Any, load_run: Any, kernel: str
) -> None:
    definition = definition_of(small[kernel])
    inputs = template.inputs(definition, case_of(template, definition, "one_token"))
    for name, spec in definition.inputs.items():
        if "seq_len" in (spec.shape or ()):
            inputs[name] = inputs[name].narrow(spec.shape.index("seq_len"), 0, 0)
    output = load_run(definition.reference)(*inputs.values())
    assert output.shape == (0, small[kernel].hidden_size)
    assert output.dtype == torch.bfloat16


def test_scores_that_underflow_give_zero(definition_of: Any, small: Any, load_run: Any) -> None:
    namespace = namespace_of(load_run(definition_of(small["bf16_ds"]).reference))
    bias = torch.zeros(16)
    chosen, weights = namespace[DS.function](torch.full((1, 16), -200.0), bias, 2.5)
    assert weights.tolist() == [[0.0] * 4]
    assert sorted(chosen[0].tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "kernel",
    [
        *("fp8_ds_remote", "bf16_default", "tensor_renorm", "mxfp4_oai", "nvfp4_oai"),
        *("channel_ds_remote", "mxint4_limit", "bf16_oai", "fp8_relu2", "fp8_limit"),
        *("sqrtsoftplus_hash_renorm_routing", "softmax_renorm_expert_scale_routing"),
    ],
)
def test_sizes_are_asserted(
    definition_of: Any, small: Any, template: Any, load_run: Any, kernel: str
) -> None:
    definition = definition_of(small[kernel])
    run = load_run(definition.reference)
    inputs = template.inputs(definition, case_of(template, definition, "one_token"))
    for name, spec in definition.inputs.items():
        for dimension, axis in enumerate(spec.shape or ()):
            if definition.axes[axis].value is None:
                continue
            wrong = dict(inputs)
            wrong[name] = inputs[name].narrow(dimension, 0, inputs[name].shape[dimension] - 1)
            with pytest.raises(AssertionError):
                run(*wrong.values())


class Largest(TorchDispatchMode):
    """Keeps the size of the largest float32 (or wider) tensor that an operation makes."""

    def __init__(self, inputs: list[Any]) -> None:
        super().__init__()
        self.bytes = 0
        tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
        self.given = {x.untyped_storage().data_ptr() for x in tensors}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.dtype.itemsize >= 4:
                storage = leaf.untyped_storage()
                if storage.data_ptr() not in self.given:
                    self.bytes = max(self.bytes, storage.nbytes())
        return result


@pytest.mark.parametrize(
    "weights", [FP8_BLOCK, BF16, FP8_TENSOR, INT8_CHANNEL, MXFP4, MXINT4, NVFP4, W4A16_NVFP4]
)
def test_no_temporary_holds_an_expert(
    definition_of: Any, template: Any, load_run: Any, weights: str
) -> None:
    """Memory depends on a piece of one expert, not on how many experts there are or are chosen."""
    moe = Moe(weights, RENORM, 4, 0, 0, 384, 384, 256, 2048)
    definition = definition_of(moe)
    inputs = template.inputs(definition, case_of(template, definition, "sixteen_tokens"))
    run = load_run(definition.reference)
    largest = Largest([*inputs.values()])
    with largest:
        run(*inputs.values())
    piece = 4 * namespace_of(run)["INTERMEDIATE_CHUNK"] * moe.hidden_size
    assert 0 < largest.bytes <= piece
    assert piece < 4 * 2 * moe.intermediate_size * moe.hidden_size


def test_number_of_experts_is_that_of_deepseek_and_kimi(definition_of: Any, template: Any) -> None:
    """The routing of DeepSeek-V3 and Kimi-K2 at small widths: 256 in 8 groups, 384 in one."""
    for groups, kept, experts, local in ((8, 4, 256, 32), (1, 1, 384, 384), (1, 1, 384, 48)):
        moe = Moe(FP8_BLOCK, DS, 8, groups, kept, experts, local, 128, 128)
        definition = definition_of(moe)
        assert_accepted(template, definition)


def test_smaller_kernels_have_the_sizes_of_their_definition(definition_of: Any, small: Any) -> None:
    for moe in small.values():
        definition = definition_of(moe)
        assert kernel_of(definition) == moe
        renamed = attrs.evolve(definition, name="renamed")
        assert kernel_of(renamed) == moe


def close(actual: Any, expected: Any) -> bool:
    spread = float(expected.float().std())
    return bool(torch.allclose(actual.float(), expected.float(), rtol=1e-2, atol=2e-3 * spread))


@pytest.mark.parametrize("kernel", ["fp8_ds_remote", "fp8_renorm", "bf16_default", "tensor_llama4"])
def test_order_of_tokens(
    definition_of: Any, small: Any, template: Any, load_run: Any, kernel: str
) -> None:
    definition = definition_of(small[kernel])
    run = load_run(definition.reference)
    inputs = template.inputs(definition, case_of(template, definition, "sixteen_tokens"))
    plain = run(*inputs.values())
    order = torch.randperm(16, generator=template.generator())
    for name in ("routing_logits", "hidden_states"):
        inputs[name] = inputs[name][order]
    if "hidden_states_scale" in inputs:
        inputs["hidden_states_scale"] = inputs["hidden_states_scale"][:, order]
    assert close(run(*inputs.values()), plain[order])


@pytest.mark.parametrize("kernel", ["fp8_ds", "bf16_ds", "fp8_renorm", "bf16_default"])
def test_numbering_of_experts(
    definition_of: Any, small: Any, template: Any, load_run: Any, kernel: str
) -> None:
    """Experts without groups, all on this rank, may be numbered in any way."""
    definition = definition_of(small[kernel])
    run = load_run(definition.reference)
    inputs = template.inputs(definition, case_of(template, definition, "sixteen_tokens"))
    plain = run(*inputs.values())
    order = torch.randperm(small[kernel].num_experts, generator=template.generator())
    inputs["routing_logits"] = inputs["routing_logits"][:, order]
    for name in inputs:
        if name.startswith("gemm") or name == "routing_bias":
            inputs[name] = inputs[name][order]
    assert close(run(*inputs.values()), plain)


def test_scaling_factor_scales_the_output(
    definition_of: Any, small: Any, template: Any, load_run: Any
) -> None:
    definition = definition_of(small["fp8_ds_remote"])
    run = load_run(definition.reference)
    inputs = template.inputs(definition, case_of(template, definition, "sixteen_tokens"))
    plain = run(*inputs.values())
    inputs["routed_scaling_factor"] *= 3
    assert close(run(*inputs.values()), 3 * plain.float())


@pytest.mark.parametrize("kernel", ["fp8_renorm", "bf16_default"])
def test_softmax_does_not_see_a_shift(
    definition_of: Any, small: Any, template: Any, load_run: Any, kernel: str
) -> None:
    definition = definition_of(small[kernel])
    run = load_run(definition.reference)
    inputs = template.inputs(definition, case_of(template, definition, "sixteen_tokens"))
    plain = run(*inputs.values())
    inputs["routing_logits"] = inputs["routing_logits"] + 2.0
    assert close(run(*inputs.values()), plain)


def test_ranks_sum_to_the_whole(definition_of: Any, template: Any, load_run: Any) -> None:
    """What the ranks of an expert-parallel group compute adds up to the layer."""
    whole = Moe(BF16, DS, 4, 4, 2, 16, 16, 192, 96)
    definition = definition_of(whole)
    inputs = template.inputs(definition, case_of(template, definition, "sixteen_tokens"))
    expected = load_run(definition.reference)(*inputs.values()).float()
    part = attrs.evolve(whole, num_local_experts=4)
    run = load_run(definition_of(part).reference)
    total = torch.zeros_like(expected)
    for first in range(0, 16, 4):
        mine = dict(inputs)
        for name in ("gemm1_weights", "gemm2_weights"):
            mine[name] = inputs[name][first : first + 4]
        mine["local_expert_offset"] = first
        ordered = [mine[name] for name in definition_of(part).inputs]
        total += run(*ordered).float()
    # Every rank rounds its part to bfloat16.
    assert torch.allclose(total, expected, rtol=2e-2, atol=1e-2 * float(expected.std()))


def test_inputs_have_no_near_ties(definition_of: Any, small: Any, template: Any) -> None:
    """Scores that decide are apart; bfloat16 logits are what was drawn."""
    choose, sizes_of = vars(template.module)["_choose"], vars(template.module)["Sizes"]
    for moe in small.values():
        definition = definition_of(moe)
        sizes = sizes_of(definition.to_dict())
        if moe.routing.choice == "hash":
            continue  # which scores do not decide
        for case in template.cases(definition):
            inputs = template.inputs(definition, case)
            bias = torch.zeros(moe.num_experts, dtype=torch.float64)
            bias = inputs["routing_bias"].double() if moe.routing.biased else bias
            for logits in inputs["routing_logits"].double():
                assert choose(sizes, logits, bias)[1] >= vars(template.module)["MARGIN"]


def test_template_skips_forms_that_it_does_not_know(definition_of: Any, template: Any) -> None:
    definition = definition_of(Moe(BF16, RENORM, 2, 0, 0, 8, 8, 64, 64))
    parameters = ", ".join(definition.inputs)
    other = attrs.evolve(
        definition, name="moe_of_others", reference=f"def run({parameters}):\n    pass\n"
    )
    (case,) = template.cases(other)
    with pytest.raises(unittest.SkipTest, match="know those of moe_of_others"):
        template.inputs(other, case)


TENSOR_CORES = ["fp8_ds_remote", "fp8_default_remote", "fp8_llama4", "bf16_ds_remote"]
TENSOR_CORES += ["bf16_renorm_remote", "bf16_llama4", "tensor_renorm", "tensor_llama4"]
TENSOR_CORES += ["mxfp4_oai_remote", "mxfp4_llama4", "nvfp4_oai", "nvfp4_llama4"]
TENSOR_CORES += ["channel_ds_remote", "channel_llama4", "int8_renorm", "mxint4_ds_remote"]
TENSOR_CORES += ["bf16_relu2", "bf16_oai", "fp8_relu2", "nvfp4_relu2"]
TENSOR_CORES += ["w4a16_ds_remote", "w4a16_llama4", "w4a16_relu2", "w4a16_oai"]


TOGETHER = [
    {},
    {"WEIGHTS_AT_ONCE": 400_000},
    {"WEIGHTS_AT_ONCE": 1},
    {"ROWS_AT_ONCE": 12, "SUMMED_AT_ONCE": 80},
]


@pytest.mark.parametrize(
    ("kernel", "constants"), a_share(itertools.product(TENSOR_CORES, TOGETHER), 3)
)
def test_products_on_tensor_cores(
    definition_of: Any,
    small: Any,
    template: Any,
    load_run: Any,
    monkeypatch: pytest.MonkeyPatch,
    kernel: str,
    constants: dict[str, int],
) -> None:
    """What a GPU computes, with a stand-in for its product of bfloat16 numbers."""
    used: list[int] = []

    def bmm(a: Any, b: Any, *, out_dtype: Any) -> Any:
        """Takes an out_dtype."""
        assert a.dtype == b.dtype == torch.bfloat16
        assert out_dtype == torch.float32
        used.append(len(a))
        return a.float() @ b.float()

    # Experts begin closer to each other in memory than a row is long, as they do at real sizes.
    monkeypatch.setitem(vars(template.module), "SHIFT", 16)
    definition = definition_of(small[kernel])
    text = render(definition.reference, constants).replace("x.is_cuda", "True")
    # The second scales the weights, not x.
    for source_text in (text, text.replace("if x.shape[1] <= BLOCK:", "if x.shape[1] <= 2:")):
        with monkeypatch.context() as patched:
            patched.setattr(torch, "bmm", bmm)
            run = load_run(source_text)
            found = [
                outputs(template, definition, run, case["id"])
                for case in template.cases(definition)
            ]
            for _, check in template.checks(definition, run):
                check()
        for case, output in zip(template.cases(definition), found, strict=True):
            right = outputs(template, definition, load_run(definition.reference), case["id"])
            # One step of bfloat16 where float32 sums fall on either side.
            near_zero = 1e-4 * max(1.0, float(right.float().abs().max()))
            assert torch.allclose(output.float(), right.float(), rtol=2**-7, atol=near_zero)
    assert used


def test_experts_multiplied_together(definition_of: Any, small: Any, load_run: Any) -> None:
    namespace = namespace_of(load_run(definition_of(small["fp8_ds_remote"]).reference))
    namespace["ROWS_AT_ONCE"] = 8
    groups = namespace["groups"]
    assert groups([1, 1, 1, 1], 4) == [(0, 4)]
    assert groups([0, 1, 0, 1], 2) == [(1, 2), (3, 4)]  # at most two experts
    assert groups([0, 1, 0, 2], 3) == [(1, 4)]  # what lies between goes along
    assert groups([2, 2, 9, 1], 4) == [(0, 2), (2, 3), (3, 4)]  # many rows of one are not for all
    assert groups([0, 0, 0, 0], 4) == []
