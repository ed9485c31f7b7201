"""The catalogue's facts, and what a model's name stands for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

from fibcore.configs import catalogue as module
from fibcore.configs.catalogue import (
    CatalogueEntry,
    catalogue,
    find_entry,
    resolve_model,
    slugify,
)
from fibcore.configs.checks import check_config
from fibcore.errors import ConfigError, UnknownModelError, UsageError
from fibcore.model.json import from_data
from fibcore.model.serving import Serving

TINY: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}

entries = pytest.mark.parametrize("entry", catalogue(), ids=lambda e: e.slug)


@attrs.frozen
class Models:
    """The file `catalogue.json`."""

    models: tuple[CatalogueEntry, ...]


def test_every_entry_of_the_file_has_the_form_that_is_documented() -> None:
    text = Path(module.__file__).with_name("catalogue.json").read_text(encoding="utf-8")
    assert from_data(Models, json.loads(text)).models == catalogue()


def text_config(entry: CatalogueEntry) -> dict[str, Any]:
    return {**entry.config, **entry.config.get("text_config", {})}


@entries
def test_every_entry_is_a_config_that_can_be(entry: CatalogueEntry) -> None:
    check_config(entry.config, entry.slug)
    assert entry.slug == slugify(entry.slug)
    assert entry.config["model_type"]
    for name in (entry.slug, entry.hub_id, *entry.aliases):
        assert find_entry(name) is entry
    for tp in entry.tp:
        for ep in entry.ep:
            Serving(tp=tp, ep=ep, options=entry.options)


@entries
def test_every_entry_can_be_served_as_it_says(entry: CatalogueEntry) -> None:
    config = text_config(entry)
    heads = config.get("num_attention_heads") or config["n_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    experts = next(
        (
            config[k]
            for k in ("n_routed_experts", "num_experts", "num_local_experts")
            if k in config
        ),
        0,
    )
    inner = config.get("moe_intermediate_size") or config.get("intermediate_size", 0)
    block = (config.get("quantization_config") or {}).get("weight_block_size")
    for tp in entry.tp:
        assert heads % tp == 0
        assert kv_heads % tp == 0 or tp % kv_heads == 0
        for ep in entry.ep:
            assert experts % ep == 0
            if experts:
                assert inner % (tp // ep) == 0
                if block:
                    assert inner // (tp // ep) % block[0] == 0


@entries
def test_every_class_is_in_the_source(entry: CatalogueEntry, sglang_source: Path) -> None:
    models = sglang_source / "sglang" / "srt" / "models"
    pattern = re.compile(rf"^class {entry.architecture}\b", re.MULTILINE)
    assert any(pattern.search(p.read_text(encoding="utf-8-sig")) for p in models.glob("*.py"))


def test_names_are_unique_and_files_have_their_model() -> None:
    names, defaults = module._names(), module._defaults()
    for key in set(names) & set(defaults):
        assert names[key] is defaults[key]
    architectures = {e.architecture for e in catalogue()}
    for architecture in architectures:
        entry = defaults[module._key(architecture)]
        assert entry.architecture == architecture
    for e in catalogue():
        for name in e.default_for:
            if name.endswith(("CausalLM", "Generation")):
                assert name == e.architecture


def test_two_models_of_one_name_are_a_mistake() -> None:
    first, second = catalogue()[:2]
    with pytest.raises(ValueError, match="two models"):
        module._unique([("llama-x", first), ("Llama_X", second)])


def test_known_facts() -> None:
    """Sizes as the models' papers and model cards give them."""
    llama = find_entry("llama-3.1-8b")
    assert llama is not None
    assert {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_hidden_layers": 32,
        "vocab_size": 128256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
    }.items() <= llama.config.items()
    deepseek = find_entry("deepseek-v3")
    assert deepseek is not None
    assert {
        "hidden_size": 7168,
        "num_attention_heads": 128,
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "n_routed_experts": 256,
        "num_experts_per_tok": 8,
        "n_group": 8,
        "topk_group": 4,
        "moe_intermediate_size": 2048,
        "num_hidden_layers": 61,
    }.items() <= deepseek.config.items()
    assert deepseek.config["quantization_config"]["weight_block_size"] == [128, 128]


