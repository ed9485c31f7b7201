"""Builds the kernels of an attention layer, with the proof of each constant."""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs

from fibcore.plugin import (
    Fact,
    Kernel,
    ModuleNode,
    Scalar,
    Serving,
    fact,
    origins_of,
    with_origins,
)
from fibcore_op_gqa.layer_settings import Prompt, setting
from fibcore_op_gqa.names import (
    DRAFTS,
    KINDS,
    PAGE_SIZE,
    Extras,
    Kind,
    kernel_name,
)

# Layers whose keys are those of the sequence itself: the drafts are among them.
_VERIFYING = ("causal", "bidirectional")


@attrs.frozen
class Sizes:
    """Query heads and KV heads of a rank, and the size of a query and key head."""

    qo_heads: int
    kv_heads: int
    head_dim: int


def kernels_run(
    serving: Serving, prompt: Prompt, extras: Extras
) -> Iterator[tuple[Kind, int | None, Extras]]:
    """Kind, page size and function of each kernel that a layer runs.

    `prompt` says what its queries of a prompt see, `extras` what it adds to plain attention.
    """
    # One query of a sequence sees all keys, causal or not.
    decoding = attrs.evolve(extras, causal=True)
    if "decode" in serving.stages and prompt != "encoder":
        for page_size in serving.value(PAGE_SIZE):
            yield "decode", page_size, decoding
    if "decode" in serving.stages and prompt in _VERIFYING and serving.value(DRAFTS) == "tree":
        for page_size in serving.value(PAGE_SIZE):
            yield "prefill", page_size, attrs.evolve(extras, causal=False, mask=True)
    if "prefill" in serving.stages and prompt in ("causal", "cross"):
        for page_size in serving.value(PAGE_SIZE):
            yield "prefill", page_size, extras
    # SGLang reads an encoder's keys from the cache, which has them from the first call on.
    if "prefill" in serving.stages and prompt in ("causal", "encoder"):
        yield "ragged", None, extras


def make_kernel(
    kind: Kind,
    page_size: int | None,
    node: ModuleNode,
    serving: Serving,
    sizes: Sizes,
    extras: Extras,
    scaling: object = None,
) -> Kernel:
    """The kernel of a layer, with a fact for each constant; `page_size` is None for ragged.

    `scaling` is the layer's factor of the logits, as far as it is known.
    """
    qo_heads, kv_heads, head_dim = sizes.qo_heads, sizes.kv_heads, sizes.head_dim
    ranks = serving.ranks(origins_of(qo_heads))
    rank = f"one of {ranks} tensor-parallel ranks"
    facts: dict[str, Fact] = {
        "num_qo_heads": fact(qo_heads, node, f"query heads of {rank}"),
        "num_kv_heads": fact(
            kv_heads, node, f"KV heads of {rank}; fewer heads than ranks are replicated"
        ),
    }
    parameters: dict[str, Scalar] = {
        "kind": kind,
        "num_qo_heads": int(qo_heads),
        "num_kv_heads": int(kv_heads),
        "head_dim": int(head_dim),
    }
    if extras.value_dim is None:
        facts["head_dim"] = fact(head_dim, node, "size of a query, key and value head")
    else:
        parameters["value_dim"] = int(extras.value_dim)
        facts["head_dim_qk"] = fact(head_dim, node, "size of a query and key head")
        facts["head_dim_vo"] = fact(extras.value_dim, node, "size of a value head")
    if page_size is not None:
        parameters["page_size"] = int(page_size)
        asked = with_origins(page_size, frozenset({PAGE_SIZE.origin}))
        facts["page_size"] = fact(asked, node, "tokens in a page of the KV cache")
    if extras.window is not None:
        parameters["sliding_window"] = int(extras.window)
        before = setting(node, "sliding_window_size")
        note = "keys that a query sees: sliding_window_size, and its own"
        facts["sliding_window"] = fact(int(extras.window), node, note, before)
    if extras.cap is not None:
        parameters["logit_cap"] = float(extras.cap)
        note = "c of c * tanh(logit / c)"
        facts["logit_cap"] = fact(float(extras.cap), node, note, setting(node, "logit_cap"))
    if extras.chunk is not None:
        parameters["attention_chunk"] = int(extras.chunk)
        note = "keys of a chunk, of which a query sees its own alone"
        facts["attention_chunk"] = fact(extras.chunk, node, note)
    if extras.sink:
        parameters["sinks"] = True
    if extras.cache is not None:
        parameters["cache_dtype"] = extras.cache
    if extras.mask:
        parameters["custom_mask"] = True
    elif not extras.causal:
        parameters["causal"] = False
    # An input of the kernel, so nothing hangs on it if it is unknown.
    if isinstance(scaling, int | float) and not isinstance(scaling, bool):
        parameters["sm_scale"] = float(scaling)
        note = "usual value of the input sm_scale"
        if math.isclose(scaling, head_dim**-0.5):
            note += ", 1 / sqrt(head_dim)"
        facts["sm_scale"] = fact(scaling, node, note)
    wrapped = "prefill" if kind == "decode" and extras.value_dim is not None else kind
    flashinfer = KINDS[wrapped].with_sinks if extras.sink else KINDS[wrapped].flashinfer
    # Drafts are verified where else a token each is decoded.
    stage = "decode" if extras.mask else KINDS[kind].stage
    return Kernel(
        op_type=KINDS[kind].op_type,
        name=kernel_name(kind, qo_heads, kv_heads, head_dim, page_size, extras),
        parameters=parameters,
        facts=facts,
        uses=(),
        tags=(f"stage:{stage}", f"tp:{ranks}", f"fi_api:{flashinfer}"),
        choice=f"attention of {stage}",
    )
