"""Chooses the implementations that a gated norm is compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_gated_rmsnorm import silu_gate
from fibcore_op_gated_rmsnorm.definitions import epsilon, shape_of
from fibcore_op_gated_rmsnorm.names import SILU_GATE, Shape


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """SGLang's PyTorch code, where it has one for the activation, then torch in float64.

    Empty where the definition has other tensors or does not say its epsilon, and for the op types
    of other plugins. FlashInfer's kernel (rmsnorm_sigmoid_gate) has no weight.
    """
    if definition.op_type == SILU_GATE:
        return silu_gate.ground_truths(definition)
    shape, eps = shape_of(definition), epsilon(definition)
    if shape is None or eps is None:
        return ()
    truths = [_truth("torch_gated_rmsnorm", "torch in float64", "torch", shape, eps)]
    if shape.activation == "silu":
        name = "sglang rms_norm_ref"
        truths.insert(0, _truth("sglang_gated_rmsnorm", name, "sglang", shape, eps))
    return tuple(truths)


def _truth(stem: str, name: str, kind: str, shape: Shape, eps: float) -> GroundTruth:
    """A ground truth with these constants in its text."""
    text = (files(__package__) / f"{stem}.py").read_text(encoding="utf-8")
    constants: dict[str, object] = {
        "GROUP_SIZE": shape.group_size,
        "GATE_FIRST": shape.gate_first,
        "EPSILON": eps,
    }
    if kind == "torch":
        constants["SIGMOID"] = shape.activation == "sigmoid"
    return GroundTruth(name, kind, stem, render(text, constants))
