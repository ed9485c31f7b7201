"""The model's config as the source sees it: attributes with defaults of its config class.

Values remember where they came from: `config:<key>` for what `config.json` says, `default:<key>`
for what a config class fills in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.class_defaults import ConfigClasses, transformers_classes
from fibcore.elaborate.values import ABSENT, Class, Namespace, Native
from fibcore.tree import SourcePlace, with_origins

if TYPE_CHECKING:
    from fibcore.elaborate.evaluator import Evaluator
    from fibcore.sources.tree import SourceTree

# Attributes that transformers' base class of configs gives to every config
# (transformers.PretrainedConfig, huggingface.co/docs/transformers/main_classes/configuration).
_BASE_DEFAULTS: dict[str, Any] = {
    "add_cross_attention": False,
    "architectures": None,
    "bos_token_id": None,
    "chunk_size_feed_forward": 0,
    "cross_attention_hidden_size": None,
    "decoder_start_token_id": None,
    "dtype": None,
    "eos_token_id": None,
    "is_decoder": False,
    "is_encoder_decoder": False,
    "name_or_path": "",
    "num_labels": 2,
    "output_attentions": False,
    "output_hidden_states": False,
    "pad_token_id": None,
    "problem_type": None,
    "return_dict": True,
    "sep_token_id": None,
    "tie_word_embeddings": True,
    "tokenizer_class": None,
    "torch_dtype": None,
    "torchscript": False,
    "use_return_dict": True,
}
_HERE = SourcePlace("config.json", 1)
_PLAIN_DICTS = {"quantization_config", "compression_config", "auto_map", "task_specific_params"}


class ConfigBuilder:
    """Makes config values for one elaboration.

    Args:
        evaluator: Elaborates SGLang's own config classes.
        transformers: Gives the source of the transformers release that this SGLang wants, or None
            where it cannot be had. Asked only when a key that the model cannot do without is
            neither in the file nor in a config class of SGLang.
    """

    def __init__(self, evaluator: Evaluator, transformers: Callable[[], SourceTree | None]) -> None:
        self.ev = evaluator
        self._own = ConfigClasses(evaluator, "srt/configs", "*.py")
        self._fetch = transformers
        self._foreign: ConfigClasses | None = None
        self._fetched = False

    def build(self, data: Mapping[str, Any], path: str = "") -> Namespace:
        """The config object for `config.json`'s data (or for a nested config at `path`)."""
        values = {key: self._value(item, _join(path, key), key) for key, item in data.items()}
        model_type = data.get("model_type")
        self._rope(values, path)
        values["\0classes"] = _class_names(model_type)
        config = Namespace("config" if not path else f"config.{path}", values)
        kind = model_type if isinstance(model_type, str) else None
        own = None if kind is None else self._own.instance(kind, values)
        if own is not None and isinstance(own.cls, Class):
            values["\0classes"] |= {c.name.rpartition(".")[2].lower() for c in own.cls.mro}

        def missing(name: str) -> Any:
            found = self._method(config, name)
            if found is not ABSENT:
                return found
            # SGLang's loader gives the keys of the text model to the whole model.
            text = values.get("text_config")
            if isinstance(text, Namespace):
                found = self.ev.find_attr(text, name, _HERE)
                if found is not ABSENT and found is not None:
                    return found
            origin = frozenset((f"default:{_join(path, name)}",))
            if own is not None:
                found = self._own.attribute(own, name)
                if found is not ABSENT:
                    return _tagged(found, origin)
            if name in _BASE_DEFAULTS:
                return with_origins(_BASE_DEFAULTS[name], origin)
            if kind is not None and not self.ev.probing:
                return _tagged(self._from_transformers(kind, values, name), origin)
            return ABSENT

        config.fallback = missing
        return config

    def _from_transformers(self, kind: str, values: dict[str, Any], name: str) -> Any:
        """A key as the model's class in transformers defaults or computes it."""
        if not self._fetched:
            self._fetched = True
            source = self._fetch()
            if source is not None:
                self._foreign = transformers_classes(source, self.ev.environment)
        if self._foreign is None:
            return ABSENT
        obj = self._foreign.instance(kind, values)
        return ABSENT if obj is None else self._foreign.attribute(obj, name)

    def _value(self, item: Any, path: str, key: str) -> Any:
        if isinstance(item, dict):
            if key.endswith("_config") and key not in _PLAIN_DICTS:
                return self.build(item, path)
            return {k: self._value(v, _join(path, str(k)), str(k)) for k, v in item.items()}
        if isinstance(item, list):
            return [self._value(v, path, "") for v in item]
        return with_origins(item, frozenset((f"config:{path}",)))

    def _rope(self, values: dict[str, Any], path: str) -> None:
        """RoPE settings under the names of the transformers release that the source expects.

        transformers 5 keeps `rope_theta` and `rope_scaling` together as `rope_parameters`; configs
        of either form are read by sources of either kind.
        """
        parameters = values.get("rope_parameters")
        if isinstance(parameters, dict):
            nested = any(isinstance(v, dict) for v in parameters.values())
            if not nested:
                if "rope_theta" in parameters:
                    values.setdefault("rope_theta", parameters["rope_theta"])
                scaling = {k: v for k, v in parameters.items() if k != "rope_theta"}
                plain = set(scaling) <= {"rope_type", "type"} and (
                    scaling.get("rope_type", "default") == "default"
                )
                if self.ev.environment.transformers_major >= 5:
                    values.setdefault("rope_scaling", parameters)
                else:
                    values.setdefault("rope_scaling", None if plain else scaling)
        elif self.ev.environment.transformers_major >= 5 and "rope_theta" in values:
            joined: dict[str, Any] = {"rope_theta": values["rope_theta"]}
            scaling_value = values.get("rope_scaling")
            if isinstance(scaling_value, dict):
                joined.update(scaling_value)
                if "type" in scaling_value:
                    joined.setdefault("rope_type", scaling_value["type"])
            joined.setdefault("rope_type", "default")
            if "partial_rotary_factor" in values:
                joined.setdefault("partial_rotary_factor", values["partial_rotary_factor"])
            local = values.get("rope_local_base_freq")
            if local is not None:  # two kinds of layers, each with settings of its own
                joined = {
                    "full_attention": joined,
                    "sliding_attention": {"rope_theta": local, "rope_type": "default"},
                }
            values["rope_parameters"] = joined
            values.setdefault("rope_scaling", joined)
        if "rope_theta" in values:
            values.setdefault("rope_scaling", None)

    def _method(self, config: Namespace, name: str) -> Any:
        """Methods that every config has."""
        values = config.values
        if name == "get_text_config":

            def text(ev: Any, args: Any, kwargs: Any, place: Any) -> Any:
                for key in ("text_config", "llm_config", "language_config", "thinker_config"):
                    inner = values.get(key)
                    if isinstance(inner, Namespace):
                        if key == "thinker_config" and isinstance(
                            inner.values.get("text_config"), Namespace
                        ):
                            return inner.values["text_config"]
                        return inner
                return config

            return Native(name, text)
        if name == "to_dict":
            return Native(name, lambda *_: {k: v for k, v in values.items() if k[0] != "\0"})
        if name == "update":

            def update(ev: Any, args: Any, kwargs: Any, place: Any) -> Any:
                for key, value in (args[0] if args and isinstance(args[0], dict) else {}).items():
                    ev.put(values, key, value)

            return Native(name, update)
        if name == "get":
            return Native(
                name,
                lambda ev, args, kwargs, place: values.get(
                    args[0], args[1] if len(args) > 1 else kwargs.get("default")
                ),
            )
        return ABSENT


def _tagged(value: Any, origins: frozenset[str]) -> Any:
    """A default with its origin, lists item by item."""
    if isinstance(value, (list, tuple)):
        return type(value)(_tagged(v, origins) for v in value)
    return with_origins(value, origins)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _class_names(model_type: Any) -> set[str]:
    """Names (lower case) of the config classes that a model type's config is an instance of."""
    names = {"pretrainedconfig"}
    if isinstance(model_type, str):
        camel = "".join(part for part in re.split(r"[_.-]", model_type))
        names.add(f"{camel}config".lower())
    return names
