"""Definitions of selective state spaces."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import fibcore_op_mamba as plugin
from fibcore.plugin import Definition, const
from fibcore_op_mamba.definitions import form_of

Make = Callable[..., Definition]

STATE = ["nheads", "head_dim", "dstate"]


def shapes(made: Definition) -> dict[str, tuple[list[str], str]]:
    data = made.to_dict()
    tensors = {**data["inputs"], **data["outputs"]}
    return {name: (tensor["shape"], tensor["dtype"]) for name, tensor in tensors.items()}


def test_decode_has_the_tensors_of_the_dataset(definition: Make) -> None:
    made = definition()
    assert made.name == "mamba_ssu_decode_h64_d64_s128_ng8"
    assert made.op_type == "mamba_ssu"
    assert made.var_axes == ("batch_size", "state_cache_size")
    assert made.const_axes == {"nheads": 64, "head_dim": 64, "dstate": 128, "ngroups": 8}
    x = (["batch_size", "nheads", "head_dim"], "bfloat16")
    group = (["batch_size", "ngroups", "dstate"], "bfloat16")
    state = (["state_cache_size", *STATE], "bfloat16")
    head = (["nheads", "head_dim"], "bfloat16")
    assert shapes(made) == {
        "state": state,
        "x": x,
        "dt": x,
        "A": (STATE, "float32"),
        "B": group,
        "C": group,
        "D": head,
        "dt_bias": head,
        "state_batch_indices": (["batch_size"], "int32"),
        "output": x,
        "new_state": state,
    }
    assert list(made.constraints) == ["nheads % ngroups == 0", "state_cache_size >= batch_size"]


def test_prefill_has_offsets_and_numbers_of_heads(definition: Make) -> None:
    made = definition("prefill")
    assert made.name == "mamba_ssd_prefill_h64_d64_s128_ng8"
    assert made.op_type == "mamba_ssd"
    assert made.var_axes == ("total_seq_len", "num_seqs", "len_cu_seqlens")
    x = (["total_seq_len", "nheads", "head_dim"], "bfloat16")
    group = (["total_seq_len", "ngroups", "dstate"], "bfloat16")
    state = (["num_seqs", *STATE], "bfloat16")
    assert shapes(made) == {
        "x": x,
        "dt": (["total_seq_len", "nheads"], "bfloat16"),
        "A": (["nheads"], "float32"),
        "B": group,
        "C": group,
        "D": (["nheads"], "bfloat16"),
        "dt_bias": (["nheads"], "bfloat16"),
        "state": state,
        "cu_seqlens": (["len_cu_seqlens"], "int64"),
        "output": x,
        "new_state": state,
    }
    assert list(made.constraints)[1:] == [
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
    axes = {**made.axes, "dstate": attrs.evolve(made.axes["dstate"], type="var", value=None)}
    assert form_of(attrs.evolve(made, axes=axes)) is None
    state = attrs.evolve(made.inputs["state"], shape=("batch_size", *STATE))
    assert form_of(attrs.evolve(made, inputs={**made.inputs, "state": state})) is None


def test_names_and_sizes_that_contradict_are_said(definition: Make) -> None:
    made = definition()
    axes = {**made.axes, "ngroups": const(7), "dstate": const(64)}
    assert plugin.fibcore_identify(attrs.evolve(made, axes=axes)).contradictions == (
        "the name says s128, and dstate is 64",
        "the name says ng8, and ngroups is 7",
        "nheads is 64, which is no multiple of ngroups, 7",
    )
    assert plugin.fibcore_identify(made).contradictions == ()


def test_op_types() -> None:
    found = [op_type.name for op_type in plugin.fibcore_op_types()]
    assert found == ["mamba_ssu", "mamba_ssd"]
