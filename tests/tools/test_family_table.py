"""The table of families: what the rules make of a config, and what is said of it."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "family_table.py"
DENSE = {
    "architectures": ["Lfm2ForCausalLM"],
    "model_type": "lfm2",
    "hidden_size": 256,
    "intermediate_size": 512,
    "block_auto_adjust_ff_dim": False,
    "conv_L_cache": 3,
    "conv_bias": False,
    "layer_types": ["conv", "full_attention", "conv", "full_attention"],
    "norm_eps": 1e-5,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "rope_theta": 10000.0,
    "vocab_size": 1024,
}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("family_table", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["family_table"] = module  # attrs looks annotations up there
    spec.loader.exec_module(module)
    return module


def test_a_config_of_more_and_of_fewer_layers(tool: ModuleType) -> None:
    base: dict[str, Any] = {
        "text_config": {
            "num_hidden_layers": 4,
            "layer_types": ["linear", "full", "linear", "full"],
            "swiglu_limits": [1, 2, 3, 4, 99],  # the draft's layer is behind the model's
            "hybrid_override_pattern": "ME*E",
            "linear_attn_config": {"full_attn_layers": [2, 4], "kda_layers": [1, 3]},
            "moe_layers_enum": "1,2,3",
            "hidden_size": 64,
        }
    }
    fewer = tool.resized(base, {"layers": 2})["text_config"]
    assert fewer["num_hidden_layers"] == 2
    assert fewer["layer_types"] == ["linear", "full"]
    assert fewer["swiglu_limits"] == [1, 2, 99]
    assert fewer["hybrid_override_pattern"] == "ME"
    assert fewer["linear_attn_config"] == {"full_attn_layers": [2], "kda_layers": [1]}
    assert fewer["moe_layers_enum"] == "1"
    more = tool.resized(base, {"layers": "*2"})["text_config"]
    assert more["num_hidden_layers"] == 8
    assert more["layer_types"] == base["text_config"]["layer_types"] * 2
    assert more["swiglu_limits"] == [1, 2, 3, 4, 1, 2, 3, 4, 99]
    assert more["linear_attn_config"] == {
        "full_attn_layers": [2, 4, 6, 8],
        "kda_layers": [1, 3, 5, 7],
    }
    assert more["moe_layers_enum"] == "1,2,3,5,6,7"
    assert more["hidden_size"] == 64


def test_a_size_that_a_config_does_not_have_makes_no_variant(tool: ModuleType) -> None:
    names = [variant.name for variant in tool.variants("LFM2", {"lfm2": DENSE})]
    assert "lfm2+half-the-heads" in names
    assert "lfm2+half-the-experts" not in names
    assert "lfm2+fewer-layers" not in names  # it has no more than that


def left_out(section: dict[str, Any], key: str, path: str) -> bool:
    """Whether a quantisation section names a module, in any of the ways in which they do."""
    for name in section[key]:
        if name.startswith("re:") and re.match(name[3:], path):
            return True
        if name.startswith("-:") and re.match(name[2:], path):
            return True
        if fnmatch(path, name) or f".{name.rstrip('.')}." in f".{path}.":
            return True
    return False


def test_each_way_to_quantise_leaves_out_the_head_the_gates_and_no_projection(
    tool: ModuleType,
) -> None:
    for family, rules in tool.RULES["families"].items():
        for name in rules["quantizations"]:
            way = tool.RULES["quantizations"][name]
            section = tool.quantised({"num_hidden_layers": 2}, name, rules)["quantization_config"]
            key = way["as"][0]
            layer = f"{rules.get('layers', 'model.layers')}.1"
            if way["as"][1] != "minus":  # whose library quantises heads on request alone
                assert left_out(section, key, rules.get("head", "lm_head")), (family, name)
            for gate in rules["gates"]:
                assert left_out(section, key, f"{layer}.{gate}"), (family, name, gate)
            all_of_it = way["leaves_out"] == "attention"
            for part in rules["attention"]:
                assert left_out(section, key, f"{layer}.{part}.x_proj") or not all_of_it
            assert not left_out(section, key, f"{layer}.dense.gate_proj"), (family, name)
            # A gate's name is the beginning of a projection's.
            if "mlp" not in rules["attention"] or not all_of_it:
                assert not left_out(section, key, f"{layer}.mlp.gate_proj"), (family, name)


def test_a_section_inside_of_a_config_is_taken_away(tool: ModuleType) -> None:
    inner = {"num_hidden_layers": 2, "quantization_config": {"quant_method": "fp8"}}
    plain = tool.unquantised({"text_config": inner, "quantization_config": None})
    assert plain == {"text_config": {"num_hidden_layers": 2}}


def test_the_rules_name_families_ways_and_drafts_that_there_are(tool: ModuleType) -> None:
    rules = tool.RULES
    for family in rules["families"].values():
        assert set(family["quantizations"]) <= set(rules["quantizations"])
        assert set(family["drafts"]) <= set(rules["drafts"])
        assert family["architectures"]
    for each in rules["refused_by_sglang"]:
        assert set(each) == {"of", "says", "why"}
    without = [family for family, configs in tool.bases([]).items() if not configs]
    assert without == ["Kimi-K2.5", "Gemma-4"]  # configs of which are in folders alone


def test_every_config_of_a_folder_is_looked_at(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "maker--small.json").write_text(json.dumps(DENSE), encoding="utf-8")
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "config.json").write_text(json.dumps(DENSE), encoding="utf-8")
    section = {"quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}}
    beside = tmp_path / "large" / "hf_quant_config.json"
    beside.write_text(json.dumps(section), encoding="utf-8")
    found = tool.bases([tmp_path])["LFM2"]
    assert found["small"] == DENSE
    assert found["large"]["quantization_config"]["quant_algo"] == "NVFP4"


def row(tool: ModuleType, state: str, *reasons: str, judged: str = "") -> Any:
    return tool.Row("0.5.23", "LFM2", "lfm2+awq", "A", state, reasons, 1.5, {}, {"X": 2}, judged)


def test_the_page_counts_what_sglang_refuses_too_apart(tool: ModuleType) -> None:
    rows = [
        row(tool, "whole"),
        row(tool, "partial", "a norm: why"),
        row(tool, "refused", "no", judged="odd sizes"),
    ]
    text = "\n".join(tool.report(rows, ["0.5.23"]))
    assert "| 0.5.23 | 1 | 1 | 0 | 0 | 1 | 4 | 1.5 |" in text
    assert "| LFM2 | 0.5.23 | 1 | 1 | 0 | 0 | 1 |" in text
    assert "- **lfm2+awq** (A) on 0.5.23, partial: a norm: why" in text
    assert "refused: odd sizes" in text
    assert "- **lfm2+awq** on 0.5.23: X (2)" in text


def test_a_judgement_is_of_a_release_and_of_a_reason(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = {"of": "*+awq@0.5.9", "says": "divisible", "why": "odd sizes"}
    monkeypatch.setitem(tool.RULES, "refused_by_sglang", [each])
    assert tool.judgement("0.5.9", "a+awq", "A", ["is not divisible"]) == "odd sizes"
    assert tool.judgement("0.5.10", "a+awq", "A", ["is not divisible"]) == ""
    assert tool.judgement("0.5.9", "a+awq", "A", ["no such key"]) == ""


def test_with_ends_a_class_is_looked_at_on_its_first_release_and_on_the_last(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    having = {"1": {}, "2": {"A": "a"}, "3": {"A": "a"}, "4": {"A": "a"}}
    monkeypatch.setattr(tool, "_files", lambda _, release: having[release])
    variant = tool.Variant("F", "a", {"architectures": ["A"]})
    sources = {release: Path() for release in having}
    assert set(tool.releases_of(variant, sources, ends=True)) == {"2", "4"}
    assert list(tool.releases_of(variant, sources, ends=False)) == ["2", "3", "4"]


def test_a_small_model_is_looked_at_on_a_real_source(
    tool: ModuleType, sglang: Callable[[str], Path]
) -> None:
    folder = sglang("0.5.23") / "sglang"
    plain, draft = (tool.Variant("LFM2", "small", DENSE, asks) for asks in (False, True))
    found = tool.look(folder, "0.5.23", plain, 1)
    assert (found.state, found.reasons, found.judged) == ("whole", (), "")
    assert found.launches["decode"] > 4
    assert found.seconds > 0
    assert tool.look(folder, "0.5.23", draft, 1) is None  # the checkpoint holds none
    refused = tool.look(
        folder, "0.5.23", tool.Variant("LFM2", "odd", {**DENSE, "num_attention_heads": 0}), 1
    )
    assert refused.state == "refused"
    unknown = tool.Variant("LFM2", "new", {**DENSE, "architectures": ["Lfm9ForCausalLM"]})
    assert tool.look(folder, "0.5.23", unknown, 1) is None
