"""Writes to paged KV caches: op type, kinds, tensors, and the names of kernels."""

from __future__ import annotations

from typing import Literal

import attrs

from fibcore.plugin import Option, OpType

OP_TYPE = "page_append"

PAGE_SIZE: Option[tuple[int, ...]] = Option(
    "page_size", default=(1, 64), help="KV page sizes.", recorded_as="page_sizes"
)
"""Tokens in a page of the paged KV cache; declared as attention does, whose cache it is."""

OP_TYPES = (OpType(OP_TYPE, "writes of new keys and values to a paged KV cache", (PAGE_SIZE,)),)

Layout = Literal["kv", "kv_widths", "mla", "kv_fp8", "mla_fp8", "mla_block_scale"]
"""Keys and values of heads, of one size or of two, or latent vectors and the rope parts of keys; in
caches of the model's dtype, or of fp8, to which they are rounded on the way; or, latent vectors of
sparse attention, in one cache of bytes with scales among them."""

SCALED_BLOCK = 128
"""Elements of a latent vector that have a scale in common, in a cache of bytes.

`quantize_k_cache_separate` of SGLang; FlashMLA calls the format V32_FP8Sparse.
"""

FP8 = "float8_e4m3fn"
"""SGLang's name for the dtype of fp8 caches."""

TABLE = ("batch_indices", "positions")
"""Inputs that say which token an entry is, between what is appended and the caches."""
PAGES = ("kv_indices", "kv_indptr", "kv_last_page_len")
"""Inputs that say which pages a sequence has, behind the caches."""


@attrs.frozen
class Kind:
    """What sets a layout of the cache apart.

    Attributes:
        stem: What names of kernels begin with.
        appended: The inputs that are appended.
        caches: The inputs that they are appended to: one for each, or one for both.
        consts: Const axes, by the letters that stand before their sizes in names.
        implied: Const axes whose sizes follow from those.
        api: FlashInfer's function; empty where it has none.
        file: Of the reference, and of its ground truths behind whose they are; the stem if empty.
        dtype: Of the caches, as definitions call it.
        scales: Inputs by which what is appended is divided before it is rounded.
    """

    stem: str
    appended: tuple[str, str]
    caches: tuple[str, ...]
    consts: dict[str, str]
    implied: tuple[str, ...] = ()
    api: str = ""
    file: str = ""
    dtype: str = "bfloat16"
    scales: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """What the file of the reference is called."""
        return self.file or self.stem

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs of a definition, in order."""
        return (*self.appended, *TABLE, *self.caches, *PAGES, *self.scales)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Its outputs, in order."""
        return tuple(f"updated_{name}" for name in self.caches)

    @property
    def const_axes(self) -> tuple[str, ...]:
        """Its const axes."""
        return (*self.consts.values(), *self.implied)

    def name(self, sizes: dict[str, int]) -> str:
        """The definition's name: `append_paged_kv_cache_kv8_d128_ps64`."""
        return "_".join((self.stem, *(f"{n}{sizes[axis]}" for n, axis in self.consts.items())))


KINDS: dict[Layout, Kind] = {
    "kv": Kind(
        stem="append_paged_kv_cache",
        appended=("append_key", "append_value"),
        caches=("k_cache", "v_cache"),
        consts={"kv": "num_kv_heads", "d": "head_dim", "ps": "page_size"},
        api="flashinfer.page.append_paged_kv_cache",
    ),
    "mla": Kind(
        stem="append_paged_mla_kv_cache",
        appended=("append_ckv", "append_kpe"),
        caches=("ckv_cache", "kpe_cache"),
        consts={"ckv": "head_dim_ckv", "kpe": "head_dim_kpe"},
        api="flashinfer.page.append_paged_mla_kv_cache",
    ),
}
KINDS["kv_fp8"] = attrs.evolve(
    KINDS["kv"],
    stem="append_paged_kv_cache_fp8",
    api="",
    dtype="float8_e4m3fn",
    scales=("k_scale", "v_scale"),
)
KINDS["mla_fp8"] = attrs.evolve(
    KINDS["mla"], stem="append_paged_mla_kv_cache_fp8", api="", dtype="float8_e4m3fn"
)
KINDS["kv_widths"] = attrs.evolve(
    KINDS["kv"],
    file="append_paged_kv_cache_widths",
    consts={
        "kv": "num_kv_heads",
        "qk": "head_dim_qk",
        "vo": "head_dim_vo",
        "ps": "page_size",
    },
    api="",
)
KINDS["mla_block_scale"] = attrs.evolve(
    KINDS["mla_fp8"],
    stem="append_paged_mla_kv_cache_fp8_block_scale",
    caches=("kv_cache",),
    implied=("kv_dim",),
    dtype="int8",
)


def bytes_of_row(ckv: int, kpe: int) -> int:
    """Bytes of a token in a cache with scales: fp8 numbers, float32 scales, bfloat16 numbers."""
    return ckv + ckv // SCALED_BLOCK * 4 + 2 * kpe
