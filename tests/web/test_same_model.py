"""An entry that is the same model under another name, with another hierarchy or other spellings."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.errors import WebError
from fibcore.web.entry import WebEntry
from fibcore.web.entry_check import plain
from fibcore.web.entry_edit import Edited, edited
from fibcore.web.models_file import read_models
from fibcore.web.modules import WebModule
from fibcore.web.typescript import parse

WANTED = WebEntry(
    id="deepseek-v3",
    name="DeepSeek V3",
    description="words",
    modules=(
        WebModule("DeepseekV3ForCausalLM", 1, None, "block"),
        WebModule("DeepseekV2DecoderLayer (MoE)", 58, "DeepseekV3ForCausalLM", "block"),
        WebModule(
            "attn_mqa", 58, "DeepseekV2DecoderLayer (MoE)", "layer", ("mla_paged_decode_h16",)
        ),
        WebModule("gate", 58, "DeepseekV2DecoderLayer (MoE)", "layer", ("gemm_n_256_k_7168",)),
    ),
    hub_id="deepseek-ai/DeepSeek-V3",
)

BY_HAND = """\
export const models: Model[] = [
  {
    id: "ID",
    name: "Ours",
    MORE
    modules: {
      model: { count: 1, type: "block" },
      moe_layer: { count: 58, parent: "model", type: "block" },
      mla: { count: 6, parent: "moe_layer", type: "layer", definitions: ["mla_paged_decode_h128"] },
      router: { count: 58, parent: "moe_layer", type: "layer", definitions: ["gemm_n256_k7168"] },
      mystery: { count: 58, parent: "moe_layer", type: "layer", definitions: ["mystery_h7168"] },
    },
  },
]
"""


def by_hand(id_: str = "deepseek-v3", more: str = "") -> str:
    return BY_HAND.replace("ID", id_).replace("MORE", more)


def edit(text: str, wanted: WebEntry = WANTED, **options: Any) -> Edited:
    """Edit a file; a second time changes nothing."""
    result = edited(text.encode(), "models.ts", wanted, **options)
    assert edited(result.data, "models.ts", wanted, **options).data == result.data
    return result


def entries(result: Edited) -> list[dict[str, Any]]:
    file = read_models(parse(result.data, "models.ts"))
    return [plain(file.source, entry) for entry in file.entries]


def test_an_entry_has_one_hierarchy_and_keeps_its_definitions() -> None:
    result = edit(by_hand())
    (entry,) = entries(result)
    modules = entry["modules"]
    assert list(modules) == [m.name for m in WANTED.modules]
    assert modules["attn_mqa"]["definitions"] == ["mla_paged_decode_h16", "mla_paged_decode_h128"]
    assert modules["gate"]["definitions"] == ["gemm_n256_k7168"]  # as the file spells it
    assert modules["DeepseekV3ForCausalLM"]["definitions"] == ["mystery_h7168"]
    assert result.change.removed == ["model", "moe_layer", "mla", "router", "mystery"]
    assert result.change.moved == {
        "mla_paged_decode_h128": "attn_mqa",
        "mystery_h7168": "DeepseekV3ForCausalLM",
    }
    pruned = str(entries(edit(by_hand(), prune=True))[0]["modules"])
    assert "mystery" not in pruned
    assert "h128" not in pruned


@pytest.mark.parametrize(
    ("id_", "more"),
    [
        ("DeepSeek_V3", ""),
        ("deepseekv3", ""),
        ("ds", 'hf: "deepseek-ai/DeepSeek-V3",'),
        ("ds", 'url: "https://huggingface.co/deepseek-ai/DeepSeek-V3/",'),
    ],
)
def test_the_same_model_under_another_id_is_brought_up_to_date(id_: str, more: str) -> None:
    result = edit(by_hand(id_, more))
    (entry,) = entries(result)
    assert entry["id"] == id_
    assert result.change.kind == "updated"


def test_names_that_the_catalogue_knows_as_one_model() -> None:
    wanted = WebEntry("kimi-k2-instruct", "Kimi", "words", WANTED.modules)
    (entry,) = entries(edit(by_hand("kimi-k2"), wanted))
    assert entry["id"] == "kimi-k2"


def test_a_model_that_only_mentions_another_is_not_that_model() -> None:
    more = 'description: "made from deepseek-ai/DeepSeek-V3", hf: "deepseek-ai/DeepSeek-V3.1",'
    assert [entry["id"] for entry in entries(edit(by_hand("r9", more)))] == ["r9", "deepseek-v3"]


def test_two_entries_of_one_model_are_an_error() -> None:
    other = '{ id: "DeepSeek-V3", modules: {} },\n]'
    text = by_hand("deepseek_v3").removesuffix("]\n") + other
    with pytest.raises(WebError, match="two entries are the model"):
        edit(text)


def test_one_kernel_is_listed_once_whatever_its_spelling() -> None:
    text = by_hand().replace("router:", "gate:")
    doubled = text.replace(
        '["gemm_n256_k7168"]', '["gemm_n256_k7168", "gemm_n_256_k_7168", "g_n1"]'
    )
    for given, names in ((text, []), (doubled, ["g_n1"])):
        modules = entries(edit(given))[0]["modules"]
        assert modules["gate"]["definitions"] == ["gemm_n256_k7168", *names]
