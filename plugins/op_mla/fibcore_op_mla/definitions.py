"""Kernel to definition: axes, tensors, constraints, description and the rendered reference."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
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
    not_a_multiple,
    render,
    scalar,
    select,
    tensor,
    var,
)
from fibcore_op_mla.kernels import scale_in_words
from fibcore_op_mla.names import CACHES, KINDS, OWN_OP_TYPES, Kind

# Words in a name by which datasets mark attention that is not the plain one of this plugin, while
# its tensors are the same.
_MARKS = {
    "noncausal": "not causal",
    "non_causal": "not causal",
    "bidirectional": "not causal",
    "window": "sliding window",
    "swa": "sliding window",
    "softcap": "logit cap",
    "soft_cap": "logit cap",
    "sink": "attention sinks",
    "sinks": "attention sinks",
}


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel of this plugin."""
    kind = cast(Kind, kernel.parameters["kind"])
    page_size = cast("int | None", kernel.parameters.get("page_size"))
    cache = cast("str | None", kernel.parameters.get("cache_dtype"))
    return Definition(
        name=kernel.name,
        op_type=kernel.op_type,
        axes=_axes(kernel.parameters, kind, page_size),
        inputs=inputs(kind, page_size, cache),
        outputs=outputs(kind),
        reference=_reference(kernel.parameters, kind, page_size),
        description=_description(kernel.parameters, kind),
        tags=kernel.tags,
        constraints=_constraints(kind, page_size),
    )


def variant(definition: Definition) -> str:
    """What a definition computes beside plain attention, as far as its name tells.

    "" for plain attention.
    """
    name = definition.name.lower()
    found = {
        meaning for mark, meaning in _MARKS.items() if re.search(rf"(?:^|_){mark}\d*(?:_|$)", name)
    }
    return ", ".join(sorted(found))


_SIZES_IN_NAME = {
    "h": "num_qo_heads",
    "ckv": "head_dim_ckv",
    "kpe": "head_dim_kpe",
    "ps": "page_size",
    "qk": "qk_dim",
    "vo": "vo_dim",
}


def contradictions(definition: Definition) -> tuple[str, ...]:
    """Sizes of a definition that no kernel can have together.

    Each KV head serves equally many query heads.
    """
    return (
        *not_a_multiple(definition, "num_qo_heads", "num_kv_heads"),
        *in_name(definition, _SIZES_IN_NAME),
    )


def identify(definition: Definition) -> Identity:
    """The variant and the contradictions of a definition."""
    return Identity(variant(definition), contradictions(definition))


def kind_of(definition: Definition) -> Kind | None:
    """Which of the plugin's kernels has exactly these tensors; None where none has."""
    if definition.op_type not in OWN_OP_TYPES or variant(definition):
        return None
    page_size = definition.const_axes.get("page_size")
    for kind in KINDS:
        if KINDS[kind].op_type != definition.op_type or (kind == "ragged") != (page_size is None):
            continue
        if _plain(definition.inputs) == _plain(inputs(kind, page_size, cache_of(definition))):
            same = _plain(definition.outputs) == _plain(outputs(kind))
            return kind if same else None
    return None


def cache_of(definition: Definition) -> str | None:
    """Dtype of a quantised cache; None for that of the queries, and where there is no cache."""
    spec = definition.inputs.get("ckv_cache")
    return None if spec is None or spec.dtype not in CACHES else spec.dtype


def inputs(kind: Kind, page_size: int | None, cache: str | None = None) -> dict[str, TensorSpec]:
    """The inputs in order; `page_size` is None for the ragged kernel.

    `cache` is the dtype of a quantised cache, None for that of the queries.
    """
    if kind == "ragged":
        return {
            "q": tensor("total_q num_qo_heads qk_dim", "bfloat16", "Queries."),
            "k": tensor("total_kv num_kv_heads qk_dim", "bfloat16", "Materialised keys."),
            "v": tensor("total_kv num_kv_heads vo_dim", "bfloat16", "Materialised values."),
            "qo_indptr": tensor("len_indptr", "int32", "Where each sequence's queries begin."),
            "kv_indptr": tensor("len_indptr", "int32", "Where each sequence's keys begin."),
            "sm_scale": _SM_SCALE,
        }
    queries = _query_axis(kind)
    specs = {
        "q_nope": tensor(
            f"{queries} num_qo_heads head_dim_ckv",
            "bfloat16",
            "Queries without position, projected into the latent space.",
        ),
        "q_pe": tensor(
            f"{queries} num_qo_heads head_dim_kpe", "bfloat16", "Rope part of the queries."
        ),
        "ckv_cache": tensor(
            "num_pages page_size head_dim_ckv",
            cache or "bfloat16",
            "Latent vectors in pages, keys and values at once; unused places hold anything.",
        ),
        "kpe_cache": tensor(
            "num_pages page_size head_dim_kpe",
            cache or "bfloat16",
            "Rope part of the keys, placed like the latent vectors.",
        ),
    }
    if kind == "prefill":
        specs["qo_indptr"] = tensor("len_indptr", "int32", "Where each sequence's queries begin.")
    specs["kv_indptr"] = tensor(
        "len_indptr", "int32", "Where each sequence's pages begin in kv_indices."
    )
    specs["kv_indices"] = tensor("num_kv_indices", "int32", "Page numbers, in token order.")
    if page_size != 1:
        specs["kv_last_page_len"] = tensor(
            "batch_size", "int32", "Tokens in the last page of each sequence."
        )
    specs["sm_scale"] = _SM_SCALE
    if cache is not None:
        specs["kv_scale"] = scalar("float32", "Factor of the numbers in ckv_cache and kpe_cache.")
    return specs


