"""Where attention writes keys and values into the cache.

What an attention layer is given goes to the server's attention backend, and that writes keys and
values by a method of the pool that holds them, unless the layer's caller has written them itself
(`save_kv_cache=False`). Which backend and which pool these are differs from server to server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.launches import Launch
from fibcore.elaborate.python.values import Class, Ext, Func, Mod, Tensor
from fibcore.model.tree import Alternatives, Call, SourcePlace, Unknown, origins_of

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_POOLS = "srt.mem_cache.memory_pool"
_LATENT = ("MLATokenToKVPool", "set_mla_kv_buffer")
_PLAIN = ("MHATokenToKVPool", "set_kv_buffer")


def is_attention(mod: Mod) -> bool:
    """Whether a building block is attention over a cache."""
    return isinstance(mod.cls, Class) and mod.cls.derives("RadixAttention")


def cache_writes(ev: Evaluator, mod: Mod, call: Call, dtype: Any) -> list[Launch]:
    """What a call of an attention layer writes: `set_kv_buffer(layer, loc, k, v)` or the like.

    Keys and values are [number of tokens, heads, size]. Latent keys are given with keys of their
    own for rotation, or in one piece with them, of which values are a part; each is one head. What
    is written is the same, and the pool.

    Args:
        ev: The evaluator of the source tree.
        mod: The attention layer.
        call: How it is called.
        dtype: The dtype of activations.
    """
    keys, saved = call.argument(1, "k"), call.argument(4, "save_kv_cache")
    if keys is None or saved is False:
        return []
    latent = call.kwargs.get("k_rope") is not None or _is_latent(mod)
    function, place = _method(ev, *(_LATENT if latent else _PLAIN))
    given = _tensors(mod, dtype, latent=latent)
    maybe = isinstance(keys, Alternatives) and None in keys.values
    possible = maybe or not (saved is None or saved is True)
    return [Launch(function, (mod, *given), {}, place, (), (), possible)]


def untold_writes(ev: Evaluator, mod: Mod, dtype: Any) -> list[Launch]:
    """What an attention layer may write of which no call is known.

    Latent attention has one head of keys in every model, whose values are a part of it: it writes
    nothing else, if it is called. Of other layers it is not known.

    Args:
        ev: The evaluator of the source tree.
        mod: The attention layer.
        dtype: The dtype of activations.
    """
    if not _is_latent(mod):
        return []
    function, place = _method(ev, *_LATENT)
    return [Launch(function, (mod, *_tensors(mod, dtype, latent=True)), {}, place, (), (), True)]


def _is_latent(mod: Mod) -> bool:
    """Whether a layer has one head of keys in every model, whose values are a part of it."""
    heads, size, values = (mod.args.get(n) for n in ("num_kv_heads", "head_dim", "v_head_dim"))
    one = heads == 1 and not any(o.startswith("serving:") for o in origins_of(heads))
    return one and isinstance(size, int) and isinstance(values, int) and 0 < values < size


def _tensors(mod: Mod, dtype: Any, *, latent: bool) -> tuple[Tensor, ...]:
    """The places in the cache, and the tensors that are written there."""
    tokens = Unknown("the number of tokens")
    heads, size = mod.args.get("num_kv_heads"), mod.args.get("head_dim")
    values = mod.args.get("v_head_dim", -1)
    values = size if values == -1 else values
    places = Tensor((tokens,), Ext("torch.int64"))
    if not latent:
        shapes = ((tokens, heads, size), (tokens, heads, values))
    elif isinstance(size, int) and isinstance(values, int):
        shapes = ((tokens, 1, values), (tokens, 1, size - values))
    else:
        return (places, Tensor(None, dtype), Tensor(None, dtype))
    return (places, *(Tensor(shape, dtype) for shape in shapes))


def _method(ev: Evaluator, pool: str, name: str) -> tuple[str, SourcePlace]:
    """The qualified name of a pool's method, and where it stands."""
    module = f"{ev.index.package}.{_POOLS}"
    space = ev.modules.space(module)
    cls = None if space is None else ev.modules.name_in(space, pool)
    func = ev.classes.attr(cls, name) if isinstance(cls, Class) else None
    if isinstance(func, Func):
        return func.qualname, func.place
    return f"{module}.{pool}.{name}", SourcePlace(module.replace(".", "/") + ".py", 1)
