"""Chooses the implementations that a gated delta rule is compared with."""

from __future__ import annotations

from importlib.resources import files

import attrs

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_gdn.definitions import bound_of, form_of
from fibcore_op_gdn.names import FORMS, GATE, Form, Gate

_DTYPES = {
    **dict.fromkeys(("q", "k", "v", "a", "b"), "bfloat16"),
    **dict.fromkeys(("A_log", "dt_bias", "state", "initial_state"), "float32"),
}
# Written in CuTe's language for Python, whose package is one of its own.
_IN_PYTHON = frozenset({"decode", "mtp"})


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashInfer's kernel where it has one, and the recurrence in float64.

    Empty where the definition has other tensors, and for the op types of other plugins.
    """
    gate, form = GATE.get(definition.op_type), form_of(definition)
    if gate is None or form is None:
        return ()
    bound = bound_of(definition) or 0.0
    text = (files(__package__) / "torch_gated_delta_rule.py").read_text(encoding="utf-8")
    recurrence = GroundTruth(
        name="torch, token by token in float64",
        kind="torch",
        entry=f"torch_{form}",
        source=render(text, {"CHANNELS": gate == "channel", "LOWER_BOUND": bound}),
    )
    if not _flashinfer_has_it(definition, gate, form):
        return (recurrence,)
    return (_flashinfer(gate, form, bound), recurrence)


def _flashinfer_has_it(definition: Definition, gate: Gate, form: Form) -> bool:
    """Whether FlashInfer has a kernel for these sizes and dtypes.

    Its decode kernels of gdn take heads of 128 or more that 32 divides, its prefill kernel heads
    of 128, and recurrent_kda heads of 64 or 128. (gdn_decode.py, gdn_prefill.py,
    kda_kernels/recurrent_kda.py)
    """
    size = definition.const_axes["head_size"]
    if gate not in FORMS[form].flashinfer:
        return False
    fits = size in (64, 128) if gate == "channel" else size == 128
    dtypes = {name: spec.dtype for name, spec in definition.inputs.items()}
    return fits and all(_DTYPES.get(name, dtype) == dtype for name, dtype in dtypes.items())


def _flashinfer(gate: Gate, form: Form, bound: float) -> GroundTruth:
    entry = f"flashinfer_{'gdn' if gate == 'head' else 'kda'}_{form}"
    text = (files(__package__) / f"{entry}.py").read_text(encoding="utf-8")
    if gate == "channel":
        text = render(text, {"LOWER_BOUND": bound})
    truth = GroundTruth(
        FORMS[form].flashinfer[gate],
        "flashinfer",
        entry,
        text,
        device="cuda",
        # recurrent_kda is made for Blackwell, the kernels of gdn for Hopper and what came after.
        min_capability=(9, 0) if gate == "head" else (10, 0),
        packages=("flashinfer", "cutlass") if form in _IN_PYTHON else ("flashinfer",),
    )
    # It gives no states that are float32.
    return attrs.evolve(truth, solution=gate == "head")
