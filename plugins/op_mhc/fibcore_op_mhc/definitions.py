"""Kernel to definition: axes, tensors, description and the rendered reference."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import cast

from fibcore.plugin import (
    Axis,
    Definition,
    Identity,
    Kernel,
    Scalar,
    TensorSpec,
    const,
    in_name,
    joined,
    other_than,
    render,
    select,
    tensor,
    var,
)
from fibcore_op_mhc.names import FILES, OP_TYPE_OF, Kind

_AXES = {
    "num_tokens": "Tokens.",
    "hc": "Streams of a token.",
    "hidden_size": "Elements of a stream.",
    "mhc_mix": "Numbers that coefficients are made of: hc + hc + hc * hc.",
    "hc_hidden_size": "Elements of all streams of a token.",
    "scale_size": "Scales: of the weights before, of those behind, of the matrix; or of the first "
    "alone.",
}
_CONST_AXES = ("hc", "hidden_size", "mhc_mix", "hc_hidden_size", "scale_size")
CONSTANTS = (
    "rms_eps",
    "hc_pre_eps",
    "hc_sinkhorn_eps",
    "hc_post_mult_value",
    "sinkhorn_repeat",
    "norm_eps",
)
"""Constants of the references that are no axes."""
HEAD_CONSTANTS = ("rms_eps", "hc_pre_eps")
"""Those of the kernel behind the last layer."""

_STREAMS = "num_tokens hc hidden_size"
_MATRIX = "num_tokens hc hc"
_ROWS = "num_tokens hidden_size"

_POST_INPUTS = {
    "x": tensor(_ROWS, "bfloat16", "Output of the layer."),
    "residual": tensor(_STREAMS, "bfloat16", "Streams before the layer."),
    "post_layer_mix": tensor(
        "num_tokens hc", "float32", "Weight of the layer's output in each stream."
    ),
    "comb_res_mix": tensor(
        _MATRIX, "float32", "Weight of each stream before [., i, .] in each one behind [., ., j]."
    ),
}
_PRE_INPUTS = {
    "fn": tensor("mhc_mix hc_hidden_size", "float32", "Projection of all streams of a token."),
    "hc_scale": tensor("scale_size", "float32", "Scales of what is projected."),
    "hc_base": tensor("mhc_mix", "float32", "Added to what is projected and scaled."),
}
_NORM = {"norm_weight": tensor("hidden_size", "bfloat16", "Weight of the layer's RMSNorm.")}
_PRE_OUTPUTS = {
    "post_mix": tensor("num_tokens hc", "float32", "Weights of the next layer's output."),
    "comb_mix": tensor(_MATRIX, "float32", "Matrix for the streams behind the next layer."),
    "layer_input": tensor(_ROWS, "bfloat16", "What the next layer is given."),
}
_HEAD_INPUTS = {
    **_PRE_INPUTS,
    "fn": tensor("hc hc_hidden_size", "float32", "Projection of all streams of a token."),
    "hc_base": tensor("hc", "float32", "Added to what is projected and scaled."),
}
_BEFORE = {"residual": tensor(_STREAMS, "bfloat16", "Streams.")}
_BEHIND = "Streams behind the layer."

INPUTS: dict[Kind, dict[str, TensorSpec]] = {
    "post": _POST_INPUTS,
    "pre": {**_BEFORE, **_PRE_INPUTS},
    "pre_norm": {**_BEFORE, **_PRE_INPUTS, **_NORM},
    "post_pre": {**_POST_INPUTS, **_PRE_INPUTS, **_NORM},
    "head": {**_BEFORE, **_HEAD_INPUTS},
}
OUTPUTS: dict[Kind, dict[str, TensorSpec]] = {
    "post": {"out": tensor(_STREAMS, "bfloat16", _BEHIND)},
    "pre": _PRE_OUTPUTS,
    "pre_norm": _PRE_OUTPUTS,
    "post_pre": {"residual_cur": tensor(_STREAMS, "bfloat16", _BEHIND), **_PRE_OUTPUTS},
    "head": {"out": tensor(_ROWS, "bfloat16", "What the last norm is given.")},
}


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel of this plugin."""
    kind = cast(Kind, kernel.parameters["kind"])
    axes = _axes(kind, kernel.parameters)
    text = joined(files(__package__) / "references", f"{FILES[kind]}.py")
    text = select(text, () if kind == "pre" else ("norm",), ("norm",))
    values: dict[str, object] = {n.upper(): axis.value for n, axis in axes.items() if axis.value}
    values |= {n.upper(): kernel.parameters[n] for n in CONSTANTS if n in kernel.parameters}
    return Definition(
        name=kernel.name,
        op_type=kernel.op_type,
        axes=axes,
        inputs=INPUTS[kind],
        outputs=OUTPUTS[kind],
        reference=render(text, values),
        description=_DESCRIPTIONS[kind],
        tags=kernel.tags,
    )


