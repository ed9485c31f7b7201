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
    scalar,
    tensor,
    var,
)
from fibcore_op_dsa_index.names import KINDS, SCALE_BYTES, KindName

_AXES = {
    "num_tokens": "Tokens: sequences in decode, new tokens in prefill.",
    "num_heads": "Index heads; every rank has all of them.",
    "head_dim": "Elements of an index query and key.",
    "rope_dim": "First elements of a head, which are turned.",
    "page_size": "Keys in a page.",
    "kv_cache_num_heads": "Key heads: all index heads share one.",
    "head_dim_with_scale": "Bytes of an index key and of its float32 scale.",
    "num_pages": "Pages of the cache.",
    "max_position": "Positions of the table of angles.",
}
_VAR = frozenset({"num_tokens", "num_pages", "max_position"})

_TABLE = {
    "cos_sin_cache": tensor(
        "max_position rope_dim", "float32", "Of each position all cosines, then all sines."
    ),
    "positions": tensor("num_tokens", "int64", "Position of each token."),
}
_CACHE = "num_pages page_size kv_cache_num_heads head_dim_with_scale"

INPUTS: dict[KindName, dict[str, TensorSpec]] = {
    "k_store": {
        "k": tensor("num_tokens head_dim", "bfloat16", "Index keys."),
        "weight": tensor("head_dim", "float32", "Weight of the LayerNorm."),
        "bias": tensor("head_dim", "float32", "Bias of the LayerNorm."),
        **_TABLE,
        "out_loc": tensor(
            "num_tokens", "int64", "Where each goes: page number * page size + place in the page."
        ),
        "k_index_cache_fp8": tensor(
            _CACHE,
            "int8",
            "Bytes of index keys: of a page all keys in float8_e4m3fn, then all their scales in "
            "float32; unused places hold anything.",
        ),
    },
    "q": {
        "q": tensor("num_tokens num_heads head_dim", "bfloat16", "Index queries."),
        "weights": tensor("num_tokens num_heads", "bfloat16", "Weight of each index head."),
        "weight_scale": scalar("float32", "Factor of all weights."),
        **_TABLE,
    },
}
OUTPUTS: dict[KindName, dict[str, TensorSpec]] = {
    "k_store": {
        "updated_k_index_cache_fp8": tensor(_CACHE, "int8", "The cache with the keys in it.")
    },
    "q": {
        "q_fp8": tensor(
            "num_tokens num_heads head_dim", "float8_e4m3fn", "Index queries without their scales."
        ),
        "weights_out": tensor(
            "num_tokens num_heads", "float32", "Weights times the factor and the queries' scales."
        ),
    },
}


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel of this plugin."""
    name = cast(KindName, kernel.parameters["kind"])
    axes = axes_of(name, kernel.parameters)
    text = joined(files(__package__) / "references", f"{KINDS[name].op_type}.py")
    values: dict[str, object] = {n.upper(): axis.value for n, axis in axes.items() if axis.value}
    if "eps" in kernel.parameters:
        values["EPS"] = kernel.parameters["eps"]
    return Definition(
        name=kernel.name,
        op_type=kernel.op_type,
        axes=axes,
        inputs=INPUTS[name],
        outputs=OUTPUTS[name],
        reference=render(text, values),
        description=_description(name, kernel.parameters),
        tags=kernel.tags,
    )


def axes_of(name: KindName, sizes: Mapping[str, Scalar]) -> dict[str, Axis]:
    """Every axis that the tensors of a kind have."""
    specs = (*INPUTS[name].values(), *OUTPUTS[name].values())
    used = {axis for spec in specs for axis in spec.shape or ()}
    return {
        axis: var(text) if axis in _VAR else const(int(sizes[axis]), text)
        for axis, text in _AXES.items()
        if axis in used
    }


def kind_of(definition: Definition) -> KindName | None:
    """Which of the plugin's kernels has exactly these tensors; None where none has."""
    for name, kind in KINDS.items():
        if (
            definition.op_type == kind.op_type
            and _plain(definition.inputs) == _plain(INPUTS[name])
            and _plain(definition.outputs) == _plain(OUTPUTS[name])
            and set(definition.axes) <= set(_AXES)
        ):
            return name
    return None


def identify(definition: Definition) -> Identity:
    """No variant, for tensors tell kinds apart; sizes that do not go together."""
    name = kind_of(definition)
    found = list(in_name(definition, KINDS[name].sizes if name is not None else {}))
    sizes = definition.const_axes
    head = sizes.get("head_dim")
    if head is not None:
        whole = head + SCALE_BYTES
        found += other_than(definition, "head_dim_with_scale", whole, "head_dim + 4")
        if sizes.get("rope_dim", 0) > head:
            found.append(f"rope_dim is {sizes['rope_dim']}, and a head has {head} elements")
    return Identity("", tuple(found))


def _plain(specs: Mapping[str, TensorSpec]) -> list[tuple[str, object, str]]:
    return [(name, spec.shape, spec.dtype) for name, spec in specs.items()]


_TURNED = "its first elements turned in pairs of neighbours by the angles of its position"
_DESCRIPTIONS: dict[KindName, str] = {
    "k_store": (
        f"A token's index key of sparse attention (DSA) goes through LayerNorm and then, {_TURNED},"
        " to a paged cache in fp8 with one scale. Kernels may round to bfloat16 before, and write "
        "in place."
    ),
    "q": (
        f"A token's index queries of sparse attention (DSA), of each {_TURNED}, go into fp8; their "
        "scales become a part of the heads' weights."
    ),
}


def _description(name: KindName, parameters: Mapping[str, Scalar]) -> str:
    words = [_DESCRIPTIONS[name]]
    if "eps" in parameters:
        words.append(f"Epsilon is {parameters['eps']!r}.")
    if "weight_scale" in parameters:
        words.append(f"The model's weight_scale is {float(parameters['weight_scale']):.9g}.")
    return " ".join(words)
