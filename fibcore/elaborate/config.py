"""The model's config as the source sees it: attributes with defaults of its config class.

Values remember where they came from: `config:<key>` for what `config.json` says, `default:<key>`
for what a config class fills in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.values import ABSENT, Class, Namespace, Native, Obj, Raised
from fibcore.tree import Unknown, with_origins

if TYPE_CHECKING:
    from fibcore.elaborate.evaluator import Evaluator

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
_PLAIN_DICTS = {"quantization_config", "compression_config", "auto_map", "task_specific_params"}
_MODEL_TYPE = re.compile(r"^\s+model_type(?:\s*:[^=]+)?\s*=\s*[\"']([\w.-]+)[\"']", re.MULTILINE)


class ConfigBuilder:
    """Makes config values for one elaboration."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.ev = evaluator
        self._classes: dict[str, tuple[str, str]] | None = None

    def build(self, data: Mapping[str, Any], path: str = "") -> Namespace:
        """The config object for `config.json`'s data (or for a nested config at `path`)."""
        values = {key: self._value(item, _join(path, key), key) for key, item in data.items()}
        model_type = data.get("model_type")
        self._rope(values, path)
        values["\0classes"] = _class_names(model_type)
        config = Namespace("config" if not path else f"config.{path}", values)
        instance = self._instance(model_type, values) if isinstance(model_type, str) else None

        def missing(name: str) -> Any:
            method = self._method(config, name)
            if method is not ABSENT:
                return method
            if instance is not None:
                found = self.ev.find_attr(instance, name, instance.place or self.ev.nowhere)
                if found is not ABSENT and not _from_base_class(found):
                    return with_origins(found, frozenset((f"default:{_join(path, name)}",)))
            if name in _BASE_DEFAULTS:
                return with_origins(
                    _BASE_DEFAULTS[name], frozenset((f"default:{_join(path, name)}",))
                )
            return ABSENT

        config.fallback = missing
        return config

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
                plain = scaling.get("rope_type", "default") == "default"
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
            values["rope_parameters"] = joined

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

    # -- config classes of the source ----------------------------------------------------------

    def _instance(self, model_type: str, values: dict[str, Any]) -> Obj | None:
        """An instance of SGLang's own config class for this model type, where it has one."""
        where = self._config_classes().get(model_type)
        if where is None:
            return None
        module, name = where
        space = self.ev.space(module)
        cls = None if space is None else self.ev.module_name(space, name)
        if not isinstance(cls, Class):
            return None
        given = {k: v for k, v in values.items() if k[0] != "\0"}
        obj = Obj(cls, cls.place)
        obj.attrs.update(given)
        init = self.ev.class_attr(cls, "__init__")
        try:
            if init is not ABSENT:
                spec = init.node.args
                names = {a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)}
                accepted = {k: v for k, v in given.items() if k in names or spec.kwarg is not None}
                self.ev.call_function(init, [obj], accepted, cls.place)
            else:
                fields = self.ev._record_fields(cls) or {}
                for field, source in fields.items():
                    if field not in obj.attrs and source is not ABSENT:
                        obj.attrs[field] = self.ev.field_default(source, cls.place)
        except Raised as error:
            self.ev.notes.append(
                Unknown(
                    f"config class {cls.name} raised {error.kind}: {error.message}", error.place
                )
            )
        for key, value in given.items():
            # The file's word stands, unless the class made an object of it.
            if not isinstance(obj.attrs.get(key), (Obj, Namespace)):
                obj.attrs[key] = value
        values["\0classes"] |= {c.name.rpartition(".")[2].lower() for c in cls.mro}
        return obj

    def _config_classes(self) -> dict[str, tuple[str, str]]:
        """SGLang's config classes by model type: module and class name."""
        if self._classes is None:
            self._classes = {}
            folder = self.ev.index.root / "srt" / "configs"
            for path in sorted(folder.glob("*.py")):
                module = self.ev.index.module(f"{self.ev.index.package}.srt.configs.{path.stem}")
                if module is None or "model_type" not in module.text:
                    continue
                for statement in module.statements:
                    if statement.names is None:
                        continue
                    match = _MODEL_TYPE.search(statement._text)
                    if match and statement._text.lstrip().startswith(("class", "@")):
                        name = next(iter(statement.names), None)
                        if name is not None:
                            self._classes.setdefault(match.group(1), (module.name, name))
        return self._classes


def _from_base_class(found: Any) -> bool:
    return isinstance(found, Unknown) and "perhaps of a base class" in found.reason


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _class_names(model_type: Any) -> set[str]:
    """Names (lower case) of the config classes that a model type's config is an instance of."""
    names = {"pretrainedconfig"}
    if isinstance(model_type, str):
        camel = "".join(part for part in re.split(r"[_.-]", model_type))
        names.add(f"{camel}config".lower())
    return names
