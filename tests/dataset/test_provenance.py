"""Provenance: what is recorded, how models are merged, how it is read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from fibcore.dataset import (
    BrokenFileError,
    Dataset,
    ProvenanceEntry,
    read_provenance,
    write_provenance,
)
from fibcore.model.definition import Definition, const, tensor, var
from fibcore.model.kernel import Fact, Use
from fibcore.model.serving import Serving
from fibcore.model.tree import SourcePlace

BIND = SourcePlace("sglang/srt/models/llama.py", 140)
LAYER = SourcePlace("sglang/srt/models/llama.py", 265)
HEAD = SourcePlace("sglang/srt/models/llama.py", 402)


def definition(name: str = "attention_h4") -> Definition:
    return Definition(
        name=name,
        op_type="attention",
        axes={"batch": var(), "num_heads": const(4), "head_dim": const(16)},
        inputs={"q": tensor("batch num_heads head_dim", "bfloat16")},
        outputs={"o": tensor("batch num_heads head_dim", "bfloat16")},
        reference="def run(q):\n    return q\n",
    )


def entry(model: str = "llama", **changes: Any) -> ProvenanceEntry:
    values: dict[str, Any] = {
        "model": model,
        "hub_id": f"example/{model}",
        "architecture": "LlamaForCausalLM",
        "serving": Serving(tp=8),
        "source_version": "0.5.9",
        "facts": {
            "scale": Fact(0.25, (), BIND),
            "head_dim": Fact(
                16, ("config:hidden_size", "config:num_heads"), BIND, "hidden / heads"
            ),
            "num_heads": Fact(4, ("config:num_heads", "serving:tp"), BIND, "num_heads / tp"),
        },
        "uses": (
            *(Use(f"model.layers.{i}.self_attn.attn", "RadixAttention", LAYER) for i in range(32)),
            Use("head.attn", "RadixAttention", HEAD),
        ),
    }
    return ProvenanceEntry(**{**values, **changes})


def stored(root: Path, name: str = "attention_h4") -> dict[str, Any]:
    path = root / "reports" / "provenance" / f"{name}.json"
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def test_the_file_says_what_docs_provenance_says(tmp_path: Path) -> None:
    assert write_provenance(tmp_path, definition(), entry())
    assert stored(tmp_path) == {
        "schema_version": 1,
        "name": "attention_h4",
        "op_type": "attention",
        "models": {
            "llama": {
                "tp8-ep1": {
                    "hub_id": "example/llama",
                    "architecture": "LlamaForCausalLM",
                    "serving": {"tp": 8, "ep": 1},
                    "source": {"name": "sglang", "version": "0.5.9"},
                    "constants": {
                        "num_heads": {
                            "value": 4,
                            "axis": True,
                            "origins": ["config:num_heads", "serving:tp"],
                            "place": "sglang/srt/models/llama.py:140",
                            "note": "num_heads / tp",
                        },
                        "head_dim": {
                            "value": 16,
                            "axis": True,
                            "origins": ["config:hidden_size", "config:num_heads"],
                            "place": "sglang/srt/models/llama.py:140",
                            "note": "hidden / heads",
                        },
                        "scale": {
                            "value": 0.25,
                            "axis": False,
                            "origins": [],
                            "place": "sglang/srt/models/llama.py:140",
                        },
                    },
                    "layers": {
                        "count": 33,
                        "uses": [
                            {
                                "paths": "model.layers.{0-31}.self_attn.attn",
                                "class": "RadixAttention",
                                "place": "sglang/srt/models/llama.py:265",
                            },
                            {
                                "paths": "head.attn",
                                "class": "RadixAttention",
                                "place": "sglang/srt/models/llama.py:402",
                            },
                        ],
                    },
                }
            }
        },
    }
    documented = Path(__file__).parents[2] / "docs" / "provenance.md"
    block = documented.read_text(encoding="utf-8").split("```json\n")[1].split("```")[0]
    example = json.loads(block)
    found = stored(tmp_path)
    assert _keys(example) == _keys(found)


def _keys(data: Any) -> Any:
    """The shape of a document: its keys, with one entry for each kind of thing."""
    if isinstance(data, dict):
        return {k: _keys(v) for k, v in data.items() if k not in ("models", "constants")} | {
            k: [_keys(v) for v in list(data[k].values())[:1]]
            for k in ("models", "constants")
            if k in data
        }
    return [_keys(data[0])] if isinstance(data, list) and data else None


def test_options_of_one_word_are_entries_of_their_own(tmp_path: Path) -> None:
    options = ({}, {"head_shapes": "rank"}, {"other_shapes": "rank"})
    for each in options:
        one = entry(serving=Serving(tp=8, options=each))
        write_provenance(tmp_path, definition(), one)
        assert not write_provenance(tmp_path, definition(), one)
    found = read_provenance(tmp_path, "attention_h4")
    assert found is not None
    read = [dict(e.serving.options) for e in found.entries]
    assert sorted(read, key=str) == sorted(options, key=str)
    data = json.loads((tmp_path / "reports/provenance/attention_h4.json").read_text())
    assert list(data["models"]["llama"]) == ["tp8-ep1", "tp8-ep1-other_shapes=rank", "tp8-ep1-rank"]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    one = entry(
        serving=Serving(tp=8, ep=4, options={"gemm_shapes": "rank"}), kernel="attention_h_4"
    )
    write_provenance(tmp_path, definition(), one)
    found = read_provenance(tmp_path, "attention_h4")
    assert found is not None
    assert (found.name, found.op_type) == ("attention_h4", "attention")
    assert found.entries == (one,)
    assert read_provenance(tmp_path, "unknown") is None


def test_models_and_servings_stand_side_by_side(tmp_path: Path) -> None:
    for tp in (16, 8, 1):
        for model in ("qwen", "llama"):
            write_provenance(tmp_path, definition(), entry(model, serving=Serving(tp=tp)))
    models = stored(tmp_path)["models"]
    assert list(models) == ["llama", "qwen"]
    assert list(models["qwen"]) == ["tp1-ep1", "tp8-ep1", "tp16-ep1"]


def test_a_later_run_replaces_its_own_entry_and_no_other(tmp_path: Path) -> None:
    write_provenance(tmp_path, definition(), entry("llama"))
    write_provenance(tmp_path, definition(), entry("qwen"))
    assert not write_provenance(tmp_path, definition(), entry("llama"))
    assert write_provenance(tmp_path, definition(), entry("llama", source_version="0.5.23"))
    versions = {
        model: servings["tp8-ep1"]["source"]["version"]
        for model, servings in stored(tmp_path)["models"].items()
    }
    assert versions == {"llama": "0.5.23", "qwen": "0.5.9"}


def test_the_order_in_which_models_come_does_not_matter(tmp_path: Path) -> None:
    entries = [entry(m, serving=Serving(tp=tp)) for m in ("a", "b") for tp in (1, 2)]
    for folder, order in (("one", entries), ("two", entries[::-1])):
        for one in order:
            write_provenance(tmp_path / folder, definition(), one)
    assert stored(tmp_path / "one") == stored(tmp_path / "two")


def test_constants_in_which_models_differ(tmp_path: Path) -> None:
    write_provenance(tmp_path, definition(), entry("llama"))
    facts = {**entry().facts, "scale": Fact(0.5, ("config:scale",), BIND)}
    write_provenance(tmp_path, definition(), entry("qwen", facts=facts))
    write_provenance(tmp_path, definition(), entry("phi", facts=facts))
    found = read_provenance(tmp_path, "attention_h4")
    assert found is not None
    assert [(d.name, d.values) for d in found.differing] == [
        ("scale", ((0.25, ("llama",)), (0.5, ("phi", "qwen"))))
    ]


def test_one_model_may_need_a_kernel_under_two_names(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.add(definition(), entry())
    dataset.add(definition("attention_other"), entry(uses=(Use("vision.attn", "Attn", HEAD),)))
    assert list(stored(tmp_path)["models"]["llama"]) == ["tp8-ep1", "tp8-ep1:attention_other"]
    found = dataset.provenance("attention_h4")
    assert found is not None
    assert [e.kernel for e in found.entries] == [None, "attention_other"]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"schema_version": 2, "models": {}}',
        '{"schema_version": 1, "models": []}',
        '{"schema_version": 1, "name": "a", "op_type": "b", "models": {"m": {"tp1-ep1": {}}}}',
    ],
)
def test_a_broken_record_is_an_error_that_changes_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "reports" / "provenance" / "attention_h4.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    dataset = Dataset(tmp_path)
    with pytest.raises(BrokenFileError, match="not a provenance file") as caught:
        dataset.add(definition(), entry())
    assert caught.value.path == "reports/provenance/attention_h4.json"
    assert path.read_text() == text
    assert dataset.read().definitions == ()
    with pytest.raises(BrokenFileError):
        dataset.provenance("attention_h4")


def test_uses_need_not_be_there(tmp_path: Path) -> None:
    one = attrs.evolve(entry(), uses=())
    write_provenance(tmp_path, definition(), one)
    assert stored(tmp_path)["models"]["llama"]["tp8-ep1"]["layers"] == {"count": 0, "uses": []}
