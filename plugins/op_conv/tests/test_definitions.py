"""Definitions and variants of causal convolutions."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import fibcore_op_conv as plugin
from fibcore.plugin import Definition, Named, const
from fibcore_op_conv.definitions import form_of

Make = Callable[..., Definition]

FORMS = ("update", "prefill")


def shapes(made: Definition) -> dict[str, tuple[list[str], str]]:
    data = made.to_dict()
    tensors = {**data["inputs"], **data["outputs"]}
    return {name: (tensor["shape"], tensor["dtype"]) for name, tensor in tensors.items()}


def test_updates_have_a_cache(definition: Make) -> None:
    made = definition("update", bias=True)
    assert made.name == "causal_conv1d_update_d2048_w4_silu_bias"
    assert made.op_type == "causal_conv1d"
    assert made.var_axes == ("batch_size", "state_cache_size")
    assert made.const_axes == {"dim": 2048, "width": 4, "state_len": 3}
    state = (["state_cache_size", "dim", "state_len"], "bfloat16")
    assert shapes(made) == {
        "x": (["batch_size", "dim"], "bfloat16"),
        "conv_state": state,
        "weight": (["dim", "width"], "bfloat16"),
        "bias": (["dim"], "bfloat16"),
        "conv_state_indices": (["batch_size"], "int32"),
        "output": (["batch_size", "dim"], "bfloat16"),
        "new_conv_state": state,
    }
    assert list(made.constraints) == ["state_cache_size >= batch_size"]


def test_prefill_has_offsets(definition: Make) -> None:
    made = definition("prefill")
    assert made.name == "causal_conv1d_prefill_d2048_w4_silu"
    assert made.var_axes == ("total_seq_len", "num_seqs", "len_cu_seqlens")
    state = (["num_seqs", "dim", "state_len"], "bfloat16")
    assert shapes(made) == {
        "x": (["total_seq_len", "dim"], "bfloat16"),
        "conv_state": state,
        "weight": (["dim", "width"], "bfloat16"),
        "cu_seqlens": (["len_cu_seqlens"], "int64"),
        "output": (["total_seq_len", "dim"], "bfloat16"),
        "new_conv_state": state,
    }
    assert list(made.constraints) == [
        "len_cu_seqlens == num_seqs + 1",
        "total_seq_len == cu_seqlens[-1].item()",
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_references_have_what_their_variant_needs(
    definition: Make, form: str, silu: bool, bias: bool
) -> None:
    made = definition(form, silu=silu, bias=bias)
    assert ("silu" in made.reference) == silu == (plugin.fibcore_identify(made).variant == "silu")
    assert ("bias" in made.reference) == bias
    assert "only:" not in made.reference
    assert form_of(made) == form
    data = made.to_dict()
    parts = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
    assert all(part["description"] for part in parts)
    assert ("SiLU" in data["description"], "bias" in data["description"]) == (silu, bias)


def test_weights_of_float32(definition: Make) -> None:
    made = definition(params_dtype=Named("torch.float32"), bias=True)
    assert made.name.endswith("_silu_bias_float32_weight")
    assert made.inputs["weight"].dtype == made.inputs["bias"].dtype == "float32"


def test_other_tensors_are_no_form(definition: Make) -> None:
    made = definition()
    assert form_of(attrs.evolve(made, op_type="conv")) is None
    assert form_of(attrs.evolve(made, outputs={"output": made.outputs["output"]})) is None
    axes = {**made.axes, "dim": attrs.evolve(made.axes["dim"], type="var", value=None)}
    assert form_of(attrs.evolve(made, axes=axes)) is None
    without = {name: spec for name, spec in made.inputs.items() if name != "weight"}
    reference = "def run(x, conv_state, conv_state_indices):\n    pass\n"
    assert form_of(attrs.evolve(made, inputs=without, reference=reference)) is None


def test_names_and_sizes_that_contradict_are_said(definition: Make) -> None:
    made = definition()
    axes = {**made.axes, "width": const(5), "dim": const(7)}
    plain = made.reference.replace("silu", "relu")
    found = plugin.fibcore_identify(attrs.evolve(made, axes=axes, reference=plain))
    assert found.contradictions == (
        "the name says d2048, and dim is 7",
        "the name says w4, and width is 5",
        "state_len is 3, too few for a width of 5",
        "the name says silu, and the reference has none",
    )
    assert plugin.fibcore_identify(made).contradictions == ()


def test_op_types() -> None:
    assert [op_type.name for op_type in plugin.fibcore_op_types()] == ["causal_conv1d"]
