"""The tables of routings and weight formats, and what emitted files repeat of them."""

from __future__ import annotations

import ast
from typing import Any

import attrs
import pytest

from fibcore_op_moe.assembling import source
from fibcore_op_moe.formats import FORMATS, WeightFormat
from fibcore_op_moe.identity import kernel_of
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.routings import ROUTINGS, Routing, of_select_experts

each_routing = pytest.mark.parametrize("routing", ROUTINGS, ids=lambda routing: routing.name)
each_format = pytest.mark.parametrize("weights", FORMATS, ids=lambda weights: weights.name)


def strings(text: str) -> set[object]:
    return {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}


@each_routing
def test_a_routing_has_a_reference(routing: Routing) -> None:
    if routing.reference is not None:
        assert "def route(" in source("references", f"{routing.reference}.py")


@each_format
def test_a_format_has_a_reference(weights: WeightFormat) -> None:
    assert "def run(" in source("references", f"{weights.reference or weights.name}.py")


@each_routing
def test_the_test_template_knows_every_routing(routing: Routing) -> None:
    assert routing.name in strings(source("", "test_template.py"))


@each_format
def test_numbers_of_routings_in_fused_kernels_are_those_of_the_table(weights: WeightFormat) -> None:
    if weights.packed:
        return  # of which FlashInfer's kernel is no ground truth
    text = source("ground_truths", f"flashinfer_{weights.trtllm}.py")
    methods: dict[str, Any] = next(
        ast.literal_eval(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Dict) and node.keys
    )
    expected = {
        routing.name: routing.trtllm_method
        for routing in ROUTINGS
        if (weights.grouped_routing or not routing.grouped)
        and Moe(weights, routing, 1, 1, 1, 8, 8, 256, 256).in_trtllm
    }
    assert methods == expected


def test_settings_of_select_experts_mean_one_routing_each() -> None:
    settings = [
        (scoring, biased, renormalized)
        for scoring in ("softmax", "sigmoid")
        for biased in (False, True)
        for renormalized in (False, True)
    ]
    found = [of_select_experts(s, biased=b, renormalized=r) for s, b, r in settings]
    names = [routing.name for routing in found if routing is not None]
    assert names == ["default_routing", "renorm", "ds_routing"]


@each_routing
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