@pytest.mark.parametrize(
    ("slug", "tp", "ep"),
    [
        ("deepseek-v3", 8, 8),
        ("deepseek-r1", 8, 8),
        ("kimi-k2-instruct", 8, 8),
        ("llama-3.1-8b", 1, 1),
        ("llama-3.1-70b", 4, 1),
        ("qwen3-30b-a3b", 1, 1),
    ],
)
def test_serving_sizes(slug: str, tp: int, ep: int) -> None:
    model = resolve_model(slug)
    assert (model.tp, model.ep, model.options) == ((tp,), (ep,), {})


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("llama", "llama-3.1-8b"),
        ("qwen2_moe", "qwen2-57b-a14b"),
        ("deepseek_v3", "deepseek-v3"),
        ("deepseek_v2", "deepseek-v2-lite"),
        ("mixtral", "mixtral-8x7b"),
        ("qwen3_moe", "qwen3-30b-a3b"),
        ("mllama4", "llama-4-scout-17b-16e-instruct"),
        ("LlamaForCausalLM", "llama-3.1-8b"),
        ("DeepseekV3ForCausalLM", "deepseek-v3"),
        ("llama-3.1-8b", "llama-3.1-8b"),
        ("Llama 3.1 8B", "llama-3.1-8b"),
        ("LLAMA_3.1_70B", "llama-3.1-70b"),
        ("llama3.1-8b-instruct", "llama-3.1-8b"),
        ("kimi-k2", "kimi-k2-instruct"),
        ("DeepSeek-V3-0324", "deepseek-v3"),
    ],
)
def test_names(name: str, slug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Neither the network nor the source is asked for what the catalogue knows.
    monkeypatch.setattr("fibcore.configs.hub.unreachable", lambda: pytest.fail("asked the Hub"))
    model = resolve_model(name, known_files=lambda: pytest.fail("asked the source"))
    assert model.slug == slug
    assert model.config.origin == f"catalogue:{slug}"
    assert model.architecture == model.config.architecture


def test_files_and_classes_of_the_source() -> None:
    files = {
        "llama_alike": ("AlikeForCausalLM", "LlamaForCausalLM"),
        "grok": ("Grok1ForCausalLM",),
        "empty": (),
    }
    assert resolve_model("llama_alike", known_files=files).slug == "llama-3.1-8b"
    for name in ("grok", "Grok1ForCausalLM", "grok-1-for-causal-lm"):
        with pytest.raises(UnknownModelError, match="no config of it") as caught:
            resolve_model(name, known_files=files)
        assert "Grok1ForCausalLM" in caught.value.message
        assert "--config" in str(caught.value.hint)
    # A class is itself, whatever else its file registers.
    with pytest.raises(UnknownModelError, match="SGLang has AlikeForCausalLM, but"):
        resolve_model("AlikeForCausalLM", known_files=files)


@pytest.mark.parametrize(
    ("name", "near"),
    [("lama", "llama"), ("deepseek-v4", "deepseek-v3"), ("qwen3-30b", "qwen3-30b-a3b")],
)
def test_unknown_names_give_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        resolve_model(name)
    assert caught.value.exit_code == 2
    offered = str(caught.value.expected).removeprefix("such as ").split(", ")
    assert near in offered
    assert "fibcore models" in str(caught.value.hint)
    # Every name that is offered is one.
    for one in offered:
        resolve_model(one)


def test_nothing_near() -> None:
    with pytest.raises(UnknownModelError) as caught:
        resolve_model("zzzzzzzzzzzzzzz", known_files={"grok": ("Grok1ForCausalLM",)})
    assert caught.value.expected is None
    with pytest.raises(UnknownModelError, match="such as grok"):
        resolve_model("grook", known_files={"grok": ("Grok1ForCausalLM",)})


@pytest.mark.parametrize("name", ["", "  ", "a\nb"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UsageError, match="needs a name"):
        resolve_model(name)


def test_a_config_file_and_any_name(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY))
    model = resolve_model("My Model", config_file=path)
    assert (model.slug, model.tp, model.ep) == ("my-model", (1,), (1,))
    assert model.config.origin == f"file:{path}"
    assert model.config.data == TINY
    assert resolve_model("o/My-Model", config_file=path).slug == "my-model"
    # Serving sizes are the catalogue's where it has this model, by name and class.
    assert resolve_model("llama-3.1-70b", config_file=path).tp == (4,)
    assert resolve_model("deepseek-v3", config_file=path).tp == (1,)
    assert resolve_model("deepseek_v2", config_file=path).slug == "deepseek_v2"
    with pytest.raises(UsageError, match="not a name"):
        resolve_model("///", config_file=path)
    with pytest.raises(UsageError, match="from a file or from the Hub"):
        resolve_model("x", config_file=path, hf_repo_id="o/x")


def test_a_config_as_data() -> None:
    model = resolve_model("tiny", config_file=TINY)
    assert (model.config.origin, model.architecture) == ("given", "LlamaForCausalLM")
    assert model.config.data is not TINY
    with pytest.raises(ConfigError, match="hidden_size"):
        resolve_model("tiny", config_file={**TINY, "hidden_size": 0})


def test_configs_are_copies() -> None:
    first = resolve_model("llama").config.data
    assert isinstance(first, dict)
    first["rope_scaling"]["factor"] = 1
    assert resolve_model("llama").config.data["rope_scaling"]["factor"] == 8.0


def test_inferred_facts_are_said_to_be() -> None:
    model = resolve_model("qwen3-30b-a3b-nvfp4")
    assert "inferred" in model.notes[0]
    quantization = model.config.data["quantization_config"]
    assert quantization["quant_algo"] == "NVFP4"
    assert "lm_head" in quantization["ignore"]
    assert resolve_model("llama").notes == ()


def test_what_is_no_hub_id() -> None:
    with pytest.raises(UsageError, match="not a Hub id"):
        resolve_model("../config.json")
    with pytest.raises(UsageError, match="not a Hub id"):
        resolve_model("llama", hf_repo_id="llama")


def test_a_launch_line_names_its_source_or_is_a_default() -> None:
    lines = {entry.slug: entry.launch_source for entry in catalogue()}
    assert lines["deepseek-v3"].startswith("SGLang's documentation")
    assert lines["llama-3.1-8b"].startswith("fibcore's default")
    assert all(lines.values())
