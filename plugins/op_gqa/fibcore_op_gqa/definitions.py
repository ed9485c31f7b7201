"""Kernel to definition: axes, tensors, constraints and the rendered reference."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import cast

from fibcore.plugin import (
    Axis,
    Definition,
    Identity,
    Kernel,
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
from fibcore_op_gqa.names import CACHE_DTYPES, KINDS, OWN_OP_TYPES, PLAIN, Extras, Kind

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
    "logit_cap": "logit cap",
    "logits_cap": "logit cap",
    "cap": "logit cap",
    "sink": "attention sinks",
    "sinks": "attention sinks",
    "alibi": "alibi",
    "chunked": "chunked local attention",
    "chunk": "chunked local attention",
}


# What marks of the reference files say which lines are for: see `rendering.select`.
_FEATURES = (
    *("window", "cap", "pages", "local", "chunk", "sink", "causal", "full"),
    *("fp8", "vo", "mask", "placed", "unplaced"),
)
# Which inputs its functions hand on: none that only a variant has, sinks alone, others alone or
# with sinks.
_HANDED_ON = ("few", "sink_alone", "more", "sink_too")
MARKS = (*_FEATURES, *_HANDED_ON)


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel of this plugin."""
    kind = cast(Kind, kernel.parameters["kind"])
    page_size = cast("int | None", kernel.parameters.get("page_size"))
    return Definition(
        name=kernel.name,
        op_type=kernel.op_type,
        axes=_axes(kernel, kind, page_size),
        inputs=inputs(kind, page_size, _extras(kernel)),
        outputs=_outputs(kind, _extras(kernel)),
        reference=_reference(kernel, kind, page_size),
        description=_description(kernel, kind),
        tags=kernel.tags,
        constraints=_constraints(kind, page_size),
    )


def extras_of(definition: Definition) -> Extras:
    """What the constants of a reference in this plugin's form, and the inputs, say."""
    found = _constants(definition.reference)
    window, cap = found.get("SLIDING_WINDOW"), found.get("LOGIT_CAP")
    chunk = found.get("ATTENTION_CHUNK")
    cache = definition.inputs["k_cache"].dtype if "k_cache" in definition.inputs else None
    return Extras(
        window if isinstance(window, int) and window > 0 else None,
        float(cap) if isinstance(cap, (int, float)) and cap > 0 else None,
        chunk if isinstance(chunk, int) and chunk > 0 else None,
        "sinks" in definition.inputs,
        found.get("CAUSAL") is not False and "custom_mask" not in definition.inputs,
        definition.const_axes.get("head_dim_vo"),
        cache if cache in CACHE_DTYPES else None,
        "custom_mask" in definition.inputs,
    )


@lru_cache(maxsize=64)  # each workload of a definition asks
def _constants(reference: str) -> Mapping[str, object]:
    """Names that statements of a reference's module assign a constant to, with it."""
    found: dict[str, object] = {}
    for node in ast.parse(reference).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            found |= {t.id: node.value.value for t in node.targets if isinstance(t, ast.Name)}
    return found


def widths(definition: Definition) -> tuple[int, int]:
    """Sizes of a key head and of a value head, of a definition of this plugin."""
    axes = definition.const_axes
    if "head_dim" in axes:
        return axes["head_dim"], axes["head_dim"]
    return axes["head_dim_qk"], axes["head_dim_vo"]


def variant(definition: Definition) -> str:
    """What a definition computes beside plain attention, as its constants or its name tell.

    "" for plain attention.
    """
    known = extras_of(definition).words
    name = definition.name.lower()
    named = set()
    for mark, meaning in _MARKS.items():
        found = re.search(rf"(?:^|_){mark}(\d*(?:p\d+)?)(?:_|$)", name)
        if found and not any(words.startswith(meaning) for words in known):
            named.add(f"{meaning} {found[1].replace('p', '.')}".rstrip())
    return ", ".join(sorted(named.union(known)))


