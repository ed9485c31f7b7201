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

Layout = Literal["kv", "mla", "kv_fp8", "mla_fp8"]
"""Keys and values of heads, or latent vectors and the rope parts of keys; in caches of the model's
dtype, or of fp8, to which they are rounded on the way."""

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
        stem: What names of kernels begin with; the file of the reference is called so.
        appended: The inputs that are appended.
        caches: The inputs that they are appended to.
        consts: Const axes, by the letters that stand before their sizes in names.
        api: FlashInfer's function; empty where it has none.
        dtype: Of the caches, as definitions call it.
        scales: Inputs by which what is appended is divided before it is rounded.
    """

    stem: str
    appended: tuple[str, str]
    caches: tuple[str, str]
    consts: dict[str, str]
    api: str = ""
    dtype: str = "bfloat16"
    scales: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs of a definition, in order."""
        return (*self.appended, *TABLE, *self.caches, *PAGES, *self.scales)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Its outputs, in order."""
        return tuple(f"updated_{name}" for name in self.caches)

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
