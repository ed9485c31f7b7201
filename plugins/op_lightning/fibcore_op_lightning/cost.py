"""What lightning attention costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_lightning.definitions import form_of

# Of a number of a state, for each token: it fades, takes in a product, is multiplied with the
# query's number and summed.
OPERATIONS = 5
_STATE_BYTES = 4  # of a float32


def cost(
    definition: Definition, axes: Mapping[str, int], values: Mapping[str, Sequence[int]]
) -> Cost | None:
    """Five float32 operations for each token and number of a state, which is moved once.

    Of a cache, states of the batch's sequences count, read and written. Without the places in the
    cache, no row is taken to be padding. None for a definition with other tensors.
    """
    form = form_of(definition)
    if form is None:
        return None
    sizes = definition.const_axes
    state = sizes["num_heads"] * sizes["head_dim"] ** 2
    if form == "prefill":
        return moved(definition, axes, OPERATIONS * axes["total_seq_len"] * state, "float32")

    def of_rows(rows: int) -> Cost:
        states = {"state": rows * state * _STATE_BYTES}
        flops = OPERATIONS * axes["batch_size"] * state
        found = moved(definition, axes, flops, "float32", instead=states)
        untouched = (axes["state_cache_size"] - rows) * state * _STATE_BYTES
        return attrs.evolve(found, bytes_written=found.bytes_written - max(0, untouched))

    places = values.get("state_batch_indices")
    if places is not None:
        return of_rows(sum(place >= 0 for place in places))
    rows = min(axes["batch_size"], axes["state_cache_size"])
    return attrs.evolve(of_rows(rows), assumes="no row is padding", least=of_rows(0))
