"""What attention layers write to the cache."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fibcore.elaborate.python.values import Ext
from fibcore.elaborate.sglang.cache_writes import cache_writes, untold_writes
from fibcore.model.tree import Alternatives, Call, SourcePlace, Unknown, with_origins

PLACE = SourcePlace("made.py", 1)
X = Unknown.tensor("a tensor", PLACE)


PLAIN = {"num_kv_heads": 2, "head_dim": 64}
LATENT = {"num_kv_heads": 1, "head_dim": 576, "v_head_dim": 512}


def written(*args: Any, layer_of: Any = PLAIN, **kwargs: Any) -> list[Any]:
    """What a layer, of 2 heads of 64 by default, writes when it is called."""
    nowhere = SimpleNamespace(
        index=SimpleNamespace(package="sglang"), modules=SimpleNamespace(space=lambda _: None)
    )
    layer = SimpleNamespace(args=layer_of)
    call = Call("forward", args, kwargs, PLACE)
    found: Any = cache_writes(nowhere, layer, call, Ext("torch.bfloat16"))  # type: ignore[arg-type]
    return list(found)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((X, None, None), {}), ((X, X, X), {"save_kv_cache": False}), ((X, X, X, X, False), {})],
)
def test_nothing_is_written_without_keys_or_where_the_call_says_so(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert written(*args, **kwargs) == []


@pytest.mark.parametrize(
    ("keys", "saved", "possible"),
    [(X, True, False), (Alternatives((None, X)), True, True), (X, Unknown("a flag"), True)],
)
def test_keys_and_values_are_written(keys: Any, saved: Any, possible: bool) -> None:
    (write,) = written(X, keys, X, save_kv_cache=saved)
    assert write.function.endswith(".set_kv_buffer")
    assert write.place.file.startswith("sglang/srt/mem_cache/")
    assert write.possible is possible
    assert [tensor.shape[1:] for tensor in write.args[2:]] == [(2, 64), (2, 64)]


@pytest.mark.parametrize("apart", [True, False])
def test_latent_keys_are_written_whether_those_for_rotation_are_given_apart(apart: bool) -> None:
    (write,) = written(X, X, X, layer_of=LATENT, **({"k_rope": X} if apart else {}))
    assert write.function.endswith(".set_mla_kv_buffer")
    assert [tensor.shape[1:] for tensor in write.args[2:]] == [(1, 512), (1, 64)]


def test_one_head_of_a_rank_is_not_latent() -> None:
    heads = with_origins(1, frozenset({"serving:tp"}))
    (write,) = written(X, X, X, layer_of={**LATENT, "num_kv_heads": heads})
    assert write.function.endswith(".set_kv_buffer")
    assert [tensor.shape[1:] for tensor in write.args[2:]] == [(1, 576), (1, 512)]


def test_latent_attention_of_which_no_call_is_known_may_write_its_cache() -> None:
    nowhere: Any = SimpleNamespace(
        index=SimpleNamespace(package="sglang"), modules=SimpleNamespace(space=lambda _: None)
    )
    latent: Any = SimpleNamespace(args=LATENT)
    (write,) = untold_writes(nowhere, latent, Ext("torch.bfloat16"))
    assert write.function.endswith(".set_mla_kv_buffer")
    assert write.possible
    assert [tensor.shape[1:] for tensor in write.args[2:]] == [(1, 512), (1, 64)]
    plain: Any = SimpleNamespace(args=PLAIN)
    assert untold_writes(nowhere, plain, Ext("torch.bfloat16")) == []
