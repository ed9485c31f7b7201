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
    not_a_multiple,
    render,
    scalar,
    tensor,
    var,
)
from fibcore_op_msa.names import OP_TYPE_OF, SIZES, STEMS, Kind

_AXES = {
    "num_tokens": "Queries: sequences in decode, new tokens in prefill.",
    "num_qo_heads": "Query heads of a tensor-parallel rank.",
    "num_kv_heads": "Key and value heads of a tensor-parallel rank.",
    "num_index_heads": "Index heads of a tensor-parallel rank.",
    "head_dim": "Elements of a head.",
    "topk": "Blocks that a query sees at most.",
    "block_size": "Keys in a block.",
    "page_size": "Tokens in a page.",
    "kv_cache_num_heads": "Key heads: all index heads share one.",
    "num_pages": "Pages of the cache.",
    "max_num_pages": "Pages of the longest sequence that the page table has room for.",
}
_VAR = ("num_tokens", "num_pages", "max_num_pages")
_SEQUENCE = {
    "seq_lens": tensor("num_tokens", "int32", "Keys that each query may see: those up to its own."),
    "block_table": tensor(
        "num_tokens max_num_pages",
        "int32",
        "Page numbers of each query's sequence, in token order; those behind its last page may be "
        "anything.",
    ),
}
_CACHE = "num_pages page_size num_kv_heads head_dim"
INPUTS: dict[Kind, dict[str, TensorSpec]] = {
    "attention": {
        "q": tensor("num_tokens num_qo_heads head_dim", "bfloat16", "Queries."),
        "k_cache": tensor(_CACHE, "bfloat16", "Keys in pages; unused places hold anything."),
        "v_cache": tensor(_CACHE, "bfloat16", "Values, placed like the keys."),
        "block_indices": tensor(
            "num_tokens num_kv_heads topk",
            "int32",
            "Blocks of its sequence that each query sees, by key head; -1 for none.",
        ),
        **_SEQUENCE,
        "sm_scale": scalar("float32", "Factor of the logits before the softmax."),
    },
    "indexer": {
        "q": tensor("num_tokens num_index_heads head_dim", "bfloat16", "Index queries."),
        "k_cache": tensor(
            "num_pages page_size kv_cache_num_heads head_dim",
            "bfloat16",
            "Index keys in pages; unused places hold anything.",
        ),
        **_SEQUENCE,
    },
}
OUTPUTS: dict[Kind, dict[str, TensorSpec]] = {
    "attention": {
        "output": tensor(
            "num_tokens num_qo_heads head_dim", "bfloat16", "Attention output; 0 without keys."
        )
    },
    "indexer": {
        "block_indices": tensor(
            "num_tokens num_index_heads topk",
            "int32",
            "Blocks in any order, -1 behind them where a sequence has fewer.",
        )
    },
}
BLOCKS = ("init_blocks", "local_blocks")
"""Constants of the choice that are no axes: blocks that are always chosen, in front and behind."""


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel of this plugin."""
    kind = cast(Kind, kernel.parameters["kind"])
    specs = (*INPUTS[kind].values(), *OUTPUTS[kind].values())
    used = {axis for spec in specs for axis in spec.shape or ()} | set(SIZES[kind].values())
    axes: dict[str, Axis] = {
        name: var(text) if name in _VAR else const(int(kernel.parameters[name]), text)
        for name, text in _AXES.items()
        if name in used
    }
    values: dict[str, object] = {n.upper(): axis.value for n, axis in axes.items() if axis.value}
    values |= {n.upper(): kernel.parameters[n] for n in BLOCKS if n in kernel.parameters}
    text = (files(__package__) / "references" / f"{STEMS[kind]}.py").read_text(encoding="utf-8")
    return Definition(
        name=kernel.name,
        op_type=kernel.op_type,
        axes=axes,
        inputs=INPUTS[kind],
        outputs=OUTPUTS[kind],
        reference=render(text, values),
        description=_description(kind, kernel.parameters),
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
    """Which blocks are always chosen, as others are then; sizes that do not go together."""
    kind = kind_of(definition)
    found = list(in_name(definition, SIZES[kind] if kind is not None else {}))
    found += not_a_multiple(definition, "num_qo_heads", "num_kv_heads")
    lines = dict(line.partition(" = ")[::2] for line in definition.reference.splitlines())
    always = [f"{name} {lines[name.upper()]}" for name in BLOCKS if name.upper() in lines]
    return Identity(", ".join(always) if kind == "indexer" else "", tuple(found))


def _plain(specs: Mapping[str, TensorSpec]) -> list[tuple[str, object, str]]:
    return [(name, spec.shape, spec.dtype) for name, spec in specs.items()]


def _description(kind: Kind, parameters: Mapping[str, Scalar]) -> str:
    if kind == "indexer":
        words = [
            f"Choice of the {parameters['topk']} blocks of {parameters['block_size']} keys that a",
            "query sees, for each index head: those whose best key has the largest product with",
            "the index query. Which ones of blocks with equal scores are chosen is not said.",
        ]
        if parameters["init_blocks"]:
            words.append(f"The first {parameters['init_blocks']} are always chosen.")
        if parameters["local_blocks"]:
            words.append(f"The last {parameters['local_blocks']} are always chosen.")
        return " ".join(words)
    words = [
        f"Block-sparse attention: each query sees at most {parameters['topk']} blocks of",
        f"{parameters['block_size']} keys, the same for all query heads of a key head.",
        f"{parameters['num_qo_heads']} query heads of one tensor-parallel rank.",
    ]
    if "sm_scale" in parameters:
        words.append(f"The model's sm_scale is {float(parameters['sm_scale']):.9g}.")
    return " ".join(words)