def outputs(kind: Kind) -> dict[str, TensorSpec]:
    """The outputs in order."""
    queries = _query_axis(kind)
    width = "vo_dim" if kind == "ragged" else "head_dim_ckv"
    return {
        "output": tensor(
            f"{queries} num_qo_heads {width}", "bfloat16", "Attention output; 0 without keys."
        ),
        "lse": tensor(
            f"{queries} num_qo_heads",
            "float32",
            "Base-2 logarithm of the sum of exp(logit); -inf without keys.",
        ),
    }


_SM_SCALE = scalar(
    "float32",
    "Factor of the logits before the softmax; follows from the size of a head before absorption.",
)


def _plain(specs: Mapping[str, TensorSpec]) -> list[tuple[str, object, str]]:
    return [(name, spec.shape, spec.dtype) for name, spec in specs.items()]


def _query_axis(kind: Kind) -> str:
    return "batch_size" if kind == "decode" else "total_q"


def _axes(parameters: Mapping[str, Scalar], kind: Kind, page_size: int | None) -> dict[str, Axis]:
    def size(name: str, description: str) -> Axis:
        return const(int(parameters[name]), description)

    heads = size("num_qo_heads", "Query heads of a tensor-parallel rank.")
    if kind == "ragged":
        return {
            "num_qo_heads": heads,
            "num_kv_heads": size("num_kv_heads", "KV heads of a rank, one for each query head."),
            "qk_dim": size("qk_dim", "Query and key head, rope part included."),
            "vo_dim": size("vo_dim", "Value and output head."),
            "total_q": var("Queries of all sequences."),
            "total_kv": var("Keys of all sequences."),
            "len_indptr": var("Sequences plus one."),
        }
    axes: dict[str, Axis] = {}
    if kind == "decode":
        axes["batch_size"] = var("Sequences, one query each.")
    axes["num_qo_heads"] = heads
    axes["head_dim_ckv"] = size("head_dim_ckv", "Latent vector.")
    axes["head_dim_kpe"] = size("head_dim_kpe", "Rope part of a key.")
    axes["page_size"] = size("page_size", "Tokens in a page.")
    if kind == "prefill":
        axes["total_q"] = var("Queries of all sequences.")
        if page_size != 1:
            axes["batch_size"] = var("Sequences.")
    axes["num_pages"] = var("Pages of the cache.")
    axes["len_indptr"] = var("Sequences plus one.")
    axes["num_kv_indices"] = var("Pages in use, of all sequences.")
    return axes


def _constraints(kind: Kind, page_size: int | None) -> tuple[str, ...]:
    """Relations between sizes, where `.item()` reads an element of an input."""
    sequences = "len_indptr == batch_size + 1"
    queries = "total_q == qo_indptr[-1].item()"
    pages = "num_kv_indices == kv_indptr[-1].item()"
    if kind == "decode":
        return (sequences, pages)
    if kind == "ragged":
        return (queries, "total_kv == kv_indptr[-1].item()")
    return (queries, pages) if page_size == 1 else (sequences, queries, pages)


def _description(parameters: Mapping[str, Scalar], kind: Kind) -> str:
    parts = [
        KINDS[kind].description,
        f"{parameters['num_qo_heads']} query heads of one tensor-parallel rank.",
    ]
    if kind != "decode":
        parts.append("The last query of a sequence is aligned with its last key.")
    if "cache_dtype" in parameters:
        parts.append(
            f"The cache is {parameters['cache_dtype']}; latent vectors and rope parts are kv_scale "
            "times its numbers."
        )
    if "sm_scale" in parameters:
        before = parameters.get("head_dim_before_absorption", parameters.get("qk_dim"))
        words = scale_in_words(
            float(parameters["sm_scale"]), None if before is None else int(before)
        )
        parts.append(f"The model's sm_scale is {words}.")
    return " ".join(parts)


def _reference(parameters: Mapping[str, Scalar], kind: Kind, page_size: int | None) -> str:
    axes = ("num_qo_heads", "num_kv_heads", "qk_dim", "vo_dim")
    if kind != "ragged":
        axes = ("num_qo_heads", "head_dim_ckv", "head_dim_kpe", "page_size")
    references = resources.files("fibcore_op_mla") / "references"
    text = joined(references, f"{KINDS[kind].stem}.py")
    # With one token a page there is no last page that is not full.
    words = [] if page_size in (None, 1) else ["pages"]
    if "cache_dtype" in parameters:
        words.append("fp8")
    return render(
        select(text, words, ["pages", "fp8"]),
        {axis.upper(): parameters[axis] for axis in axes},
    )
