"""Single modules, as those who write matchers look at them."""

from __future__ import annotations

from pathlib import Path

import pytest

import fibcore
from fibcore.errors import UsageError
from fibcore.extraction.modules import details, shown
from fibcore.model.tree import (
    Alternatives,
    ModuleRef,
    Named,
    ParameterRef,
    Quantization,
    TensorRef,
    Unknown,
)
from fibcore.testing.trees import module, operation, tree


def test_a_module_is_shown_with_all_that_a_plugin_sees(
    tiny_source: Path, tiny_config: Path
) -> None:
    elaborated = fibcore.tree("tiny", sglang=str(tiny_source), config=tiny_config, tp=2)
    (one,) = details(elaborated, "layers.0.attn")
    assert one.cls == "sglang.srt.layers.radix_attention.RadixAttention"
    assert one.arguments["layer_id"] == "0"
    assert one.place.startswith("sglang/srt/models/tiny.py:")
    assert one.leaf
    assert not one.children
    (call,) = one.calls
    assert call.startswith("forward(")
    assert "sglang/srt/models/tiny.py:" in call
    (layer,) = details(elaborated, "layers.1")
    assert layer.children["attn"] == one.cls


def test_a_star_stands_for_any_text_and_a_wrong_path_names_the_nearest() -> None:
    made = tree(module("layers.0.mlp", "x.Mlp"), module("layers.1.mlp", "x.Mlp"))
    assert [one.path for one in details(made, "layers.*.mlp")] == ["layers.0.mlp", "layers.1.mlp"]
    (root,) = details(made, "")
    assert root.path == ""
    with pytest.raises(UsageError) as caught:
        details(made, "layers.0.mpl")
    assert caught.value.expected is not None
    assert caught.value.expected.startswith("layers.0.mlp")


def test_kernel_calls_stand_with_their_module() -> None:
    made = tree(
        module("mlp", "x.Mlp"),
        module("attn", "x.Attn"),
        kernel_calls=[operation("lib.act", TensorRef((Unknown("tokens"), 8), "bfloat16"))],
    )
    (call,) = details(made, made.kernel_calls[0].module)[0].kernel_calls
    assert call.startswith("lib.act(<tensor [?, 8] bfloat16>)")


def test_values_are_what_a_person_reads() -> None:
    assert shown(Unknown("a flag")) == "unknown (a flag)"
    assert shown(Alternatives((1, 2))) == "1 or 2"
    assert shown(ModuleRef("a.b")) == "<module a.b>"
    assert shown(ParameterRef("w", (4, 8))) == "<parameter w [4, 8] ?>"
    assert shown(TensorRef(None, "int8")) == "<tensor [?] int8>"
    assert shown(Named("torch.bfloat16")) == "torch.bfloat16"
    assert shown({"a": (1, [Named("b")])}) == "{'a': (1, [b])}"
    assert shown((3,)) == "(3,)"
    assert shown(Quantization("fp8", "float8_e4m3fn", "block", (128, 128))).startswith("fp8 ")
    assert shown("x" * 500).endswith("...")
    assert len(shown("x" * 500)) == 120
