"""Mistral's own `params.json`, as SGLang's adapter reads it.

Mistral's checkpoints come with a `params.json` beside (or instead of) `config.json`. SGLang
translates it (`srt/utils/mistral_utils.py`, `srt/utils/hf_transformers/mistral_utils.py`); the same
translation is made here, key by key, so that every number can still say which of Mistral's keys it
is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import attrs

from fibcore.configs.checks import LIMITS
from fibcore.errors import ConfigError

FILE = "params.json"
QUANTIZATION = "quantization"
"""The key under which it says how weights are stored."""

_NAMES = {
    "dim": "hidden_size",
    "norm_eps": "rms_norm_eps",
    "n_kv_heads": "num_key_value_heads",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "activation": "hidden_act",
    "tied_embeddings": "tie_word_embeddings",
}
_USUAL = {
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "max_seq_len": 128_000,
    "max_position_embeddings": 128_000,
}
_MLA = ("q_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "kv_lora_rank", "v_head_dim")
_LARGE_EXPERTS = {
    "route_every_n": "moe_layer_freq",
    "first_k_dense_replace": "first_k_dense_replace",
    "num_experts_per_tok": "num_experts_per_tok",
    "num_experts": "n_routed_experts",
    "expert_hidden_dim": "moe_intermediate_size",
    "routed_scale": "routed_scaling_factor",
    "num_shared_experts": "n_shared_experts",
    "num_expert_groups": "n_group",
    "num_expert_groups_per_tok": "topk_group",
}
_EXPERTS = {"num_experts": "num_local_experts", "num_experts_per_tok": "num_experts_per_tok"}
_YARN = {
    "factor": "factor",
    "original_max_position_embeddings": "original_max_position_embeddings",
    "beta": "beta_fast",
    "alpha": "beta_slow",
    "apply_scale": "apply_yarn_scaling",
}
_WHISPER = {
    "dim": "d_model",
    "n_layers": "encoder_layers",
    "hidden_dim": "encoder_ffn_dim",
    "n_heads": "encoder_attention_heads",
    "vocab_size": "vocab_size",
    "max_source_positions": "max_source_positions",
}
_AUDIO_ENCODING = ("num_mel_bins", "window_size", "sampling_rate", "hop_length")


@attrs.frozen
class Translated:
    """A params.json in the form of config.json.

    Attributes:
        data: The config.
        origins: Where each key of it came from, by its dotted path: `params.json:dim`, or
            `default:params.json.KEY` for what the adapter fills in.
        notes: What the user should know.
    """

    data: dict[str, Any]
    origins: dict[str, str]
    notes: tuple[str, ...] = ()


def is_params(data: Mapping[str, Any]) -> bool:
    """Whether a file's content is of Mistral's form and not of transformers'."""
    return {"dim", "n_layers", "n_heads"} <= set(data) and "architectures" not in data


def wants_params(name: str) -> bool:
    """Whether SGLang reads a checkpoint of this name by its params.json alone."""
    lower = name.lower()
    large = ("mistral-large-3", "mistral-small-4", "leanstral")
    return any(word in lower for word in large) or ("eagle" in lower and "mistral" in lower)


def translate(params: Mapping[str, Any], name: str, where: str) -> Translated:
    """A params.json as the config that SGLang serves.

    Args:
        params: The file's content.
        name: The checkpoint's name or path; draft models have "eagle" in it.
        where: The file, for errors.

    Raises:
        ConfigError: a part that SGLang does not read.
    """
    return _Adapter(params, name, where).result()


