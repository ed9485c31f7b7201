"""What no plugin accounts for: leaves, layers that were gone into, parameters of a model's own."""

from __future__ import annotations

from typing import Any

from fibcore.extraction.unclaimed import unclaimed
from fibcore.model.tree import Alternatives, ModelTree, ModuleNode, ParameterRef
from fibcore.testing.trees import TENSOR, call, module, tree

MODELS = "sglang.srt.models.example."


def paths(made: ModelTree, *claimed: str) -> list[str]:
    return [use.path for use in unclaimed(made, claimed)]


def holder(children: list[ModuleNode], **attributes: Any) -> ModuleNode:
    return module("mixer", MODELS + "Mixer", attributes=attributes, children=children, leaf=False)


def parameter(name: str) -> ParameterRef:
    return ParameterRef(f"mixer.{name}", (4,))


def test_leaves_are_named_unless_claimed() -> None:
    made = tree(module("a", "torch.nn.GELU"), module("b", "sglang.srt.layers.linear.LinearBase"))
    assert paths(made) == ["a", "b"]
    assert paths(made, "b") == ["a"]


def test_tensors_are_no_modules() -> None:
    made = tree(module("bound", "torch.nn.parameter.Buffer"), module("a", "torch.nn.GELU"))
    assert paths(made) == ["a"]


def test_a_layer_that_was_gone_into_is_named_beside_its_parts() -> None:
    projection = module("mamba.in_proj", "sglang.srt.layers.linear.ColumnParallelLinear")
    cls = "sglang.srt.layers.attention.mamba.mamba.MambaMixer2"
    made = tree(module("mamba", cls, children=[projection]))
    assert paths(made, "mamba.in_proj") == ["mamba"]
    assert paths(made, "mamba.in_proj", "mamba") == []


def test_containers_and_modules_of_a_model_compute_nothing_by_themselves() -> None:
    inner = module("list.0", MODELS + "Block", children=[module("list.0.act", "torch.nn.GELU")])
    holder = module("holder", "torch.nn.Module", children=[module("holder.x", "a.Leaf")])
    assert [use.path for use in unclaimed(tree(holder), ())] == ["holder.x"]
    made = tree(module("list", "torch.nn.ModuleList", children=[inner]))
    assert paths(made, "list.0.act") == []


def test_a_parameter_of_its_own_makes_a_module_count() -> None:
    linear = module("mixer.in_proj", "sglang.srt.layers.linear.ReplicatedLinear")
    made = tree(holder([linear], conv_weight=parameter("conv_weight"), width=3))
    assert paths(made, "mixer.in_proj") == ["mixer"]
    assert paths(made, "mixer.in_proj", "mixer") == []
    # One that belongs to another module says nothing about this one.
    other = tree(holder([linear], weight=ParameterRef("mixer.in_proj.weight", (4, 4))))
    assert paths(other, "mixer.in_proj") == []


def test_parameters_that_are_handed_on_are_accounted_for() -> None:
    sinks = parameter("sinks")
    for given in (
        {"arguments": {"A_log": sinks}},
        {"arguments": {"parts": [{"a": Alternatives((None, sinks))}]}},
        {"calls": [call(TENSOR, sinks=sinks)]},
        {"calls": [call(TENSOR, sinks)]},
    ):
        attention = module(
            "mixer.attn", "sglang.srt.layers.radix_attention.RadixAttention", **given
        )
        assert paths(tree(holder([attention], sinks=sinks)), "mixer.attn") == []
        assert paths(tree(holder([attention], sinks=sinks))) == ["mixer.attn"]
