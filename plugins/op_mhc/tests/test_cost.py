"""Costs of hyper-connections, counted by hand."""

from __future__ import annotations

import attrs

from fibcore.plugin import Cost, Definition, var
from fibcore_op_mhc import fibcore_cost

Small = dict[str, Definition]
AXES = {"num_tokens": 7}


def test_the_streams_behind_a_layer(small: Small) -> None:
    streams, own = 4 * 32 * 2, 32 * 2
    read = 7 * (streams + own + 4 * 4 + 16 * 4)
    assert fibcore_cost(small["mhc_post"], AXES, {}) == Cost(
        7 * 2 * 4 * 5 * 32, "float32", read, 7 * streams
    )


def test_what_a_layer_is_given(small: Small) -> None:
    found = fibcore_cost(small["mhc_pre"], AXES, {})
    weights = 4 * (15 * 120 + 3 + 15)
    assert found == Cost(
        7 * (2 * 16 * 120 + 2 * 3 * 40),
        "float32",
        weights + 7 * 120 * 2,
        7 * (3 * 4 + 9 * 4 + 40 * 2),
    )


def test_what_is_left_of_the_streams(small: Small) -> None:
    found = fibcore_cost(small["mhc_head"], AXES, {})
    weights = 4 * (3 * 120 + 1 + 3)
    flops = 7 * (2 * 4 * 120 + 2 * 3 * 40)
    assert found == Cost(flops, "float32", weights + 7 * 120 * 2, 7 * 40 * 2)


def test_norms_and_boundaries_cost_more(small: Small) -> None:
    post, norm, both = (
        fibcore_cost(small[kind], AXES, {})
        for kind in ("mhc_post", "mhc_pre_norm", "mhc_fused_post_pre")
    )
    assert post is not None
    assert norm is not None
    assert both is not None
    assert norm.flops == 7 * (2 * 25 * 128 + 2 * 4 * 32 + 4 * 32)
    assert both.flops == post.flops + norm.flops
    # The streams behind the layer are written, and not read again.
    assert both.bytes_read == post.bytes_read + norm.bytes_read - 7 * 4 * 32 * 2
    assert both.bytes_written == post.bytes_written + norm.bytes_written


def test_definitions_of_others_are_not_guessed(small: Small) -> None:
    for made in small.values():
        other = attrs.evolve(made, axes={**made.axes, "more": var()})
        assert fibcore_cost(other, {**AXES, "more": 1}, {}) is None
