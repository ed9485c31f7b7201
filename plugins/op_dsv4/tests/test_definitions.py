"""Definitions of DeepSeek-V4's attention."""

from __future__ import annotations

import attrs
import pytest

import fibcore_op_dsv4 as plugin
from fibcore.plugin import Definition, const
from fibcore_op_dsv4.definitions import kind_of
from fibcore_op_dsv4.names import KINDS

Small = dict[str, Definition]


def test_every_kind_is_there_and_known(small: Small) -> None:
    assert set(small) == set(KINDS)
    for kind, made in small.items():
        assert kind_of(made) == kind
        assert made.op_type == KINDS[kind].op_type  # type: ignore[index]
        assert plugin.fibcore_identify(made).contradictions == ()
        data = made.to_dict()
        parts = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
        assert all(part["description"] for part in parts)


def test_attention_has_flashinfers_tensors(small: Small) -> None:
    made = small["compressed"]
    assert {name: spec.shape for name, spec in made.inputs.items()} == {
        "query": ("num_tokens", "num_heads", "head_dim"),
        "swa_kv_cache": ("swa_num_pages", "swa_page_size", "kv_pad_dim", "swa_kv_dim"),
        "compressed_kv_cache": (
            *("compressed_num_pages", "compressed_page_size"),
            *("kv_pad_dim", "compressed_kv_dim"),
        ),
        "sparse_indices": ("num_tokens", "sparse_topk"),
        "swa_topk_lens": ("num_tokens",),
        "extra_sparse_indices": ("num_tokens", "extra_topk"),
        "extra_sparse_topk_lens": ("num_tokens",),
        "sinks": ("num_heads",),
        "bmm1_scale": None,
    }
    assert made.outputs["output"].shape == ("num_tokens", "num_heads", "head_dim")
    assert made.const_axes["swa_kv_dim"] == 144 + 16 + 8
    assert "compressed" not in "".join(small["window"].inputs)
    assert "COMPRESSED" not in small["window"].reference


def test_windows_with_and_without_overlap(small: Small) -> None:
    overlap, plain = small["overlap"], small["plain"]
    assert overlap.const_axes["state_dim"] == 4 * overlap.const_axes["head_dim"]
    assert plain.const_axes["state_dim"] == 2 * plain.const_axes["head_dim"]
    assert (overlap.const_axes["window"], plain.const_axes["window"]) == (8, 128)
    assert "before =" in overlap.reference
    assert "before =" not in plain.reference


def test_what_is_stored_is_of_its_own_dtype(small: Small) -> None:
    assert small["k_store"].inputs["kv"].dtype == "bfloat16"
    assert small["latent_store"].inputs["kv"].dtype == "float32"
    assert "EPS = 1e-06" in small["k_store"].reference


@pytest.mark.parametrize(
    ("kind", "axis", "size", "said"),
    [
        ("k_store", "kv_dim", 100, "kv_dim is 100, and head_dim + rope_dim + 8 is 168"),
        ("index_k_store", "head_dim_with_scale", 9, "is 9, and head_dim + 4 is 36"),
        ("compressed", "compressed_kv_dim", 9, "compressed_kv_dim is 9, and swa_kv_dim is 168"),
        ("plain", "state_dim", 9, "state_dim is 9, and neither 2 nor 4 times 144"),
        ("q_norm_rope", "num_heads", 9, "the name says h3, and num_heads is 9"),
    ],
)
def test_sizes_that_do_not_go_together_are_said(
    small: Small, kind: str, axis: str, size: int, said: str
) -> None:
    made = small[kind]
    other = attrs.evolve(made, axes={**made.axes, axis: const(size)})
    assert any(said in text for text in plugin.fibcore_identify(other).contradictions)
