"""Labels of numbers on hand-kept pages, and what of a model they can mean.

The words are those of `config.json` files and of kernels' constants; no op type is among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

LAYERS = "layers"

_PREFIX = re.compile(
    r"^(?:the|number of|num|no\.? of|#|total|count of|per rank|local)\s+|\s+count$"
)

_QUANTITIES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        LAYERS,
        r"(?:hidden |decoder |transformer )?layers?(?: count)?|depth",
        ("num_hidden_layers", "num_layers", "n_layer", "n_layers"),
    ),
    (
        "KV heads",
        r"(?:kv|key ?value) heads?",
        ("num_key_value_heads", "num_kv_heads", "multi_query_group_num"),
    ),
    (
        "attention heads",
        r"(?:q|qo|query|attention|attn)? ?heads?",
        ("num_attention_heads", "num_qo_heads", "n_head", "n_heads"),
    ),
    (
        "head size",
        r"head (?:dim|size|dimension)",
        ("head_dim", "v_head_dim", "qk_dim", "vo_dim"),
    ),
    (
        "hidden size",
        r"(?:hidden|model|embedding) ?(?:size|dim|dimension)?|d model",
        ("hidden_size",),
    ),
    (
        "intermediate size",
        r"(?:intermediate|ffn|mlp|feed ?forward) ?(?:size|dim|dimension|hidden size)?",
        ("intermediate_size", "ffn_dim"),
    ),
    (
        "experts",
        r"(?:routed )?experts",
        ("num_experts", "n_routed_experts", "num_local_experts"),
    ),
    (
        "experts of a token",
        r"top ?k|(?:active )?experts (?:per|a) tok(?:en)?|active experts",
        ("num_experts_per_tok", "top_k", "topk"),
    ),
    ("vocabulary", r"vocab(?:ulary)?(?: size)?", ("vocab_size",)),
)


def flat(config: Mapping[str, Any]) -> dict[str, int]:
    """The integers of a config, those of nested objects too; outer ones win."""
    found: dict[str, int] = {}
    nested: list[Mapping[str, Any]] = [config]
    while nested:
        data = nested.pop(0)
        for key, value in data.items():
            if isinstance(value, Mapping):
                nested.append(value)
            elif isinstance(value, int) and not isinstance(value, bool):
                found.setdefault(str(key), value)
    return found


def meaning(label: str, config: Mapping[str, int]) -> tuple[str, tuple[str, ...]] | None:
    """What a label means: its name, and the keys of configs and constants that it can be.

    None where it means nothing that is known.
    """
    words = re.sub(r"[\s_/-]+", " ", label.lower()).strip(" *:")
    while (shorter := _PREFIX.sub("", words).strip()) != words:
        words = shorter
    for key in _spellings(words):
        if key in config:
            return key, (key,)
    for name, pattern, keys in _QUANTITIES:
        if words and re.fullmatch(pattern, words):
            also = tuple(k for k in config if k.endswith(tuple(f"_{key}" for key in keys)))
            return name, (*keys, *also)
    return None


def _spellings(words: str) -> Iterator[str]:
    key = words.replace(" ", "_")
    if "_" in key:
        yield from (key, f"{key}_size", f"num_{key}", f"n_{key}")
