"""The kernels of grouped query attention: their names, op types, variants and FlashInfer names."""

from __future__ import annotations

from typing import Literal

import attrs

from fibcore.plugin import Option, OpType

Kind = Literal["decode", "prefill", "ragged"]
"""Paged decode, paged causal prefill, ragged prefill."""


@attrs.frozen
class KernelKind:
    """What sets a kind of kernel apart beside its tensors.

    Attributes:
        op_type: Its op type.
        stage: The stage in which it runs, "decode" or "prefill".
        stem: What its names begin with; the files of its reference and ground truths have it, too.
        flashinfer: FlashInfer's name for it.
        with_sinks: FlashInfer's name for it with attention sinks.
        sglang: SGLang's torch-native function for it.
        description: What it does, for the description of a definition.
    """

    op_type: str
    stage: Literal["decode", "prefill"]
    stem: str
    flashinfer: str
    with_sinks: str
    sglang: str
    description: str


_SINKS = "flashinfer.attention.BatchAttentionWithAttentionSinkWrapper"

KINDS: dict[Kind, KernelKind] = {
    "decode": KernelKind(
        op_type="gqa_paged",
        stage="decode",
        stem="gqa_paged_decode",
        flashinfer="flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper",
        with_sinks=_SINKS,
        sglang="sglang TorchNativeAttnBackend._run_sdpa_forward_decode",
        description="Decode attention: one query a sequence over a paged KV cache.",
    ),
    "prefill": KernelKind(
        op_type="gqa_paged",
        stage="prefill",
        stem="gqa_paged_prefill_causal",
        flashinfer="flashinfer.prefill.BatchPrefillWithPagedKVCacheWrapper",
        with_sinks=_SINKS,
        sglang="sglang TorchNativeAttnBackend._run_sdpa_forward_extend",
        description="Causal prefill attention of ragged queries over a paged KV cache.",
    ),
    "ragged": KernelKind(
        op_type="gqa_ragged",
        stage="prefill",
        stem="gqa_ragged_prefill_causal",
        flashinfer="flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper",
        with_sinks="flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper",
        sglang="sglang TorchNativeAttnBackend._run_sdpa_forward_extend",
        description="Causal prefill attention of ragged queries over ragged keys and values.",
    ),
}


PAGE_SIZE: Option[tuple[int, ...]] = Option(
    "page_size", default=(1, 64), help="KV page sizes.", recorded_as="page_sizes"
)
"""Tokens in a page of the paged KV cache."""

DRAFTS: Option[str] = Option(
    "drafts",
    default="none",
    help="Drafts of speculative decoding, which a tree-shaped mask verifies in one call.",
    choices={"none": "no drafts", "tree": "trees of drafts"},
)
"""What decode verifies. Which keys a token of a tree sees is an input of the kernel."""

OP_TYPES = (
    OpType("gqa_paged", "grouped query attention over a paged KV cache", (PAGE_SIZE, DRAFTS)),
    OpType("gqa_ragged", "grouped query attention over ragged keys and values"),
)

OWN_OP_TYPES = tuple(op_type.name for op_type in OP_TYPES)


_CACHES = {"float8_e4m3fn": "fp8kv", "float8_e5m2": "fp8e5m2kv"}
"""What names call a cache of a dtype."""

CACHE_DTYPES = tuple(_CACHES)
"""Dtypes of caches with scales that definitions have."""


@attrs.frozen
class Extras:
    """What a kernel computes beyond plain attention.

    Of each a constant of its reference tells, but of sinks an input.

    Attributes:
        window: Keys that a query sees at most, its own included; None for all.
        cap: c of `c * tanh(logit / c)`, which bounds the scaled logits; None for no bound.
        chunk: Keys of a chunk, counted from a sequence's first key; a query sees those of its own
            key's chunk alone. None for no chunks.
        sink: Whether a logit of each query head joins the sum of its softmax.
        causal: Whether a query sees no key behind its own; True of decode.
        value_dim: Size of a value head, where it is not that of a key head; None where it is.
        cache: Dtype of a cache whose numbers are multiplied by a scale for keys and one for
            values; None for the dtype of the queries.
        mask: Whether an input says which keys each query sees; `causal` is False then.
    """

    window: int | None = None
    cap: float | None = None
    chunk: int | None = None
    sink: bool = False
    causal: bool = True
    value_dim: int | None = None
    cache: str | None = None
    mask: bool = False

    @property
    def local(self) -> bool:
        """Whether a query sees no key that is far before its own."""
        return self.window is not None or self.chunk is not None

    @property
    def suffix(self) -> str:
        """What a name ends in: `_swa4096_cap50`, and nothing for plain attention."""
        window = "" if self.window is None else f"_swa{self.window}"
        cap = "" if self.cap is None else f"_cap{self.cap:g}".replace(".", "p")
        chunk = "" if self.chunk is None else f"_chunk{self.chunk}"
        cache = "" if self.cache is None else f"_{_CACHES[self.cache]}"
        return window + cap + chunk + cache + ("_sink" if self.sink else "")

    @property
    def words(self) -> tuple[str, ...]:
        """The same for people: "sliding window 4096", "logit cap 50"."""
        found = {
            f"sliding window {self.window}": self.window is not None,
            f"logit cap {self.cap:g}" if self.cap is not None else "": self.cap is not None,
            f"chunked local attention {self.chunk}": self.chunk is not None,
            f"{self.cache} KV cache": self.cache is not None,
            "attention sinks": self.sink,
            "a mask of its own": self.mask,
            "not causal": not self.causal and not self.mask,
        }
        return tuple(words for words, has in found.items() if has)

    def constants(self) -> dict[str, int | float]:
        """The constants of a reference that hold it."""
        found: dict[str, int | float] = {}
        if self.window is not None:
            found["SLIDING_WINDOW"] = self.window
        if self.cap is not None:
            found["LOGIT_CAP"] = self.cap
        if self.chunk is not None:
            found["ATTENTION_CHUNK"] = self.chunk
        if not self.causal and not self.mask:
            found["CAUSAL"] = False
        return found

    def stem(self, kind: Kind) -> str:
        """What the names of such kernels of a kind begin with."""
        causal = KINDS[kind].stem
        if self.mask:
            return causal.replace("_causal", "_custom_mask")
        if self.causal:
            return causal
        # FlashInfer's tools call causal paged prefill `gqa_paged_prefill`.
        return causal.replace("_causal", "_noncausal" if kind == "prefill" else "")


PLAIN = Extras()


def kernel_name(
    kind: Kind,
    qo_heads: int,
    kv_heads: int,
    head_dim: int,
    page_size: int | None,
    extras: Extras = PLAIN,
) -> str:
    """The definition's name, such as `gqa_paged_decode_h32_kv8_d128_ps64_swa4096`.

    Heads are those of one tensor-parallel rank; `page_size` is None for the ragged kernel.
    """
    width = f"d{head_dim}"
    if extras.value_dim is not None:
        width = f"qk{head_dim}_vo{extras.value_dim}"
    name = f"{extras.stem(kind)}_h{qo_heads}_kv{kv_heads}_{width}"
    return (name if page_size is None else f"{name}_ps{page_size}") + extras.suffix