_SIZES_IN_NAME = {
    "h": "num_qo_heads",
    "kv": "num_kv_heads",
    "d": "head_dim",
    "qk": "head_dim_qk",
    "vo": "head_dim_vo",
    "ps": "page_size",
}


def contradictions(definition: Definition) -> tuple[str, ...]:
    """Sizes of a definition that no kernel can have together.

    Each KV head serves equally many query heads. A KV cache that was taken in another layout shows
    here: its page size stands where the KV heads are looked for.
    """
    return (
        *not_a_multiple(definition, "num_qo_heads", "num_kv_heads"),
        *in_name(definition, _SIZES_IN_NAME),
    )


def identify(definition: Definition) -> Identity:
    """The variant and the contradictions of a definition."""
    return Identity(variant(definition), contradictions(definition))


def kind_of(definition: Definition) -> Kind | None:
    """Which of the plugin's kernels has exactly these tensors; None where none has.

    None as well for attention that is another function than `extras_of` tells.
    """
    if definition.op_type not in OWN_OP_TYPES:
        return None
    extras = extras_of(definition)
    if variant(definition) != ", ".join(sorted(extras.words)):
        return None
    page_size = definition.const_axes.get("page_size")
    kinds: tuple[Kind, ...] = ("decode", "prefill")
    if definition.op_type == "gqa_ragged":
        kinds = ("ragged",)
    elif page_size is None:
        return None

    def plain(specs: dict[str, TensorSpec]) -> list[tuple[str, object, str]]:
        return [(name, spec.shape, spec.dtype) for name, spec in specs.items()]

    for kind in kinds:
        if plain(dict(definition.inputs)) == plain(inputs(kind, page_size, extras)):
            same = plain(dict(definition.outputs)) == plain(_outputs(kind, extras))
            return kind if same else None
    return None


def inputs(kind: Kind, page_size: int | None, extras: Extras = PLAIN) -> dict[str, TensorSpec]:
    """The inputs in order; `page_size` is None for the ragged kernel."""
    queries = _query_axis(kind)
    wide, narrow = _head_axes(extras)
    specs = {"q": tensor(f"{queries} num_qo_heads {wide}", "bfloat16", "Queries.")}
    if kind == "ragged":
        shape, words = "total_kv num_kv_heads", "of all sequences, one after the other."
        specs["k"] = tensor(f"{shape} {wide}", "bfloat16", f"Keys {words}")
        specs["v"] = tensor(f"{shape} {narrow}", "bfloat16", f"Values {words}")
    else:
        shape, dtype = "num_pages page_size num_kv_heads", extras.cache or "bfloat16"
        words = "Keys in pages; unused places hold anything."
        specs["k_cache"] = tensor(f"{shape} {wide}", dtype, words)
        specs["v_cache"] = tensor(f"{shape} {narrow}", dtype, "Values, placed like the keys.")
    if kind != "decode":
        specs["qo_indptr"] = tensor("len_indptr", "int32", "Where each sequence's queries begin.")
    if kind == "ragged":
        specs["kv_indptr"] = tensor("len_indptr", "int32", "Where each sequence's keys begin.")
    else:
        specs["kv_indptr"] = tensor(
            "len_indptr", "int32", "Where each sequence's pages begin in kv_indices."
        )
        specs["kv_indices"] = tensor("num_kv_indices", "int32", "Page numbers, in token order.")
        if page_size != 1:
            specs["kv_last_page_len"] = tensor(
                "batch_size", "int32", "Tokens in the last page of each sequence."
            )
    if extras.mask:
        words = "Whether a query sees a key: the rows of a sequence's queries, one after the other."
        specs["custom_mask"] = tensor("mask_len", "bool", words)
    if extras.sink:
        words = "Logit of each query head that joins the sum of its softmax and has no value."
        specs["sinks"] = tensor("num_qo_heads", "float32", words)
    specs["sm_scale"] = scalar("float32", "Factor of the logits before the softmax.")
    if extras.cache is not None:
        specs["k_scale"] = scalar("float32", "Factor of the numbers in k_cache.")
        specs["v_scale"] = scalar("float32", "Factor of the numbers in v_cache.")
    return specs


