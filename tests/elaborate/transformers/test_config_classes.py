"""Config objects as the classes of transformers and of SGLang make them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.index import SourceIndex
from fibcore.elaborate.python.values import Ext
from fibcore.elaborate.sglang.config_loading import load_config
from fibcore.elaborate.sglang.environment import Environment
from fibcore.elaborate.sglang.own_classes import OwnClasses
from fibcore.elaborate.sglang.shims import SHIMS
from fibcore.elaborate.transformers.class_tables import (
    shipped_table,
    shipped_versions,
    table_text,
)
from fibcore.elaborate.transformers.config import ConfigBuilder
from fibcore.elaborate.transformers.config_object import ConfigObject, from_file
from fibcore.errors import ConfigError
from fibcore.model.serving import Serving
from fibcore.model.tree import Unknown, origins_of

VERSIONS = ("4.57.1", "5.19.0")


def builder(version: str, root: Path) -> ConfigBuilder:
    (root / "srt" / "configs").mkdir(parents=True, exist_ok=True)
    environment = Environment(Serving(), "0.5.9" if version[0] == "4" else "0.5.23", SHIMS)
    ev = Evaluator(SourceIndex(root), environment)
    return ConfigBuilder(ev, shipped_table(version), "sglang x", OwnClasses(ev))


@pytest.fixture(params=VERSIONS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., ConfigObject]:
    """A function from a file's keys to the config object of a release's class."""
    made = builder(request.param, tmp_path / "sglang")
    return lambda kind, **keys: load_config(made, {"model_type": kind, **keys})


def value(config: Any, path: str) -> Any:
    for name in path.split("."):
        found = config.values.get(config.key(name))
        config = config.fallback(name) if found is None else found
    return config


@pytest.mark.parametrize(
    ("kind", "keys", "expected"),
    [
        ("llama", {"hidden_size": 64, "num_attention_heads": 4}, {"head_dim": 16}),
        ("llama", {"num_attention_heads": 4}, {"num_key_value_heads": 4, "rms_norm_eps": 1e-6}),
        ("qwen3", {"hidden_size": 64}, {"head_dim": 128, "num_key_value_heads": 32}),
        ("qwen2", {"sliding_window": 512}, {"sliding_window": None}),
        ("qwen2", {"sliding_window": 512, "use_sliding_window": True}, {"sliding_window": 512}),
        (
            "gpt_oss",
            {"num_hidden_layers": 2},
            {"layer_types": ["sliding_attention", "full_attention"], "num_local_experts": 128},
        ),
        ("gpt2", {"n_embd": 32}, {"hidden_size": 32, "num_attention_heads": 12}),
        (
            "gemma3",
            {"text_config": {"num_hidden_layers": 6}},
            {
                "text_config.layer_types": ["sliding_attention"] * 5 + ["full_attention"],
                "text_config.hidden_size": 2304,
                "vision_config.num_attention_heads": 12,
            },
        ),
        (
            "llava",
            {"text_config": {"model_type": "qwen2", "num_attention_heads": 14}},
            {"text_config.num_attention_heads": 14, "text_config.hidden_act": "silu"},
        ),
        (
            "qwen2_5_omni",
            {"thinker_config": {"text_config": {"num_hidden_layers": 3}}},
            {
                "thinker_config.text_config.num_hidden_layers": 3,
                "thinker_config.text_config.hidden_size": 3584,
                "talker_config.head_dim": 128,
            },
        ),
        ("mixtral", {}, {"num_local_experts": 8, "sliding_window": None}),
        ("deepseek_v3", {}, {"kv_lora_rank": 512, "qk_head_dim": 192, "n_routed_experts": 256}),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_the_class_makes_of_a_file(
    make: Callable[..., ConfigObject], kind: str, keys: dict[str, Any], expected: dict[str, Any]
) -> None:
    config = make(kind, **keys)
    assert {path: value(config, path) for path in expected} == expected


def test_rope_settings_of_either_generation(make: Callable[..., ConfigObject]) -> None:
    old = make("llama", rope_theta=5e5, rope_scaling={"rope_type": "yarn", "factor": 4.0})
    new = make("llama", rope_parameters={"rope_theta": 5e5, "rope_type": "yarn", "factor": 4.0})
    for config in (old, new):
        assert value(config, "rope_scaling")["factor"] == 4.0
        assert value(config, "rope_theta") == 5e5
    plain = make("llama", rope_parameters={"rope_theta": 7e5, "rope_type": "default"})
    assert value(plain, "rope_theta") == 7e5


def test_a_dtype_of_either_name(make: Callable[..., ConfigObject]) -> None:
    for key in ("dtype", "torch_dtype"):
        config = make("llama", **{key: "bfloat16"})
        for name in ("dtype", "torch_dtype"):
            found = value(config, name)
            assert isinstance(found, Ext)
            assert found.name == "torch.bfloat16"


def test_origins_of_file_class_and_both(make: Callable[..., ConfigObject]) -> None:
    config = make("llama", hidden_size=64, num_attention_heads=4)
    release = config.label.partition(" ")[2]
    assert origins_of(value(config, "hidden_size")) == {"config:hidden_size"}
    assert origins_of(value(config, "vocab_size")) == {f"default:LlamaConfig.vocab_size {release}"}
    assert origins_of(value(config, "head_dim")) == {
        "config:hidden_size",
        "config:num_attention_heads",
        f"default:LlamaConfig.head_dim {release}",
    }


def test_the_language_models_keys_serve_the_whole(make: Callable[..., ConfigObject]) -> None:
    config = make("gemma3", text_config={"num_hidden_layers": 6, "hidden_size": 96})
    assert value(config, "hidden_size") == 96
    assert origins_of(value(config, "hidden_size")) == {"config:text_config.hidden_size"}


def test_a_word_where_a_number_should_be(make: Callable[..., ConfigObject]) -> None:
    with pytest.raises(ConfigError) as caught:
        make("gemma3", text_config={"query_pre_attn_scalar": "256"})
    message = str(caught.value)
    for part in ("text_config.query_pre_attn_scalar", "a number", "256", "Gemma3TextConfig"):
        assert part in message


def test_a_model_type_that_nobody_knows_keeps_the_files_keys(
    make: Callable[..., ConfigObject],
) -> None:
    config = make("brand_new", depth=3, text_config={"model_type": "llama", "hidden_size": 8})
    assert value(config, "depth") == 3
    assert value(config, "text_config.rms_norm_eps") == 1e-6
    # What every config had up to transformers 4.
    assert value(make("brand_new", depth=3), "tie_word_embeddings") is True


def test_an_original_mamba_checkpoint(make: Callable[..., ConfigObject]) -> None:
    keys = {"d_model": 64, "n_layer": 2, "ssm_cfg": {}, "vocab_size": 50277}
    config = make("", **keys, pad_vocab_size_multiple=8)
    assert (value(config, "hidden_size"), value(config, "vocab_size")) == (64, 50280)


def test_sglangs_class_on_top_of_one_of_transformers(tmp_path: Path) -> None:
    root = tmp_path / "sglang"
    made = builder("5.19.0", root)
    (root / "srt" / "configs" / "mine.py").write_text(
        "from transformers import AutoConfig, PretrainedConfig, Qwen3MoeConfig, CONFIG_MAPPING\n"
        "class MineText(Qwen3MoeConfig):\n"
        "    model_type = 'mine_text'\n"
        "    extra: int = 5\n"
        "    def __post_init__(self, **kwargs):\n"
        "        window = self.sliding_window\n"
        "        super().__post_init__(**kwargs)\n"
        "        self.sliding_window = window\n"
        "class Mine(PretrainedConfig):\n"
        "    model_type = 'mine'\n"
        "    def __init__(self, text_config=None, tower=None, **kwargs):\n"
        "        self.text_config = MineText(**(text_config or {}))\n"
        "        self.tower = CONFIG_MAPPING[tower['model_type']](**tower)\n"
        "        self.other = AutoConfig.for_model('llama', hidden_size=12)\n"
        "        super().__init__(**kwargs)\n"
        "    @property\n"
        "    def doubled(self):\n"
        "        return 2 * self.text_config.num_experts\n"
    )
    data = {
        "model_type": "mine",
        "text_config": {"num_experts": 4, "sliding_window": 64},
        "tower": {"model_type": "siglip_vision_model", "hidden_size": 48},
        "left": 1,
    }
    config = load_config(made, data)
    assert config.label == "Mine (sglang x)"
    assert value(config, "text_config.extra") == 5
    assert value(config, "text_config.sliding_window") == 64  # the base class would drop it
    assert value(config, "text_config.moe_intermediate_size") == 768
    assert value(config, "doubled") == 8
    assert value(config, "tower.num_attention_heads") == 12
    assert value(config, "other.rms_norm_eps") == 1e-6
    assert value(config, "left") == 1


def test_every_record_of_the_tables_gives_an_object(tmp_path: Path) -> None:
    for version in VERSIONS:
        made = builder(version, tmp_path / "sglang")
        table = shipped_table(version)
        assert len(table.names) > 500
        for kind, name in table.model_types.items():
            facts = table.find(name)
            if facts is not None:
                assert made.make(facts, {"model_type": kind}).label.startswith(name)


def test_tables_are_shipped_for_what_supported_releases_pin() -> None:
    assert shipped_versions() == list(VERSIONS)


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


def test_records_agree_with_the_real_classes(tmp_path: Path) -> None:
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
    if version not in VERSIONS:
        pytest.skip(f"transformers {version} is installed, and the tables hold {VERSIONS}")
    made = builder(version, tmp_path / "sglang")
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


@pytest.mark.parametrize("version", VERSIONS)
def test_the_tables_are_what_the_sources_give(version: str) -> None:
    """The cache of an earlier extraction is looked at; nothing is fetched for this."""
    import os

    from fibcore.elaborate.transformers import class_tables
    from fibcore.sources.folders import cache_root

    folders = [
        path
        for path in (cache_root() / "sources").glob(f"transformers-*{version}*/*/*")
        if (path / "transformers" / "configuration_utils.py").is_file()
    ] + [Path(p) for p in os.environ.get("FIBCORE_TRANSFORMERS", "").split(os.pathsep) if p]
    roots = [f / "transformers" for f in folders if version in str(f)]
    if not roots:
        pytest.skip(f"the source of transformers {version} is not in the cache")
    shipped = Path(class_tables.__file__).parent / "config_tables"
    text = (shipped / f"transformers-{version}.jsonl").read_text(encoding="utf-8")
    assert table_text(roots[0]) == text


def test_a_vision_config_that_names_the_type_of_a_whole_model(made: Any) -> None:
    # Files of MiniCPM-V call the vision tower of Siglip by the model type of all of it.
    found = made.attributes(
        "self.x = (config.vision_config.num_channels, config.vision_config.hidden_size)",
        config={
            "model_type": "unheard-of",
            "vision_config": {"model_type": "siglip", "hidden_size": 1152},
        },
    )["x"]
    assert found == (3, 1152)


@pytest.mark.parametrize("own", [True, False])
def test_rope_of_a_file_for_a_class_of_its_repository(made: Any, own: bool) -> None:
    # transformers' class keeps settings for each kind of layer; the repository's has one of all.
    file = {"model_type": "mimo_v2_flash", "rope_theta": 5e6, "num_hidden_layers": 2}
    if own:
        file["auto_map"] = {"AutoConfig": "configuration_mimo_v2_flash.MiMoV2FlashConfig"}
    found = made.attributes("self.x = config.rope_scaling", config=file, version="0.5.23")["x"]
    assert (found.get("rope_theta"), "sliding_attention" in found) == (
        (5e6, False) if own else (None, True)
    )
