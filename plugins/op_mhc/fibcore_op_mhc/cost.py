"""What hyper-connections cost: streams are read once, and written once behind a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_mhc.definitions import kind_of


def cost(
    definition: Definition,
    axes: Mapping[str, int],
    values: Mapping[str, Sequence[int]],  # noqa: ARG001 - the hook's
) -> Cost | None:
    """A product and a sum for each pair of streams, and for each number that is projected.

    The arithmetic is float32's. None for a definition that is not this plugin's.
    """
    kind = kind_of(definition)
    if kind is None:
        return None
    sizes = definition.const_axes
    streams, hidden = sizes["hc"], sizes["hidden_size"]
    flops = 0
    if kind in ("post", "post_pre"):
        flops += 2 * streams * (streams + 1) * hidden
    if kind != "post":
        # The projection, the sum of squares, and the weighted sum.
        mix = streams if kind == "head" else sizes["mhc_mix"]
        flops += 2 * (mix + 1) * sizes["hc_hidden_size"] + 2 * streams * hidden
    if kind in ("pre_norm", "post_pre"):
        flops += 4 * hidden
    return moved(definition, axes, flops * axes["num_tokens"], "float32")
