"""Workloads of rotary position embeddings."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Definition, scalar
from fibcore_op_rope import fibcore_workloads

Make = Callable[..., Definition]


def test_tokens_from_one_to_8192_and_latent_attention(definition: Make) -> None:
    found = fibcore_workloads(definition(), {}, 0)
    sizes = [tuple(case.axes.values()) for case in found]
    assert sizes[:14] == [(2**i, 32, 8, 32768) for i in range(14)]
    assert sizes[14:] == [(tokens, 16, 1, 32768) for tokens in (1, 64, 4096)]
    assert list(found[0].axes) == ["num_tokens", "num_qo_heads", "num_kv_heads", "max_seq_len"]


def test_positions_are_those_of_decoding_sequences_and_of_prompts(definition: Make) -> None:
    found = fibcore_workloads(definition(), {}, 0)
    decode, prompts = found[8].tensors()["positions"], found[13].tensors()["positions"]
    assert decode.shape == (256,)
    assert prompts.shape == (8192,)
    for positions in (decode, prompts):
        assert positions.dtype.name == "int64"
        assert 0 <= positions.min() <= positions.max() < 32768
    assert len(set(decode)) > 200
    steps = prompts[1:] - prompts[:-1]
    assert prompts[0] == 0
    assert 2 <= (steps != 1).sum() < 100
    assert (prompts[1:][steps != 1] == 0).all()


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    inputs = {**made.inputs, "scale": scalar("float32")}
    reference = "def run(q, k, cos_sin_cache, positions, scale):\n    pass\n"
    assert fibcore_workloads(attrs.evolve(made, inputs=inputs, reference=reference), {}, 0) == ()
