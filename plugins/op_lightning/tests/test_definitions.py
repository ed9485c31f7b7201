"""Definitions of lightning attention."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import fibcore_op_lightning as plugin
from fibcore.plugin import Definition, const
from fibcore_op_lightning.definitions import form_of

Make = Callable[..., Definition]

MINICPM = "sglang.srt.models.minicpm.MiniCPMLightningMixer"
STATE = ["num_heads", "head_dim", "head_dim"]


def shapes(made: Definition) -> dict[str, tuple[list[str] | None, str]]:
    data = made.to_dict()
    tensors = {**data["inputs"], **data["outputs"]}
    return {name: (tensor["shape"], tensor["dtype"]) for name, tensor in tensors.items()}


@pytest.mark.parametrize(("holder", "dtype"), [(None, "float32"), (MINICPM, "bfloat16")])
def test_decode_has_a_cache_of_states(definition: Make, holder: str | None, dtype: str) -> None:
    made = definition(**({"holder": holder} if holder else {}))
    assert made.var_axes == ("batch_size", "state_cache_size")
    assert made.const_axes == {"num_heads": 8, "head_dim": 128}
    heads = (["batch_size", "num_heads", "head_dim"], dtype)
    state = (["state_cache_size", *STATE], "float32")
    assert shapes(made) == {
        "q": heads,
        "k": heads,
        "v": heads,
        "state": state,
        "slope": (["num_heads"], "float32"),
        "state_batch_indices": (["batch_size"], "int32"),
        "scale": (None, "float32"),
        "output": heads,
        "new_state": state,
    }
    assert list(made.constraints) == ["state_cache_size >= batch_size"]


def test_prefill_has_offsets(definition: Make) -> None:
    made = definition("prefill")
    assert made.name == "lightning_attention_prefill_h8_d128_float32"
    assert made.op_type == "lightning_attention"
    assert made.var_axes == ("total_seq_len", "num_seqs", "len_cu_seqlens")
    heads = (["total_seq_len", "num_heads", "head_dim"], "float32")
    state = (["num_seqs", *STATE], "float32")
    assert shapes(made) == {
        "q": heads,
        "k": heads,
        "v": heads,
        "state": state,
        "slope": (["num_heads"], "float32"),
        "cu_seqlens": (["len_cu_seqlens"], "int64"),
        "scale": (None, "float32"),
        "output": heads,
        "new_state": state,
    }
    assert list(made.constraints) == [
        "len_cu_seqlens == num_seqs + 1",
        "total_seq_len == cu_seqlens[-1].item()",
    ]


@pytest.mark.parametrize("form", ["decode", "prefill"])
def test_everything_is_described(definition: Make, form: str) -> None:
    data = definition(form).to_dict()
    parts = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
    assert all(part["description"] for part in parts)
    assert form_of(definition(form)) == form


def test_other_tensors_are_no_form(definition: Make) -> None:
    made = definition()
    assert form_of(attrs.evolve(made, op_type="mamba_ssd")) is None
    assert form_of(attrs.evolve(made, outputs={"output": made.outputs["output"]})) is None
    state = attrs.evolve(made.inputs["state"], shape=("batch_size", *STATE))
    assert form_of(attrs.evolve(made, inputs={**made.inputs, "state": state})) is None


def test_names_and_sizes_that_contradict_are_said(definition: Make) -> None:
    made = definition()
    axes = {**made.axes, "num_heads": const(7), "head_dim": const(64)}
    assert plugin.fibcore_identify(attrs.evolve(made, axes=axes)).contradictions == (
        "the name says h8, and num_heads is 7",
        "the name says d128, and head_dim is 64",
    )
    assert plugin.fibcore_identify(made).contradictions == ()


def test_op_types() -> None:
    assert [each.name for each in plugin.fibcore_op_types()] == ["lightning_attention"]
