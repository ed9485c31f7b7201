"""Finds the sampling kernels of a model: what SGLang's Sampler calls with the logits of a step."""

from __future__ import annotations

import re

from fibcore.plugin import (
    Extraction,
    Kernel,
    KernelCollector,
    ModelTree,
    Operation,
    Serving,
    TensorRef,
    fact,
)
from fibcore_op_sampling.names import (
    JOINT,
    KINDS,
    OP_TYPE,
    ORDER,
    SOFTMAX,
    TOP_K_TOP_P,
    kernel_name,
)

_SAMPLER = "sglang.srt.layers.sampler.Sampler"
_LOGITS = "sglang.srt.layers.logits_processor.LogitsProcessor"
_POOLER = "sglang.srt.layers.pooler.Pooler"
_POOLED = "it makes one row of those of a sequence, and no token; the op type has no such kernel"
# Draft models of speculative decoding: the speculative worker takes the largest of their logits.
_DRAFT = re.compile(r"nextn|mtp|eagle|dspark|dflash|medusa", re.IGNORECASE)

# Functions, those of SGLang around them among the first, and the kernels that they are. Where a
# request has one of two filters alone, the kernel of both is called with the other set to keep all:
# it computes the kernel of the one then.
_KERNELS = {
    "sampling_from_probs_torch": ("sampling_from_probs",),
    "top_k_top_p_sampling_from_probs": (
        "top_k_sampling_from_probs",
        "top_p_sampling_from_probs",
        TOP_K_TOP_P,
    ),
    "top_k_sampling_from_probs": ("top_k_sampling_from_probs",),
    "top_p_sampling_from_probs": ("top_p_sampling_from_probs",),
    "min_p_sampling_from_probs": ("min_p_sampling",),
    "sampling_from_probs": ("sampling_from_probs",),
    "multinomial": ("sampling_from_probs",),
    "top_k_renorm_prob": ("top_k_renorm_probs",),
    "top_k_renorm_probs": ("top_k_renorm_probs",),
    "top_p_renorm_prob": ("top_p_renorm_probs",),
    "top_p_renorm_probs": ("top_p_renorm_probs",),
    "softmax": (SOFTMAX,),
}
_NOT_COVERED = {
    "argmax": "requests that do not sample take the largest logit; the op type has no such kernel",
}
# The requests of a batch decide which of the ways a step takes.
_CHOICE = "the next tokens"
_JOINT_NOTE = (
    "SGLang calls it with filter_apply_order='joint', in which top-p sees what top-k leaves out: "
    f"{ORDER.flag} {JOINT} has that definition"
)


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """What the Sampler runs on the logits of `tree`; parallel sizes change nothing.

    A batch takes one of several ways, by what its requests ask for: the largest logit; softmax and
    a draw; softmax and a draw with top-k, top-p or both; softmax, top-k, top-p, and a draw with
    min-p. All are kernels of the model. A draft model has none of them.
    """
    found = KernelCollector()
    _name_poolers(tree, found)
    for node in tree.walk():
        if node.is_a(_SAMPLER) and not node.calls:
            found.claim(node)  # a model's own: the server runs another one
    if _DRAFT.search(tree.architecture) or _DRAFT.search(tree.root.cls):
        return found.finish()
    calls = [call for call in tree.kernel_calls if _is_sampler(tree, call)]
    sizes = [size for call in calls if (size := _vocabulary(call)) is not None]
    for call in calls:
        _match(call, sizes[0] if sizes else None, serving, found)
    if not calls:
        _not_followed(tree, found)
    return found.finish()


def _name_poolers(tree: ModelTree, found: KernelCollector) -> None:
    """Name poolers, which take the place of a sampler where models give embeddings.

    Those of models that give logits are claimed: requests for embeddings alone call them.
    """
    nodes = list(tree.walk())
    logits = any(node.is_a(_LOGITS) and node.calls for node in nodes)
    for node in nodes:
        if node.is_a(_POOLER) and node.calls:
            found.not_covered("pooler of embeddings", _POOLED, node)
        elif node.is_a(_POOLER) and logits:
            found.claim(node)


def _is_sampler(tree: ModelTree, call: Operation) -> bool:
    node = tree.node_of(call)
    return node is not None and node.is_a(_SAMPLER)


def _not_followed(tree: ModelTree, found: KernelCollector) -> None:
    """Report a sampler that could not be read; a model without logits has none."""
    reasons = [missing.reason for missing in tree.not_followed if missing.path == "sampler"]
    node = next((node for node in tree.walk() if node.is_a(_LOGITS)), None)
    if reasons and node is not None:
        found.problem("sampling kernels", reasons[0], node)


def _vocabulary(call: Operation) -> int | None:
    """The size of the rows that a call is given, where they are float32 and it is known."""
    rows = call.argument(0, "probs", "logits", "input")
    if not isinstance(rows, TensorRef) or rows.shape is None or len(rows.shape) != 2:
        return None
    size = rows.shape[1]
    known = isinstance(size, int) and not isinstance(size, bool) and size > 0
    return size if known and rows.dtype == "float32" else None


def _match(
    call: Operation, of_others: int | None, serving: Serving, found: KernelCollector
) -> None:
    """Add the kernels of a call, or say why it has none.

    Args:
        call: The call.
        of_others: The vocabulary that calls have of which it is known: rows that came out of a
            kernel have that of the rows that went in.
        serving: How the model is served.
        found: Takes it.
    """
    stems = next((s for name, s in _KERNELS.items() if call.goes_through(name)), None)
    if stems is None:
        if call.name in _NOT_COVERED:
            reason = _NOT_COVERED[call.name]
            found.not_covered(f"{call.name} of logits", reason, call, choice=_CHOICE)
        return
    vocab_size = _vocabulary(call) or of_others
    if vocab_size is None:
        reason = f"the rows of {call.name} are {call.argument(0, 'probs', 'logits', 'input')}"
        found.problem("sampling kernels", reason, call)
        return
    order = call.kwargs.get("filter_apply_order", "top_k_first")
    for stem in stems:
        if stem == TOP_K_TOP_P and order not in (JOINT, "top_k_first"):
            found.problem("sampling kernels", f"the order of its filters is {order}", call)
            continue
        joint = stem == TOP_K_TOP_P and order == JOINT
        found.add(_kernel(stem, vocab_size, call, serving, joint=joint), call)


def _kernel(
    stem: str, vocab_size: int, call: Operation, serving: Serving, *, joint: bool
) -> Kernel:
    as_called = joint and serving.value(ORDER) == JOINT
    return Kernel(
        op_type=OP_TYPE,
        name=kernel_name(stem, int(vocab_size), joint=as_called),
        parameters={"kind": stem, "vocab_size": int(vocab_size), "joint": as_called},
        facts={"vocab_size": fact(vocab_size, call, "tokens that the logits are of")},
        uses=(),
        tags=(f"fi_api:flashinfer.sampling.{KINDS[stem].function}",),
        notes=(_JOINT_NOTE,) if joint and not as_called else (),
        choice="" if stem == SOFTMAX else _CHOICE,
    )
