"""Right and wrong norms, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, DefinitionError, Implementation, rewritten, wrapped
from fibcore_op_rmsnorm.definitions import epsilon, variant
from fibcore_op_rmsnorm.names import GEMMA, INPUTS

_CALL = "rms_norm(x, (HIDDEN_SIZE,), scale, EPSILON)"


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for a norm with other inputs."""
    if tuple(definition.inputs) not in INPUTS or len(definition.outputs) != 1:
        return ()
    gemma = variant(definition) == GEMMA
    offset, none = ("- 1", "zeros") if gemma else ("+ 1", "ones")
    found = [
        *_right(definition),
        *wrapped(definition, "weight - 1" if gemma else "weight + 1", weight=f"weight {offset}"),
        *wrapped(definition, "the weight is left out", weight=f"torch.{none}_like(weight)"),
        *wrapped(definition, "the result is 2 % too large", result="result * 1.02"),
        *rewritten(
            definition,
            "the mean is taken off",
            _CALL,
            _CALL.replace("(x,", "(x - x.mean(dim=-1, keepdim=True),"),
        ),
    ]
    if "residual" in definition.inputs:
        zeros = "torch.zeros_like(residual)"
        found += wrapped(definition, "the residual is not added", residual=zeros)
    try:
        have = f"EPSILON = {epsilon(definition)!r}\n"
    except DefinitionError:
        return tuple(found)
    found += rewritten(definition, "epsilon is left out", have, "EPSILON = 0.0\n")
    return tuple(found)


def _right(definition: Definition) -> tuple[Implementation, ...]:
    unscaled = _CALL.replace("scale", "None")
    flipped = {name: f"{name}.flip(-1)" for name in definition.inputs}
    other = "rows in the other order"
    return (
        *wrapped(definition, other, right=True, result="result.flip(-1)", inputs=flipped),
        # As Hugging Face's LlamaRMSNorm does.
        *rewritten(
            definition,
            "rounded before the weight",
            _CALL,
            f"{unscaled}.to(output.dtype).to(torch.float32) * scale",
            right=True,
        ),
        # As SGLang's GemmaRMSNorm.forward_native does.
        *rewritten(
            definition,
            "the sum is rounded before it is normalised",
            "x += residual[rows]\n",
            "x = (x + residual[rows]).to(output.dtype).to(torch.float32)\n",
            right=True,
        ),
    )
