"""What attention layers write to the cache."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fibcore.elaborate.python.values import Ext
from fibcore.elaborate.sglang.cache_writes import cache_writes
from fibcore.model.tree import Alternatives, Call, SourcePlace, Unknown

PLACE = SourcePlace("made.py", 1)
X = Unknown.tensor("a tensor", PLACE)


def written(*args: Any, **kwargs: Any) -> list[Any]:
    """What a layer of 2 heads of 64 writes when it is called."""
    nowhere = SimpleNamespace(
        index=SimpleNamespace(package="sglang"), modules=SimpleNamespace(space=lambda _: None)
    )
    layer = SimpleNamespace(args={"num_kv_heads": 2, "head_dim": 64})
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