class _Adapter:
    """One translation, key by key, as SGLang's adapter does it."""

    def __init__(self, params: Mapping[str, Any], name: str, where: str) -> None:
        self.rest = copy.deepcopy(dict(params))
        self.eagle = "eagle" in name.lower()
        self.where = where
        self.config: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.notes: tuple[str, ...] = ()

    def result(self) -> Translated:
        """The translation."""
        for key in ("multimodal", "vision_encoder", "moe", QUANTIZATION, "yarn"):
            self._object(self.rest, key)
        multimodal = self.rest.get("multimodal") or {}
        vision = self._object(multimodal, "vision_encoder_args") or self.rest.get("vision_encoder")
        audio = self._object(multimodal, "whisper_model_args")
        parts = {k: self.rest.pop(k, None) for k in ("multimodal", "vision_encoder")}
        experts = self.rest.pop("moe", None) or {}
        self._general()
        self._quantization()
        self._architecture(experts)
        self._yarn()
        self._windows()
        if vision:
            key = "multimodal" if parts["multimodal"] else "vision_encoder"
            inner = {"model_type": "pixtral", **parts[key]}
            self._nest("PixtralForConditionalGeneration", "pixtral", "vision_config", inner, key)
        elif audio:
            self._audio(audio)
        return Translated(self.config, self.origins, self.notes)

    def _object(self, data: Mapping[str, Any], key: str) -> dict[str, Any] | None:
        """The object under a key, None where there is none.

        Raises:
            ConfigError: it is something else.
        """
        value = data.get(key)
        if value is None or isinstance(value, dict):
            return value
        raise ConfigError(
            "not a value that the key can have",
            where=f"{self.where}: {key}",
            expected="an object",
            found=f"{type(value).__name__} {value!r}"[:100],
        )

    def _take(self, key: str, value: Any, origin: str) -> None:
        self.config[key] = value
        self.origins[key] = origin

    def _own(self, key: str, value: Any) -> None:
        """Set a key to a value of the adapter's own."""
        self._take(key, value, f"default:{FILE}.{key}")

    def _general(self) -> None:
        for key, value in self.rest.items():
            if key not in ("quantization", "yarn"):
                self._take(_NAMES.get(key, key), value, f"{FILE}:{key}")
        for key, value in _USUAL.items():
            if self.config.get(key) is None:
                self._own(key, value)

    def _quantization(self) -> None:
        section = self.rest.get("quantization")
        if not section:
            return
        scheme = section.get("qscheme_act")
        known = scheme in (None, "TENSOR", "NO_SCALES")
        if section.get("qformat_weight") != "fp8_e4m3" or not known:
            raise ConfigError(
                "a quantisation that SGLang does not read from params.json",
                where=f"{self.where}: quantization",
                expected='"qformat_weight": "fp8_e4m3" with "qscheme_act" TENSOR or NO_SCALES',
                found=repr(dict(section))[:120],
            )
        activation = "dynamic" if scheme == "NO_SCALES" else "static"
        value = {"quant_method": "fp8", "activation_scheme": activation}
        self._take("quantization_config", value, f"{FILE}:quantization")

    def _architecture(self, experts: dict[str, Any]) -> None:
        large = (experts.get("num_shared_experts") or 0) > 0
        mla = any(self.config.get(k) is not None for k in _MLA)
        suffix = "Eagle" if self.eagle else ""
        if large or (self.eagle and mla and not experts):
            self._own("architectures", [f"MistralLarge3ForCausalLM{suffix}"])
            self._own("model_type", "deepseek_v3")
            if large:
                self._large(experts)
            else:
                self._dense_draft()
            return
        for key in _MLA:
            if self.config.get(key) is None:
                self.config.pop(key, None)
        if experts:
            self._own("architectures", ["MixtralForCausalLM"])
            self._own("model_type", "mixtral")
            self._experts(experts, _EXPERTS)
            note = "SGLang reads models like this by their config.json alone; the keys of "
            self.notes = (f"{note}{FILE} are taken for those that it has there",)
            return
        self._own("architectures", [f"MistralForCausalLM{suffix}"])
        self._own("model_type", "mistral")
        self._own("rope_is_neox_style", False)

    def _experts(self, experts: Mapping[str, Any], names: Mapping[str, str]) -> None:
        for key, value in experts.items():
            self._take(names.get(key, key), value, f"{FILE}:moe.{key}")

    def _large(self, experts: Mapping[str, Any]) -> None:
        scaling = self.config.get("llama_4_scaling")
        needed = {"original_max_position_embeddings", "beta"}
        if not isinstance(scaling, Mapping) or not needed <= set(scaling):
            raise ConfigError(
                "a needed key is missing",
                where=f"{self.where}: llama_4_scaling",
                expected="an object with original_max_position_embeddings and beta",
                found="nothing" if scaling is None else repr(scaling)[:80],
            )
        self._experts(experts, _LARGE_EXPERTS)
        self._routing()

    def _dense_draft(self) -> None:
        """A draft model with MLA and no experts: all its layers are dense."""
        for key, value in (
            ("n_routed_experts", 1),
            ("first_k_dense_replace", self.config.get("num_hidden_layers", 0)),
            ("moe_layer_freq", 1),
            ("n_shared_experts", 0),
            ("n_group", 1),
            ("topk_group", 1),
            ("num_experts_per_tok", 1),
            ("moe_intermediate_size", 1),
            ("routed_scaling_factor", 1.0),
        ):
            self._own(key, value)
        self._routing()

    def _routing(self) -> None:
        self._own("topk_method", None)
        self._own("scoring_func", "softmax")
        self._own("routing_method_type", 1)

    def _yarn(self) -> None:
        settings = dict(self.rest.get("yarn") or {})
        if not settings:
            return
        unread = sorted(set(settings) - set(_YARN))
        if unread:
            raise ConfigError(
                "RoPE settings that SGLang does not read from params.json",
                where=f"{self.where}: yarn.{unread[0]}",
                expected="one of " + ", ".join(_YARN),
                found=", ".join(unread),
            )
        value = {"rope_type": "deepseek_yarn", "mscale_all_dim": 1}
        if "rope_theta" in self.config:
            value["rope_theta"] = self.config["rope_theta"]
        self._take("rope_scaling", value, f"{FILE}:yarn")
        for key, setting in settings.items():
            value[_YARN[key]] = setting
            self.origins[f"rope_scaling.{_YARN[key]}"] = f"{FILE}:yarn.{key}"

    def _windows(self) -> None:
        """A window for each layer of a pattern; null stands for full attention."""
        windows = self.config.get("sliding_window")
        if not isinstance(windows, list) or not windows:
            return
        layers = self.config.get("num_hidden_layers")
        # Another number of layers is refused later.
        most = LIMITS["num_hidden_layers"]
        times = layers // len(windows) if isinstance(layers, int) and layers <= most else 1
        kinds = ["full_attention" if w is None else "sliding_attention" for w in windows * times]
        self._take("layer_types", kinds, f"{FILE}:sliding_window")
        self.config["sliding_window"] = next((w for w in windows if w), None)

    def _nest(
        self, architecture: str, model_type: str, key: str, inner: dict[str, Any], origin: str
    ) -> None:
        """Make the language model the `text_config` of a model with another part."""
        text = self.config
        quantized = text.get("quantization_config")
        self.origins = {f"text_config.{k}": v for k, v in self.origins.items()}
        self.config = {"text_config": text, key: inner}
        for name in inner:
            self.origins[f"{key}.{name}"] = f"{FILE}:{origin}.{name}"
        self._own("architectures", [architecture])
        self._own("model_type", model_type)
        if quantized:
            self._take("quantization_config", quantized, f"{FILE}:quantization")

    def _audio(self, audio: Mapping[str, Any]) -> None:
        encoder = self._object(audio, "encoder_args") or {}
        inner: dict[str, Any] = {"model_type": "whisper", "is_encoder_decoder": False}
        for key, name in _WHISPER.items():
            if key in encoder:
                inner[name] = encoder[key]
        encoding = self._object(encoder, "audio_encoding_args") or {}
        inner.update({k: encoding[k] for k in _AUDIO_ENCODING if k in encoding})
        factor = (self._object(audio, "downsample_args") or {}).get("downsample_factor")
        if factor is not None:
            inner["downsample_factor"] = factor
        origin = "multimodal.whisper_model_args"
        self._nest("VoxtralForConditionalGeneration", "voxtral", "audio_config", inner, origin)
