"""Right and wrong implementations, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_eh_norm.definitions import is_known

_CALL = "rms_norm(x[own].to(torch.float32), (HIDDEN_SIZE,), scale, EPSILON)"


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for a definition with other inputs."""
    if not is_known(definition):
        return ()
    plain = _CALL.replace("scale", "None")
    return (
        *rewritten(
            definition,
            "rounded before the weight",
            _CALL,
            f"{plain}.to(output.dtype) * weight",
            right=True,
        ),
        *wrapped(
            definition,
            "the rows are mixed up",
            inputs_embeds="previous_hidden",
            previous_hidden="inputs_embeds",
        ),
        *wrapped(
            definition,
            "the weights are mixed up",
            enorm_weight="hnorm_weight",
            hnorm_weight="enorm_weight",
        ),
        *wrapped(
            definition, "a weight is left out", hnorm_weight="0.5 * torch.ones_like(hnorm_weight)"
        ),
        *wrapped(definition, "halves in the other order", result="result.roll(HIDDEN_SIZE, -1)"),
        *wrapped(definition, "the result is 2 % too large", result="result * 1.02"),
        *wrapped(
            definition,
            "the hidden state of the token before",
            previous_hidden="previous_hidden.roll(1, 0)",
        ),
        *rewritten(definition, "not normalised", _CALL, "x[own].to(torch.float32) * scale"),
    )
