"""What a call costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import Cost, Definition, Kernel, StepBatch, moved
from fibcore_op_attn_residual.definitions import is_known

OPERATIONS = 6
"""Of an element of a stream: its square, its product with the weight, that with the stream's share,
and the sums of all three."""


def cost(
    definition: Definition,
    axes: Mapping[str, int],
    values: Mapping[str, Sequence[int]],  # noqa: ARG001 - the hook's
) -> Cost | None:
    """Six float32 operations an element of a stream; all is moved once.

    None for a definition with other axes or tensors.
    """
    if not is_known(definition):
        return None
    streams = axes["num_tokens"] * (axes["num_blocks"] + 1)
    flops = OPERATIONS * streams * definition.const_axes["hidden_size"]
    return moved(definition, axes, flops, "float32")


def step_sizes(kernel: Kernel, batch: StepBatch) -> dict[str, int]:  # noqa: ARG001 - the hook's
    """How many residual streams a layer has kept, in the mean over layers."""
    kept = kernel.parameters.get("num_blocks")
    return {} if kept is None else {"num_blocks": int(kept)}
