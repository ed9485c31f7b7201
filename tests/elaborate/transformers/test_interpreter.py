"""Summaries make of a file what the classes of transformers make of it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from fibcore.elaborate.transformers.class_tables import (
    shipped_table,
    shipped_versions,
)
from fibcore.elaborate.transformers.config import ConfigBuilder
from fibcore.elaborate.transformers.config_object import ConfigObject, from_file
from fibcore.model.tree import Unknown


@pytest.mark.parametrize("version", shipped_versions())
def test_every_summary_of_the_tables_gives_an_object(
    version: str, builder: Callable[[str], ConfigBuilder]
) -> None:
    made = builder(version)
    table = shipped_table(version)
    assert len(table.names) > 500
    for kind, name in table.model_types.items():
        facts = table.find(name)
        if facts is not None:
            assert made.make(facts, {"model_type": kind}).label.startswith(name)


SAMPLE = """
afmoe arcee aria bamba bert bloom chameleon clip clip_vision_model cohere cohere2 deepseek_v2
deepseek_v3 ernie4_5 ernie4_5_moe exaone4 falcon falcon_h1 gemma gemma2 gemma3 gemma3_text gemma3n
gemma4 gemma4_text glm glm4 glm4_moe glm4v glm4v_moe gpt2 gpt_bigcode gpt_neox gpt_oss granite
granitemoe granitemoehybrid granitemoeshared hunyuan_v1_dense hunyuan_v1_moe internvl jamba kimi_k25
lfm2 lfm2_moe llama llama4 llama4_text llava llava_next llava_onevision mamba mamba2
minimax minimax_m2 ministral mistral mistral3 mixtral mllama nemotron olmo olmo2 olmo3 olmoe opt
paligemma persimmon phi phi3 phi4_multimodal phimoe pixtral qwen2 qwen2_5_omni qwen2_5_vl
qwen2_audio qwen2_moe qwen2_vl qwen3 qwen3_5 qwen3_5_moe qwen3_moe qwen3_next qwen3_omni_moe
qwen3_vl qwen3_vl_moe seed_oss siglip siglip_vision_model smollm3 solar stablelm starcoder2 t5
voxtral whisper xlm-roberta
"""


CHANGES: list[dict[str, Any]] = [
    {},
    {"hidden_size": 3072, "num_attention_heads": 24, "num_hidden_layers": 9},
    {"num_key_value_heads": None, "head_dim": None, "num_attention_heads": 8},
    {"sliding_window": 512, "use_sliding_window": True, "max_window_layers": 3},
    {"sliding_window": 512, "use_sliding_window": False, "unheard_of": 4},
    {"text_config": {"num_hidden_layers": 5, "hidden_size": 64}},
]


DUMP = """
import copy, json, sys, transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

def plain(v):
    if isinstance(v, transformers.PretrainedConfig):
        return {"": type(v).__name__, **{k: plain(x) for k, x in v.__dict__.items()}}
    if isinstance(v, (list, tuple)):
        return [plain(x) for x in v]
    return v if v is None or isinstance(v, (bool, int, float, str)) else {}

kinds, changes = json.load(sys.stdin)
found = []
for kind in kinds:
    for number, change in enumerate(changes):
        try:
            found.append([kind, number, plain(CONFIG_MAPPING[kind](**copy.deepcopy(change)))])
        except Exception:
            pass
print(json.dumps([transformers.__version__, found]))
"""


def differing(real: dict[str, Any], ours: ConfigObject, given: dict[str, Any]) -> dict[str, Any]:
    """Sizes and words that differ between a real config object and ours, by path."""
    found: dict[str, Any] = {}
    for key, wanted in real.items():
        have = ours.values.get(key, "absent")
        if isinstance(wanted, dict) and wanted.get("") and isinstance(have, ConfigObject):
            inner = given.get(key)
            nested = differing(wanted, have, inner if isinstance(inner, dict) else {})
            found.update({f"{key}.{k}": v for k, v in nested.items()})
        elif key in LEFT_OUT or key[:1] in ("", "_") or isinstance(wanted, dict):
            continue
        elif isinstance(have, Unknown) or key in given:
            continue  # said not to be known; or what the file says
        elif listed(have) != wanted:
            found[key] = (wanted, have)
    return found


def listed(held: Any) -> Any:
    """A value as JSON has it."""
    return [listed(v) for v in held] if isinstance(held, (list, tuple)) else held


LEFT_OUT = frozenset(
    (
        *("architectures", "dtype", "id2label", "label2id", "model_type", "num_labels"),
        *("transformers_version", "tf_legacy_loss", "use_bfloat16", "pruned_heads"),
        *("ignore_keys_at_rope_validation", "base_model_tp_plan"),
    )
)


def test_summaries_agree_with_the_real_classes(builder: Callable[[str], ConfigBuilder]) -> None:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    kinds = SAMPLE.split()
    result = subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "-c", DUMP],
        input=json.dumps([kinds, CHANGES]),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    version, cases = json.loads(result.stdout.splitlines()[-1])
    if version not in shipped_versions():
        pytest.skip(
            f"transformers {version} is installed, and the tables hold {shipped_versions()}"
        )
    made = builder(version)
    wrong = {}
    for kind, number, real in cases:
        facts = made.table.of_type(kind) if made.table is not None else None
        assert facts is not None
        ours = made.make(facts, from_file(CHANGES[number], ""))
        difference = differing(real, ours, CHANGES[number])
        if difference:
            wrong[kind, number] = difference
    assert len(cases) > 200
    assert wrong == {}
