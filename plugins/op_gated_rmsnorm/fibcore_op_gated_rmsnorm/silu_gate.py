"""The op type `silu_gate`: rows times SiLU of a gate, which mixers without a norm compute."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from fibcore.plugin import (
    TOKENS,
    Cost,
    Definition,
    GroundTruth,
    Identity,
    Implementation,
    Kernel,
    TensorSpec,
    WorkloadCase,
    const,
    in_name,
    moved,
    render,
    rewritten,
    tensor,
    var,
    wrapped,
)
from fibcore_op_gated_rmsnorm.names import SILU_GATE

_ROWS = "batch_size hidden_size"
INPUTS = {
    "hidden_states": tensor(_ROWS, "bfloat16", "What is multiplied."),
    "gate": tensor(_ROWS, "bfloat16", "Its SiLU multiplies the rows."),
}
OUTPUTS = {"output": tensor(_ROWS, "bfloat16", "The rows with the gate's factor.")}

OPERATIONS = 5
"""Of an element: exponential, sum and quotient of SiLU, its products with the gate and the row."""


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    Axes: batch_size (var), hidden_size. Inputs: hidden_states and gate [batch_size, hidden_size];
    output: output, alike. All bfloat16.
    """
    hidden = int(kernel.parameters["hidden_size"])
    template = files(__package__) / "references" / "silu_gate.py"
    return Definition(
        name=kernel.name,
        op_type=SILU_GATE,
        description="hidden_states * silu(gate): the gate of a mixer that has no norm.",
        tags=kernel.tags,
        axes={
            "batch_size": var("Rows: tokens."),
            "hidden_size": const(hidden, "Columns of a row."),
        },
        inputs=INPUTS,
        outputs=OUTPUTS,
        reference=render(template.read_text(encoding="utf-8"), {"HIDDEN_SIZE": hidden}),
    )


def is_known(definition: Definition) -> bool:
    """Whether a definition has exactly this op type's tensors and axes."""
    return (
        definition.op_type == SILU_GATE
        and _plain(definition.inputs) == _plain(INPUTS)
        and _plain(definition.outputs) == _plain(OUTPUTS)
        and definition.var_axes == ("batch_size",)
        and set(definition.const_axes) == {"hidden_size"}
    )


def _plain(specs: Mapping[str, TensorSpec]) -> list[tuple[str, object, str]]:
    return [(name, spec.shape, spec.dtype) for name, spec in specs.items()]


def identify(definition: Definition) -> Identity:
    """No variant; a size that the name gives otherwise."""
    return Identity("", tuple(in_name(definition, {"h": "hidden_size"})))


def ground_truths(definition: Definition) -> tuple[GroundTruth, ...]:
    """SGLang's PyTorch method, then torch in float64; empty for definitions of others."""
    if not is_known(definition):
        return ()
    names = {"sglang": "sglang Mixer2RMSNormGated.forward_native", "torch": "torch in float64"}
    folder = files(__package__) / "ground_truths"
    return tuple(
        GroundTruth(name, kind, f"{kind}_silu_gate", (folder / f"{kind}_silu_gate.py").read_text())
        for kind, name in names.items()
    )


def cost(definition: Definition, axes: Mapping[str, int]) -> Cost | None:
    """Five float32 operations an element; all is moved once. None for definitions of others."""
    if not is_known(definition):
        return None
    elements = axes["batch_size"] * definition.const_axes["hidden_size"]
    return moved(definition, axes, OPERATIONS * elements, "float32")


def workloads(definition: Definition) -> tuple[WorkloadCase, ...]:
    """1 to 8192 rows of random numbers; none for definitions of others."""
    if not is_known(definition):
        return ()
    return tuple(WorkloadCase(f"{rows} rows", {"batch_size": rows}) for rows in TOKENS)


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """Right and wrong ones; none for definitions of others."""
    if not is_known(definition):
        return ()
    factor = "silu(gate[rows].to(torch.float32))"
    return (
        # As SGLang's Mixer2RMSNormGated.forward_cuda does.
        *rewritten(
            definition,
            "the factor is rounded",
            factor,
            f"{factor}.to(output.dtype).to(torch.float32)",
            right=True,
        ),
        *wrapped(
            definition, "rows and gates are mixed up", hidden_states="gate", gate="hidden_states"
        ),
        *wrapped(definition, "the gate of the token before", gate="gate.roll(1, 0)"),
        *wrapped(definition, "the result is 2 % too large", result="result * 1.02"),
        *rewritten(definition, "sigmoid of the gate", factor, "torch.sigmoid(gate[rows].float())"),
        *rewritten(
            definition, "GELU of the gate", factor, "torch.nn.functional.gelu(gate[rows].float())"
        ),
        *rewritten(definition, "the gate itself", factor, "gate[rows].to(torch.float32)"),
    )