def _outputs(kind: Kind, extras: Extras) -> dict[str, TensorSpec]:
    queries = _query_axis(kind)
    lse = "Base-2 logarithm of the sum of exp(logit); -inf without keys."
    if extras.sink:
        lse = "Base-2 logarithm of the sum of exp(logit), that of the sink included."
    return {
        "output": tensor(
            f"{queries} num_qo_heads {_head_axes(extras)[1]}",
            "bfloat16",
            "Attention output; 0 without keys.",
        ),
        "lse": tensor(
            f"{queries} num_qo_heads",
            "float32",
            lse,
        ),
    }


def _head_axes(extras: Extras) -> tuple[str, str]:
    """The axes of a key head and of a value head; FlashInfer's names where they are two."""
    if extras.value_dim is None:
        return "head_dim", "head_dim"
    return "head_dim_qk", "head_dim_vo"


def _query_axis(kind: Kind) -> str:
    return "batch_size" if kind == "decode" else "total_q"


def _axes(kernel: Kernel, kind: Kind, page_size: int | None) -> dict[str, Axis]:
    parameters = kernel.parameters
    axes: dict[str, Axis] = {}
    if kind == "decode":
        axes["batch_size"] = var("Sequences, one query each.")
    axes["num_qo_heads"] = const(int(parameters["num_qo_heads"]), "Query heads of a rank.")
    axes["num_kv_heads"] = const(int(parameters["num_kv_heads"]), "KV heads of a rank.")
    extras = _extras(kernel)
    if extras.value_dim is None:
        axes["head_dim"] = const(int(parameters["head_dim"]), "Size of a head.")
    else:
        axes["head_dim_qk"] = const(int(parameters["head_dim"]), "Size of a query and key head.")
        axes["head_dim_vo"] = const(extras.value_dim, "Size of a value head.")
    if page_size is not None:
        axes["page_size"] = const(page_size, "Tokens in a page.")
        axes["num_pages"] = var("Pages of the cache.")
    if kind != "decode":
        axes["total_q"] = var("Queries of all sequences.")
    if kind == "ragged":
        axes["total_kv"] = var("Keys of all sequences.")
    if kind == "prefill" and page_size != 1:
        axes["batch_size"] = var("Sequences.")
    axes["len_indptr"] = var("Sequences plus one.")
    if page_size is not None:
        axes["num_kv_indices"] = var("Pages in use, of all sequences.")
    if extras.mask:
        axes["mask_len"] = var("Pairs of a query and a key of its sequence, of all sequences.")
    return axes


def _constraints(kind: Kind, page_size: int | None) -> tuple[str, ...]:
    """Relations between sizes, where `.item()` reads an element of an input."""
    last_page = "num_kv_indices == kv_indptr[-1].item()"
    queries = "total_q == qo_indptr[-1].item()"
    if kind == "decode":
        return ("len_indptr == batch_size + 1", last_page)
    if kind == "ragged":
        return (queries, "total_kv == kv_indptr[-1].item()")
    if page_size == 1:
        return (queries, last_page)
    return ("len_indptr == batch_size + 1", queries, last_page)


