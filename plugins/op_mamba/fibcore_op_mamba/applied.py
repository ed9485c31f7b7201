"""State updates in place of FlashInfer's at run time; see `fibcore.plugin.trace_apply_format`.

FlashInfer's template has one head. Of several it takes their number for the head's size and that
for the state's, so that its name for a call has these two.
"""

from __future__ import annotations

from collections.abc import Sequence

from fibcore.plugin import CALLED, Applied, Definition, scalar, trace_apply_format
from fibcore_op_mamba.names import OP_TYPES

SOURCE = '''
def apply(state, x, dt, A, B, C, D, z=None, dt_bias=None, dt_softplus=False):
    """As `flashinfer.mamba.selective_state_update` is called, which writes into the states."""
    none = (None,)
    namespace = called(
        z=none,
        dt_softplus=(True,),
        pad_slot_id=(-1,),
        state_scale=none,
        disable_state_update=(False,),
        intermediate_states_buffer=none,
        rand_seed=none,
        cache_steps=(0,),
        dst_state_batch_indices=none,
        cu_seqlens=none,
        num_accepted_tokens=none,
    )
    if x.shape[1:] != (NHEADS, HEAD_DIM):
        raise RuntimeError("called with several tokens a sequence; this solution is for one")
    places = namespace["state_batch_indices"]
    if places is None:
        places = torch.arange(x.shape[0], device=x.device)
    places = places.reshape(-1).long()
    if dt_bias is None:
        dt_bias = torch.zeros_like(D)
    output, new_state = run(state, x, dt, A, B, C, D, dt_bias, places)
    kept = places[places >= 0]
    state[kept] = new_state[kept]
    return output
'''


def _applied(definition: Definition) -> Sequence[Applied] | str:
    axes = definition.const_axes
    if not definition.name.startswith("mamba_ssu_decode_"):
        return "FlashInfer's trace templates have no such function"
    names = ("state", "x", "dt", "A", "B", "C", "D", "dt_bias")
    inputs = {name: definition.inputs[name] for name in names}
    return (
        Applied(
            name=f"selective_state_update_d{axes['nheads']}_s{axes['head_dim']}",
            op_type="mamba",
            fi_api="flashinfer.mamba.selective_state_update.selective_state_update",
            inputs={**inputs, "z": inputs["x"], "dt_softplus": scalar("bool")},
            outputs={"out": definition.outputs["output"]},
            source=f"{CALLED.strip()}\n\n\n{SOURCE.strip()}",
            optional=frozenset({"dt_bias", "z", "dt_softplus"}),
        ),
    )


FORMATS = (trace_apply_format([one.name for one in OP_TYPES], _applied),)
"""The formats that this plugin writes."""
