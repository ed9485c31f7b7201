"""The forms of LayerNorm: one record each, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs


@attrs.frozen
class Form:
    """Which parameters a LayerNorm has.

    Attributes:
        name: What the names of its kernels begin with.
        parameters: Its parameters, in the order of the inputs: weight, then bias.
        dtype: Their dtype.
    """

    name: str
    parameters: tuple[str, ...]
    dtype: str = "float32"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs of a definition, in order."""
        return ("hidden_states", *self.parameters)


_FORMS = (
    Form("layernorm", ("weight", "bias")),
    Form("layernorm_no_bias", ("weight",)),
    Form("layernorm_bf16", ("weight", "bias"), "bfloat16"),
    Form("layernorm_bf16_no_bias", ("weight",), "bfloat16"),
    Form("layernorm_no_affine", ()),
)

FORMS: Mapping[str, Form] = MappingProxyType({form.name: form for form in _FORMS})
"""All forms by name."""


def form_of(parameters: tuple[str, ...], dtype: str) -> Form | None:
    """The form with these parameters; None where there is none of this dtype."""
    for form in FORMS.values():
        if form.parameters == parameters and (not parameters or form.dtype == dtype):
            return form
    return None
