"""The tables of routings, formats and activations, and what emitted files repeat of them."""

from __future__ import annotations

import ast
from typing import Any

import attrs
import pytest

from fibcore_op_moe import activations, test_template
from fibcore_op_moe.activations import ACTIVATIONS, SWIGLU, Activation
from fibcore_op_moe.assembling import source
from fibcore_op_moe.formats import FORMATS, WeightFormat
from fibcore_op_moe.identity import kernel_of
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.routings import ROUTINGS, SCORED, Routing, find

each_routing = pytest.mark.parametrize("routing", ROUTINGS, ids=lambda routing: routing.name)
each_format = pytest.mark.parametrize("weights", FORMATS, ids=lambda weights: weights.name)


@each_routing
def test_a_routing_has_a_reference(routing: Routing) -> None:
    if routing.reference is not None:
        assert "def route(" in source("references", f"{routing.reference}.py")


@each_format
def test_a_format_has_a_reference(weights: WeightFormat) -> None:
    assert "def run(" in source("references", f"{weights.reference or weights.name}.py")


each_activation = pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)


@each_routing
def test_the_test_template_reads_the_parts_of_a_routing_in_its_name(routing: Routing) -> None:
    rule = test_template.Rule(routing.name)
    assert rule.scoring == routing.scoring
    assert rule.choice == routing.choice
    assert (rule.biased, rule.renormalized) == (routing.biased, routing.renormalized)
    assert rule.per_expert == ("per_expert_scale" in routing.inputs)
    assert rule.grouped == routing.grouped


@each_routing
def test_a_routing_is_found_in_what_names_it(
    definition_of: Any, small: Any, routing: Routing
) -> None:
    moe = next(m for m in small.values() if m.routing == routing)
    now = definition_of(moe)
    assert kernel_of(now) == moe
    found, on_input = test_template._rule_of(now.to_dict())
    assert found is not None
    assert (found.name, on_input) == (routing.name, routing.weight_on_input)


@each_activation
def test_an_activation_has_a_function_for_references(activation: Activation) -> None:
    text = source("references", "activations.py")
    assert (f"def {activation.name}(" in text) == (activation is not SWIGLU)
    assert activation is SWIGLU or activation.name in test_template.ACTIVATIONS
    assert (activation.name in test_template.UNGATED) != activation.gated


@each_activation
def test_an_activation_is_found_by_what_sglang_is_given(activation: Activation) -> None:
    settings = dict.fromkeys(activation.settings, 2.0)
    more = {"gemm1_beta": activation.beta} if "gemm1_alpha" in settings else {}
    found = activations.of_settings(settings | more, activation.function, gated=activation.gated)
    assert found is activation
    assert set(activations.values(activation, settings)) == set(activation.inputs)
    if activation.alpha is not None:
        assert activations.of_settings({}, activation.function) is activation
        assert activations.values(activation, {}) == {"gemm1_alpha": activation.alpha}


@each_format
def test_numbers_of_routings_in_fused_kernels_are_those_of_the_table(weights: WeightFormat) -> None:
    if weights.packed or weights.trtllm is None:
        return  # of which FlashInfer's kernel is no ground truth, or none
    text = source("ground_truths", f"flashinfer_{weights.trtllm}.py")
    methods: dict[str, Any] = next(
        ast.literal_eval(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Dict) and node.keys
    )
    expected = {
        routing.name: routing.trtllm_method
        for routing in ROUTINGS
        if Moe(weights, routing, 1, 1, 1, 8, 8, 256, 256).in_trtllm
    }
    assert methods == expected


def test_settings_of_select_experts_mean_one_routing_each() -> None:
    settings = [
        (scoring, biased, renormalized)
        for scoring in ("softmax", "sigmoid", "sqrtsoftplus")
        for biased in (False, True)
        for renormalized in (False, True)
    ]
    found = [find(s, biased=b, renormalized=r) for s, b, r in settings]
    assert [routing.name if routing else None for routing in found] == [
        *("default_routing", "renorm", "softmax_bias_routing", "softmax_bias_renorm_routing"),
        *("sigmoid_routing", "sigmoid_renorm_routing", "sigmoid_bias_routing", "ds_routing"),
        *("sqrtsoftplus_routing", "sqrtsoftplus_renorm_routing"),
        *("sqrtsoftplus_bias_routing", "sqrtsoftplus_bias_renorm_routing"),
    ]


def test_a_factor_has_routings_of_its_own_where_names_leave_it_out() -> None:
    for renormalized, name in ((False, "softmax_routing"), (True, "softmax_renorm_routing")):
        found = find("softmax", renormalized=renormalized, scaled=True)
        assert found is not None
        assert found.name == name
    assert find("relu") is None
    assert len({routing.name for routing in ROUTINGS}) == len(ROUTINGS)


@pytest.mark.parametrize(
    "routing", [r for r in ROUTINGS if r not in SCORED], ids=lambda routing: routing.name
)
def test_a_reference_of_an_earlier_version_says_its_routing_by_constants(
    definition_of: Any, small: Any, routing: Routing
) -> None:
    moe = next(m for m in small.values() if m.routing == routing)
    now = definition_of(moe)
    assert kernel_of(now) == moe
    constants = f"ROUTING = {routing.name!r}\n"
    constants += "WEIGHT_ON_INPUT = True\n" if routing.weight_on_input else ""
    groups = f"NUM_GROUPS = {moe.num_groups}\nTOP_GROUPS = {moe.top_groups}\n"
    text = now.reference.replace(routing.function, "route")
    text = text.replace("import torch\n", f"import torch\n{constants}", 1)
    text = text if "NUM_GROUPS" in text else text.replace(constants, constants + groups, 1)
    assert kernel_of(attrs.evolve(now, name="renamed", reference=text)) == moe


def test_llama4_routing_by_name_alone_may_weigh_either(definition_of: Any, small: Any) -> None:
    now = definition_of(small["bf16_llama4"])
    text = f"def run({', '.join(now.inputs)}):\n    pass\n"
    assert kernel_of(attrs.evolve(now, reference=text)) is None
