"""The kernels of grouped query attention: their names, op types, variants and FlashInfer names."""

from __future__ import annotations

from typing import Literal

import attrs

from fibcore.plugin import Option, OpType

Kind = Literal["decode", "prefill", "ragged"]
"""Paged decode, paged causal prefill, ragged causal prefill."""


@attrs.frozen
class KernelKind:
    """What sets a kind of kernel apart beside its tensors.

    Attributes:
        op_type: Its op type.
        stage: The stage in which it runs, "decode" or "prefill".
        stem: What its names begin with; the files of its reference and ground truths have it, too.
        flashinfer: FlashInfer's name for it.
        sglang: SGLang's torch-native function for it.
        description: What it does, for the description of a definition.
    """

    op_type: str
    stage: Literal["decode", "prefill"]
    stem: str
    flashinfer: str
    sglang: str
    description: str


KINDS: dict[Kind, KernelKind] = {
    "decode": KernelKind(
        op_type="gqa_paged",
        stage="decode",
        stem="gqa_paged_decode",
        flashinfer="flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper",
        sglang="sglang TorchNativeAttnBackend._run_sdpa_forward_decode",
        description="Decode attention: one query a sequence over a paged KV cache.",
    ),
    "prefill": KernelKind(
        op_type="gqa_paged",
        stage="prefill",
        stem="gqa_paged_prefill_causal",
        flashinfer="flashinfer.prefill.BatchPrefillWithPagedKVCacheWrapper",
        sglang="sglang TorchNativeAttnBackend._run_sdpa_forward_extend",
        description="Causal prefill attention of ragged queries over a paged KV cache.",
    ),
    "ragged": KernelKind(
        op_type="gqa_ragged",
        stage="prefill",
        stem="gqa_ragged_prefill_causal",
        flashinfer="flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper",
        sglang="sglang TorchNativeAttnBackend._run_sdpa_forward_extend",
        description="Causal prefill attention of ragged queries over ragged keys and values.",
    ),
}


PAGE_SIZE: Option[tuple[int, ...]] = Option(
    "page_size", default=(1, 64), help="KV page sizes.", recorded_as="page_sizes"
)
"""Tokens in a page of the paged KV cache."""

OP_TYPES = (
    OpType("gqa_paged", "grouped query attention over a paged KV cache", (PAGE_SIZE,)),
    OpType("gqa_ragged", "grouped query attention over ragged keys and values"),
)

OWN_OP_TYPES = tuple(op_type.name for op_type in OP_TYPES)


@attrs.frozen
class Extras:
    """What a kernel computes beyond plain attention; a constant of its reference each.

    Attributes:
        window: Keys that a query sees at most, its own included; None for all.
        cap: c of `c * tanh(logit / c)`, which bounds the scaled logits; None for no bound.
    """

    window: int | None = None
    cap: float | None = None

    @property
    def suffix(self) -> str:
        """What a name says of it: `_swa4096_cap50`, and nothing for plain attention."""
        window = "" if self.window is None else f"_swa{self.window}"
        return window + ("" if self.cap is None else f"_cap{self.cap:g}".replace(".", "p"))

    @property
    def words(self) -> tuple[str, ...]:
        """The same for people: "sliding window 4096", "logit cap 50"."""
        window = () if self.window is None else (f"sliding window {self.window}",)
        return (*window, *(() if self.cap is None else (f"logit cap {self.cap:g}",)))

    def constants(self) -> dict[str, int | float]:
        """The constants of a reference that hold it."""
        found: dict[str, int | float] = {}
        if self.window is not None:
            found["SLIDING_WINDOW"] = self.window
        if self.cap is not None:
            found["LOGIT_CAP"] = self.cap
        return found


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
    name = f"{KINDS[kind].stem}_h{qo_heads}_kv{kv_heads}_d{head_dim}"
    return (name if page_size is None else f"{name}_ps{page_size}") + extras.suffix
