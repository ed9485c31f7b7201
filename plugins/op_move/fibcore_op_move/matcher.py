"""Finds what moves data and computes nothing: writes to the KV cache, copies, collectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fibcore.plugin import (
    Extraction,
    Kernel,
    KernelCollector,
    ModelTree,
    Operation,
    ParameterRef,
    Serving,
    TensorRef,
    UndecidedError,
    decided_size,
    fact,
    has_block_scales,
    kv_cache_dtype,
    linear_attention_dtype,
    with_origins,
)
from fibcore_op_move.names import (
    FP8,
    KINDS,
    OP_TYPE,
    PAGE_SIZE,
    SCALED_BLOCK,
    Kind,
    Layout,
    bytes_of_row,
)

# Methods of SGLang's pools that hold keys and values: (layer, places, two tensors).
_WRITES: dict[str, Layout] = {"set_kv_buffer": "kv", "set_mla_kv_buffer": "mla"}
# Words in the names of functions that send data between ranks, and of what they do besides.
_COLLECTIVES = (
    *("all_reduce", "allreduce", "all_gather", "allgather", "reduce_scatter", "all_to_all"),
    "sum_output",  # of a stage of a layer
    *("torch.distributed.broadcast", "torch.distributed.reduce"),
    *("torch.distributed.send", "torch.distributed.recv"),
)
_BETWEEN = "it moves data between ranks, which no definition of one device can"
# Kernels that put keys and values into a cache in other layouts, or into other caches.
_COPIES = ("kv_buffer", "kv_cache", "store_cache", "append_paged")
_INTO = "it copies into a cache; the layout or the numbers there are not those of a definition"

# A step writes to the cache with pages of one size or another.
_CHOICE = "write to the KV cache"
# A layer sums over ranks in one way or another.
_SUM = "sum over ranks"


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """What moves data in `tree`, with the calls that do it.

    Writes to the cache have a definition for every page size, where the cache holds what is
    written; heads are a rank's. Copies and collectives have none, on purpose.
    """
    found = KernelCollector()
    cache = kv_cache_dtype(tree)
    for call in tree.kernel_calls:
        if not call.beside:
            continue
        if call.name in _WRITES:
            if linear_attention_dtype(call.module, tree) is not None:
                found.claim(call)  # it keeps a state, and writes no keys
            else:
                _match(tree, call, None if _is_plain(tree, call) else cache, serving, found)
        elif any(word in call.function for word in _COLLECTIVES):
            _name_collective(call, found)
        elif any(word in call.name for word in _COPIES):
            found.claim(call)
            found.not_covered(call.name, _INTO, call, op_types=(), choice=_CHOICE, moves="copy")
    return found.finish()


def _is_plain(tree: ModelTree, call: Operation) -> bool:
    """Whether the cache has the model's dtype whatever the checkpoint says.

    Left to itself SGLang keeps the latents of sparse attention so on Hopper (`use_nsa` of 0.5.9,
    `use_dsa` of 0.5.23). Trees of a release say what it comes to, others "auto".
    """
    return tree.kv_cache_dtype == "auto" and _is_sparse(tree, call)


def _is_sparse(tree: ModelTree, call: Operation) -> bool:
    """Whether attention is sparse, whose fp8 cache has scales among the numbers."""
    holder = tree.parent(call.module)
    if holder is None:
        return False
    return any(holder.attributes.get(switch) is True for switch in ("use_nsa", "use_dsa"))


def _name_collective(call: Operation, found: KernelCollector) -> None:
    """Name a collective, and the parameters that it reads: a norm's weight, where it is fused."""
    weights = [v.path for v in (*call.args, *call.kwargs.values()) if isinstance(v, ParameterRef)]
    names = sorted({".".join(path.split(".")[-2:]) for path in weights})
    reason = f"{_BETWEEN}; it reads {', '.join(names)} besides" if names else _BETWEEN
    if call.stage:
        reason += f"; in steps of {call.stage}"
    # The stage tells the kernel with the norm from a sum by itself.
    choice = _SUM if not names and ("reduce" in call.name or "sum" in call.name) else ""
    found.claim(call)
    found.not_covered(
        call.name,
        reason,
        call,
        op_types=(),
        choice=choice,
        moves="collective",
        inside=bool(names),
        stage=call.stage,
    )


