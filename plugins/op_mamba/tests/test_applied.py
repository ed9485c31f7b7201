"""FlashInfer's function has the definition's reference in its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("torch")
pytest.importorskip("flashinfer", reason="flashinfer-python is not installed")
pytest.importorskip("flashinfer.trace_apply")


import torch
from flashinfer import trace_apply

import fibcore_op_mamba as plugin
from fibcore.plugin import Definition
from fibcore.testing.applying import applied

HEADS, DIM, STATE, GROUPS = 4, 6, 8, 2


def test_states_are_written_where_they_lie(small_one: Callable[..., Definition]) -> None:
    torch.manual_seed(0)
    pool = torch.randn(5, HEADS, DIM, STATE)
    places = torch.tensor([3, -1, 0])
    x, dt = torch.randn(3, HEADS, DIM), torch.randn(3, HEADS, DIM)
    decay = -torch.rand(HEADS)[:, None, None].expand(HEADS, DIM, STATE)
    b, c = torch.randn(3, GROUPS, STATE), torch.randn(3, GROUPS, STATE)
    skip, bias = torch.randn(HEADS, DIM), torch.randn(HEADS, DIM)
    step = torch.nn.functional.softplus(dt + bias)
    before = pool.clone()
    before_rows = torch.stack((before[3], torch.zeros_like(before[0]), before[0]))
    b_heads, c_heads = (t.repeat_interleave(HEADS // GROUPS, 1) for t in (b, c))
    after = torch.exp(step[..., None] * decay) * before_rows
    after = after + (step * x)[..., None] * b_heads[:, :, None]
    expected = (after * c_heads[:, :, None]).sum(-1) + x * skip

    given = {"dt_bias": bias, "dt_softplus": True, "state_batch_indices": places}
    with applied(trace_apply, plugin, small_one("decode")) as functions:
        assert list(functions) == [f"selective_state_update_d{HEADS}_s{DIM}"]
        from flashinfer.mamba import selective_state_update as call

        output = call(pool, x, dt, decay, b, c, skip, **given)
        with pytest.raises(RuntimeError, match="called with dt_softplus"):
            call(pool, x, dt, decay, b, c, skip, **{**given, "dt_softplus": False})
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(pool[[3, 0]], after[[0, 2]])
    assert torch.equal(pool[[1, 2, 4]], before[[1, 2, 4]])
