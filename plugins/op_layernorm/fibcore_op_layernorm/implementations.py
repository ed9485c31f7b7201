"""Right and wrong implementations, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_layernorm.definitions import epsilon, known_form
from fibcore_op_layernorm.forms import Form

_ROWS = "hidden_states.to(torch.float32)"
_HELPERS = """
def normalised(x):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], eps=EPSILON)


def about_zero(x):
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + EPSILON)


def without_the_last_quarter(x):
    size = x.shape[-1]
    part = x[:, : size - size // 4]
    mean = part.sum(dim=-1, keepdim=True) / size
    variance = part.square().sum(dim=-1, keepdim=True) / size - mean.square()
    return (x - mean) * torch.rsqrt(variance + EPSILON)
"""


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for a definition with other tensors or without an epsilon."""
    form, eps = known_form(definition), epsilon(definition)
    if form is None or eps is None:
        return ()
    have = f"EPSILON = {eps!r}\n"
    return (
        *_right(definition, form),
        *wrapped(definition, "the result is 2 % too large", result="result * 1.02"),
        *_with(definition, form, "the mean stays", "about_zero"),
        # One element less would be hidden by rounding where rows are long.
        *_with(definition, form, "the last quarter is not summed", "without_the_last_quarter"),
        *rewritten(definition, "epsilon is left out", have, "EPSILON = 0.0\n"),
        *wrapped(definition, "the weight is left out", weight="torch.ones_like(weight)"),
        *wrapped(definition, "weight + 1", weight="weight + 1"),
        *wrapped(definition, "the bias is left out", bias="torch.zeros_like(bias)"),
        *wrapped(definition, "the bias comes first", bias="bias * weight"),
    )


def _right(definition: Definition, form: Form) -> tuple[Implementation, ...]:
    flipped = {name: f"{name}.flip(-1)" for name in form.inputs}
    rounded = f"normalised({_ROWS}).to(hidden_states.dtype)"
    return (
        *wrapped(
            definition,
            "rows in the other order",
            right=True,
            result="result.flip(-1)",
            inputs=flipped,
        ),
        *wrapped(
            definition,
            "rounded before the weight",
            right=True,
            helpers=_HELPERS,
            result=_scaled(form, rounded),
        ),
    )


def _with(
    definition: Definition, form: Form, name: str, function: str
) -> tuple[Implementation, ...]:
    """The reference with another normalisation."""
    own = _scaled(form, f"{function}({_ROWS})")
    return wrapped(definition, name, helpers=_HELPERS, result=own)


def _scaled(form: Form, normalised: str) -> str:
    """An expression of the output: normalised rows times weight, plus bias."""
    factor = " * weight" if "weight" in form.parameters else ""
    term = " + bias" if "bias" in form.parameters else ""
    return f"({normalised}{factor}{term}).to(hidden_states.dtype)"