def _description(kernel: Kernel, kind: Kind) -> str:
    parameters = kernel.parameters
    heads = (
        f"Grouped heads, {parameters['num_qo_heads']} for queries and "
        f"{parameters['num_kv_heads']} for keys and values, those of one tensor-parallel rank."
    )
    extras = _extras(kernel)
    does = KINDS[kind].description
    if not extras.causal:
        sees = "" if extras.mask else ": a query sees all keys of its sequence"
        does = does.replace("Causal prefill", "Prefill").replace(".", f"{sees}.")
    parts = [does, heads]
    if kind != "decode" and extras.causal:
        parts.append("The last query of a sequence is aligned with its last key.")
    if extras.window is not None and not extras.mask:
        parts.append(
            f"Sliding window: a query sees the last {extras.window} of these keys alone, its own "
            "included."
        )
    if extras.cap is not None:
        parts.append(
            f"Logit cap: a scaled logit x becomes {extras.cap:g} * tanh(x / {extras.cap:g})."
        )
    if extras.chunk is not None:
        parts.append(
            f"Chunked local attention: keys go by {extras.chunk}, from a sequence's first, and a "
            "query sees those of its own key's chunk alone."
        )
    if extras.sink:
        parts.append("Attention sinks: exp(sinks[h]) joins the sum of the softmax of head h.")
    if extras.cache is not None:
        parts.append(
            f"The cache is {extras.cache}; keys are k_scale times its numbers, values v_scale."
        )
    if extras.mask:
        parts.append("A query sees the keys that custom_mask says, whichever they are.")
        if extras.window is not None:
            parts.append(
                f"Of these it sees those that stand less than {extras.window} places before its "
                "own; the last query stands where the last key does."
            )
    if "sm_scale" in parameters:
        scale = float(parameters["sm_scale"])
        head_dim = int(parameters["head_dim"])
        usual = "1 / sqrt(head_dim)" if math.isclose(scale, head_dim**-0.5) else f"{scale:.9g}"
        parts.append(f"sm_scale is usually {usual}.")
    return " ".join(parts)


def _extras(kernel: Kernel) -> Extras:
    return Extras(
        cast("int | None", kernel.parameters.get("sliding_window")),
        cast("float | None", kernel.parameters.get("logit_cap")),
        cast("int | None", kernel.parameters.get("attention_chunk")),
        bool(kernel.parameters.get("sinks", False)),
        bool(kernel.parameters.get("causal", True)) and "custom_mask" not in kernel.parameters,
        cast("int | None", kernel.parameters.get("value_dim")),
        cast("str | None", kernel.parameters.get("cache_dtype")),
        bool(kernel.parameters.get("custom_mask", False)),
    )


def _reference(kernel: Kernel, kind: Kind, page_size: int | None) -> str:
    parameters = kernel.parameters
    constants = {
        "NUM_QO_HEADS": parameters["num_qo_heads"],
        "NUM_KV_HEADS": parameters["num_kv_heads"],
        "HEAD_DIM": parameters["head_dim"],
    }
    if page_size is not None:
        constants["PAGE_SIZE"] = page_size
    extras = _extras(kernel)
    constants |= extras.constants()
    if extras.value_dim is not None:
        constants["VALUE_DIM"] = extras.value_dim
    references = resources.files("fibcore_op_gqa") / "references"
    text = joined(references, f"{KINDS[kind].stem}.py")
    has = {
        "window": extras.window is not None and not extras.mask,
        "cap": extras.cap is not None,
        "local": extras.local and not extras.mask,
        "chunk": extras.chunk is not None,
        "sink": extras.sink,
        "causal": extras.causal,
        "full": not extras.causal and not extras.mask,
        "fp8": extras.cache is not None,
        "vo": extras.value_dim is not None,
        "mask": extras.mask,
        # With a mask, a window hides what the mask may show.
        "placed": extras.mask and extras.window is not None,
        "unplaced": extras.mask and extras.window is None,
    }
    more = has["fp8"] or has["mask"]
    has["few"] = not (more or extras.sink)
    has["sink_alone"] = extras.sink and not more
    has["more"], has["sink_too"] = more, extras.sink and more
    # With one token a page there is no last page that is not full.
    has["pages"] = page_size not in (None, 1)
    words = [word for word in MARKS if has[word]]
    return render(select(text, words, MARKS), constants)
