"""Definitions and variants of gated delta rules."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import fibcore_op_gdn as plugin
from fibcore.plugin import Definition, const
from fibcore_op_gdn.definitions import form_of

Make = Callable[..., Definition]

FORMS = ("decode", "mtp", "prefill")
STATE = ["num_v_heads", "head_size", "head_size"]
HEADS = ["num_v_heads >= num_q_heads", "num_v_heads % num_q_heads == 0"]


def shapes(made: Definition) -> dict[str, tuple[list[str] | None, str]]:
    data = made.to_dict()
    tensors = {**data["inputs"], **data["outputs"]}
    return {name: (tensor["shape"], tensor["dtype"]) for name, tensor in tensors.items()}


def test_decode_has_the_tensors_of_the_dataset(definition: Make) -> None:
    made = definition("decode")
    assert made.name == "gdn_decode_qk4_v8_d128_k_last"
    assert made.op_type == "gdn"
    assert list(made.axes) == [
        *("batch_size", "seq_len", "num_q_heads", "num_k_heads", "num_v_heads", "head_size")
    ]
    assert made.const_axes == {
        "seq_len": 1,
        "num_q_heads": 4,
        "num_k_heads": 4,
        "num_v_heads": 8,
        "head_size": 128,
    }
    rows = ["batch_size", "seq_len"]
    assert shapes(made) == {
        "q": ([*rows, "num_q_heads", "head_size"], "bfloat16"),
        "k": ([*rows, "num_k_heads", "head_size"], "bfloat16"),
        "v": ([*rows, "num_v_heads", "head_size"], "bfloat16"),
        "state": (["batch_size", *STATE], "float32"),
        "A_log": (["num_v_heads"], "float32"),
        "a": ([*rows, "num_v_heads"], "bfloat16"),
        "dt_bias": (["num_v_heads"], "float32"),
        "b": ([*rows, "num_v_heads"], "bfloat16"),
        "scale": (None, "float32"),
        "output": ([*rows, "num_v_heads", "head_size"], "bfloat16"),
        "new_state": (["batch_size", *STATE], "float32"),
    }
    assert list(made.constraints) == [*HEADS, "num_k_heads == num_q_heads"]


def test_mtp_has_a_pool(definition: Make) -> None:
    made = definition("mtp")
    assert made.var_axes == ("batch_size", "seq_len", "pool_size")
    found = shapes(made)
    assert list(found)[3:5] == ["initial_state", "initial_state_indices"]
    assert found["initial_state"] == (["pool_size", *STATE], "float32")
    assert found["initial_state_indices"] == (["batch_size"], "int32")
    assert list(made.inputs)[-1] == "intermediate_states_buffer"
    assert found["intermediate_states_buffer"][0] == ["pool_size", "seq_len", *STATE]
    assert list(made.outputs) == ["output", "final_state"]
    assert "seq_len > 1" in made.constraints


def test_prefill_has_offsets(definition: Make) -> None:
    made = definition("prefill")
    assert made.var_axes == ("total_seq_len", "num_seqs", "len_cu_seqlens")
    found = shapes(made)
    assert list(found)[8:] == ["cu_seqlens", "scale", "output", "new_state"]
    assert found["cu_seqlens"] == (["len_cu_seqlens"], "int64")
    assert found["q"] == (["total_seq_len", "num_q_heads", "head_size"], "bfloat16")
    assert list(made.constraints)[3:] == [
        "len_cu_seqlens == num_seqs + 1",
        "total_seq_len == cu_seqlens[-1].item()",
    ]


@pytest.mark.parametrize("form", FORMS)
def test_kda_has_a_gate_for_each_channel(definition: Make, form: str) -> None:
    made, plain = definition(form, "channel"), definition(form)
    found, gdn = shapes(made), shapes(plain)
    assert found["dt_bias"] == (["num_v_heads", "head_size"], "float32")
    assert found["a"][0] == [*(gdn["a"][0] or ()), "head_size"]
    assert {n: t for n, t in found.items() if n not in ("a", "dt_bias")} == {
        n: t for n, t in gdn.items() if n not in ("a", "dt_bias")
    }
    assert "length 1 first" in str(made.description)
    assert "taken as they are" in str(plain.description)
    assert "EPSILON" in made.reference
    assert "EPSILON" not in plain.reference


def test_bounds_are_variants(definition: Make) -> None:
    plain, bounded = (
        definition("decode", "channel"),
        definition("decode", "channel", lower_bound=-5.0),
    )
    assert plain.structure() == bounded.structure()
    assert plugin.fibcore_identify(plain).variant == ""
    assert plugin.fibcore_identify(bounded).variant == "gates bounded by -5"
    assert "LOWER_BOUND = -5.0\n" in bounded.reference
    assert "softplus" not in bounded.reference
    assert definition("decode", "channel", lower_bound=-0.5).name.endswith("_lb0p5_k_last")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gate", ["head", "channel"])
def test_everything_is_described(definition: Make, form: str, gate: str) -> None:
    data = definition(form, gate).to_dict()
    parts = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
    assert all(part["description"] for part in parts)
    assert "only:" not in data["reference"]
    assert "except:" not in data["reference"]
    assert form_of(definition(form, gate)) == form


def test_other_tensors_are_no_form(definition: Make) -> None:
    made = definition()
    assert form_of(attrs.evolve(made, op_type="of_others")) is None
    assert form_of(attrs.evolve(made, op_type="kda")) is None
    assert form_of(attrs.evolve(made, outputs={"output": made.outputs["output"]})) is None
    axes = {**made.axes, "seq_len": attrs.evolve(made.axes["seq_len"], type="var", value=None)}
    assert form_of(attrs.evolve(made, axes=axes)) is None


def test_names_and_sizes_that_contradict_are_said(definition: Make) -> None:
    made = definition()
    axes = {**made.axes, "num_k_heads": const(3), "num_v_heads": const(6)}
    assert plugin.fibcore_identify(attrs.evolve(made, axes=axes)).contradictions == (
        "the name says v8, and num_v_heads is 6",
        "num_v_heads is 6, which is no multiple of num_q_heads, 4",
        "num_k_heads is not num_q_heads",
    )
    assert plugin.fibcore_identify(made).contradictions == ()


def test_op_types() -> None:
    assert [op_type.name for op_type in plugin.fibcore_op_types()] == ["gdn", "kda"]
