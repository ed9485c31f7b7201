"""What a gated delta rule costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_gdn.definitions import form_of

# Of a number of a state, for each token: it fades, is multiplied with key and query, and summed,
# and takes its part of the update.
OPERATIONS = 7
_STATE_BYTES = 4  # of a float32


def cost(
    definition: Definition, axes: Mapping[str, int], values: Mapping[str, Sequence[int]]
) -> Cost | None:
    """Seven float32 operations for each token and number of a state, which is moved once.

    Of a pool, states of the batch's sequences count, read and written, and those that are kept for
    each token. Without the places in the pool, no row is taken to be padding. None for a
    definition with other tensors.
    """
    form = form_of(definition)
    if form is None:
        return None
    sizes = definition.const_axes
    state = sizes["num_v_heads"] * sizes["head_size"] ** 2
    if form != "mtp":
        tokens = axes["batch_size"] if form == "decode" else axes["total_seq_len"]
        return moved(definition, axes, OPERATIONS * tokens * state, "float32")

    def of_rows(rows: int) -> Cost:
        states = {"initial_state": rows * state * _STATE_BYTES, "intermediate_states_buffer": 0}
        flops = OPERATIONS * rows * axes["seq_len"] * state
        found = moved(definition, axes, flops, "float32", instead=states)
        untouched = (axes["pool_size"] - rows) * state * _STATE_BYTES
        return attrs.evolve(found, bytes_written=found.bytes_written - max(0, untouched))

    places = values.get("initial_state_indices")
    if places is not None:
        return of_rows(sum(place >= 0 for place in places))
    rows = min(axes["batch_size"], axes["pool_size"])
    return attrs.evolve(of_rows(rows), assumes="no row is padding", least=of_rows(0))