def _match(
    tree: ModelTree,
    call: Operation,
    cache: str | None,
    serving: Serving,
    found: KernelCollector,
) -> None:
    layout = _WRITES[call.name]
    kind = KINDS[layout]
    # Where nobody says what rows of an fp8 cache of sparse attention hold, it stays without.
    scales = has_block_scales(serving) if _is_sparse(tree, call) else False
    if cache == FP8 and scales is not None:
        quantised: dict[Layout, Layout] = {"kv": "kv_fp8", "mla": "mla_fp8"}
        layout, cache = ("mla_block_scale" if scales else quantised[layout]), None
    try:
        sizes = _sizes(call, layout)
    except UndecidedError as why:
        found.problem(f"{kind.stem} kernel", str(why), call)
        return
    found.claim(call)
    if "head_dim_kpe" in sizes and not sizes["head_dim_kpe"]:
        found.not_covered(
            f"{kind.stem} of latent vectors alone",
            "keys have no rope part; FlashInfer's kernel writes both",
            call,
            op_types=(),
            choice=_CHOICE,
            moves="copy",
        )
        return
    if layout == "mla_block_scale" and sizes["head_dim_ckv"] % SCALED_BLOCK:
        found.not_covered(
            f"{kind.stem} of {sizes['head_dim_ckv']} elements with scales of {SCALED_BLOCK}",
            "SGLang's kernel takes whole blocks alone",
            call,
            op_types=(),
            choice=_CHOICE,
        )
        return
    if "head_dim_qk" in sizes:
        if layout == "kv_fp8":
            cache = FP8
        layout = "kv_widths"
    if cache is not None:
        widths = " of two widths" if layout == "kv_widths" else ""
        found.not_covered(
            f"{kind.stem}{widths} with {cache} KV cache",
            "what is written is quantised on the way, by numbers that stand in the cache as well",
            call,
            op_types=(),
            choice=_CHOICE,
        )
        return
    for page_size in serving.value(PAGE_SIZE) if layout.startswith("kv") else (None,):
        found.add(_kernel(call, layout, sizes, page_size), call)


def _kernel(
    call: Operation, layout: Layout, sizes: Mapping[str, int], page_size: int | None
) -> Kernel:
    kind = KINDS[layout]
    rank = " of one rank" if layout.startswith("kv") else ""
    facts = {
        axis: fact(size, call, f"{axis.replace('_', ' ')} that is written{rank}")
        for axis, size in sizes.items()
    }
    known = {axis: int(size) for axis, size in sizes.items()}
    if "kv_dim" in kind.implied:
        parts = sizes["head_dim_ckv"], sizes["head_dim_kpe"]
        note = "bytes of a row: fp8 numbers, float32 scales of 128 each, bfloat16 rope part"
        known["kv_dim"] = bytes_of_row(*map(int, parts))
        facts["kv_dim"] = fact(known["kv_dim"], call, note, *parts)
    if page_size is not None:
        known["page_size"] = int(page_size)
        asked = with_origins(page_size, frozenset({PAGE_SIZE.origin}))
        facts["page_size"] = fact(asked, call, "tokens in a page of the KV cache")
    return Kernel(
        op_type=OP_TYPE,
        name=kind.name(known),
        parameters={"layout": layout, **known},
        facts=facts,
        uses=(),
        tags=_tags(kind),
        choice=_CHOICE,
    )


def _tags(kind: Kind) -> tuple[str, ...]:
    if kind.api:
        return (f"fi_api:{kind.api}",)
    return () if kind.dtype == "bfloat16" else ("quantization:float8_e4m3fn",)


def _sizes(call: Operation, layout: Layout) -> dict[str, int]:
    """The sizes of what is written; of heads two where keys and values differ in them.

    Raises:
        UndecidedError: they are not known.
    """
    first = _last_two(call.argument(2, "cache_k", "cache_k_nope"), "what is written first")
    second = _last_two(call.argument(3, "cache_v", "cache_k_rope"), "what is written second")
    if layout.startswith("mla"):
        return {
            "head_dim_ckv": decided_size(first[1], "the size of a latent vector"),
            "head_dim_kpe": 0 if second[1] == 0 else decided_size(second[1], "a rope part's size"),
        }
    heads = decided_size(first[0], "the number of key heads")
    size = decided_size(first[1], "the size of a key head")
    others, width = second[0], decided_size(second[1], "the size of a value head")
    if heads != others:
        raise UndecidedError(f"{heads} key heads are written beside {others} value heads")
    if size != width:
        return {"num_kv_heads": heads, "head_dim_qk": size, "head_dim_vo": width}
    return {"num_kv_heads": heads, "head_dim": size}


def _last_two(value: Any, what: str) -> tuple[Any, Any]:
    """The last two sizes of a tensor [tokens, heads, size].

    Raises:
        UndecidedError: they are not known.
    """
    if not isinstance(value, TensorRef) or value.shape is None or len(value.shape) != 3:
        raise UndecidedError(f"{what} is {value}, of which no sizes are known")
    return value.shape[1], value.shape[2]
