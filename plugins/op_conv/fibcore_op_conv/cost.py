"""What a causal convolution costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_conv.definitions import form_of

_STATE_BYTES = 2  # of a bfloat16


def cost(
    definition: Definition, axes: Mapping[str, int], values: Mapping[str, Sequence[int]]
) -> Cost | None:
    """A product and a sum for each weight and token, in float32; all is moved once.

    Of a cache, states of the batch's sequences count, read and written. Without the places in the
    cache, no row is taken to be padding. None for a definition with other tensors.
    """
    form = form_of(definition)
    if form is None:
        return None
    sizes = definition.const_axes
    tokens = axes["batch_size" if form == "update" else "total_seq_len"]
    flops = 2 * tokens * sizes["dim"] * sizes["width"]
    if form == "prefill":
        return moved(definition, axes, flops, "float32")
    state = sizes["dim"] * sizes["state_len"] * _STATE_BYTES

    def of_rows(rows: int) -> Cost:
        found = moved(definition, axes, flops, "float32", instead={"conv_state": rows * state})
        untouched = (axes["state_cache_size"] - rows) * state
        return attrs.evolve(found, bytes_written=found.bytes_written - max(0, untouched))

    places = values.get("conv_state_indices")
    if places is not None:
        return of_rows(sum(place >= 0 for place in places))
    rows = min(axes["batch_size"], axes["state_cache_size"])
    return attrs.evolve(of_rows(rows), assumes="no row is padding", least=of_rows(0))