def kind_of(definition: Definition) -> Kind | None:
    """Which of the plugin's kernels has exactly these tensors; None where none has."""
    for kind, op_type in OP_TYPE_OF.items():
        if (
            definition.op_type == op_type
            and _plain(definition.inputs) == _plain(INPUTS[kind])
            and _plain(definition.outputs) == _plain(OUTPUTS[kind])
            and set(definition.axes) <= set(_AXES)
        ):
            return kind
    return None


def identify(definition: Definition) -> Identity:
    """No variant, for tensors tell kinds apart; sizes that do not go together."""
    found = list(in_name(definition, {"hc": "hc", "h": "hidden_size"}))
    sizes = definition.const_axes
    if {"hc", "mhc_mix"} <= sizes.keys():
        streams = sizes["hc"]
        found += other_than(definition, "mhc_mix", streams * (streams + 2), "hc * (hc + 2)")
    if {"hc", "hidden_size", "hc_hidden_size"} <= sizes.keys():
        whole = sizes["hc"] * sizes["hidden_size"]
        found += other_than(definition, "hc_hidden_size", whole, "hc * hidden_size")
    return Identity("", tuple(found))


def _plain(specs: Mapping[str, TensorSpec]) -> list[tuple[str, object, str]]:
    return [(name, spec.shape, spec.dtype) for name, spec in specs.items()]


def _axes(kind: Kind, parameters: Mapping[str, Scalar]) -> dict[str, Axis]:
    specs = (*INPUTS[kind].values(), *OUTPUTS[kind].values())
    used = {axis for spec in specs for axis in spec.shape or ()}
    return {
        name: const(int(parameters[name]), text) if name in _CONST_AXES else var(text)
        for name, text in _AXES.items()
        if name in used
    }


_PRE = (
    "A projection of all streams of a token, divided by their root mean square, gives the weights "
    "of the streams in what the layer is given (sigmoid + eps), the weights of its output in the "
    "streams behind it (sigmoid * factor) and the matrix that mixes streams (softmax, then "
    "Sinkhorn-Knopp)"
)
_POST = (
    "Hyper-connections (mHC): each stream behind a layer is the layer's output times a weight, and "
    "a mix of the streams before it"
)
_DESCRIPTIONS: dict[Kind, str] = {
    "post": f"{_POST}.",
    "pre": f"Hyper-connections (mHC): what a layer is given of the streams. {_PRE}.",
    "pre_norm": (
        "Hyper-connections (mHC): what a layer is given of the streams, normalised. "
        f"{_PRE}. The layer's RMSNorm is part of it."
    ),
    "head": (
        "Hyper-connections (mHC): what the last norm is given, a weighted sum of the streams "
        "behind the last layer. Weights are sigmoid(scale * (a projection of all streams of a "
        "token, divided by their root mean square) + base) + eps."
    ),
    "post_pre": (
        f"{_POST}. {_PRE}. The next layer's RMSNorm is part of it. Kernels may round what they "
        "project to TF32, and what they normalise to bfloat16 before its weight."
    ),
}
