"""The model's config as the source sees it: the object that SGLang's loader would make of the file.

Keys that the file has not got are those of the model's config class, of SGLang's own
(`srt/configs`) or of transformers. Values remember where they came from: `config:<key>` for what
`config.json` says, `default:<class>.<key> (<package> <version>)` for what a class fills in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from fibcore.elaborate.python.values import (
    ABSENT,
    Absent,
    Class,
    Ext,
    Func,
    Namespace,
    Native,
    Raised,
)
from fibcore.elaborate.transformers.class_defaults import Instances, Table, check_types
from fibcore.elaborate.transformers.class_facts import BASE_NAMES, ClassFacts
from fibcore.elaborate.transformers.config_object import ConfigObject
from fibcore.elaborate.transformers.rope_keys import classic_keys, default_for_mrope
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_HERE = SourcePlace("config.json", 1)
_PLAIN_DICTS = {"quantization_config", "compression_config", "per_layer_config"}
# Names of a key in one generation of configs that another generation reads under another name.
_OTHER_NAMES = (("layers_block_type", "layer_types"),)
_MAPPINGS = (
    "transformers.CONFIG_MAPPING",
    "transformers.models.auto.CONFIG_MAPPING",
    "transformers.models.auto.configuration_auto.CONFIG_MAPPING",
)
# Model types whose files are those of another one, where no class has them
# (_load_deepseek_v32_model of SGLang 0.5.9).
_READ_AS = {"deepseek_v32": "deepseek_v3"}
# Attributes that a config class which is code of a model's repository takes from a key of another
# name (configuration_phi3_small.py of huggingface.co/microsoft/Phi-3-small-8k-instruct).
_REPOSITORY_NAMES = {"phi3small": {"intermediate_size": "ff_intermediate_size"}}
# What the base class of configs gave to every config up to transformers 4, which classes outside of
# SGLang and transformers still count on.
_USUAL: dict[str, Any] = {
    "add_cross_attention": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "is_decoder": False,
    "pad_token_id": None,
    "tie_word_embeddings": True,
    "torchscript": False,
}


class OwnClass(Protocol):
    """A config class that the source defines itself.

    Attributes:
        registered: Whether it is taken for the whole file, before transformers' own.
        forced: Whether it also replaces the one of transformers inside of other configs.
    """

    @property
    def registered(self) -> bool: ...
    @property
    def forced(self) -> bool: ...


class OwnClasses(Protocol):
    """The config classes that the source defines itself."""

    def find(self, model_type: str) -> OwnClass | None:
        """The class of a model type; None where the source defines none."""

    def load(self, own: Any) -> Class | None:
        """The class itself."""


class ConfigBuilder:
    """Makes config objects for one elaboration.

    Args:
        evaluator: Elaborates SGLang's own config classes.
        table: Gives the records of the transformers release that this SGLang wants, or None
            where they cannot be had.
        label: The source's release as reports name it, `sglang 0.5.23`.
        own: Config classes that the source defines itself.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        table: Callable[[], Table | None],
        label: str,
        own: OwnClasses,
    ) -> None:
        self.ev = evaluator
        self.own = own
        self._label = label
        found = table()
        self._instances = None if found is None else Instances(evaluator, found, self.make)
        # Properties of the base class of configs.
        self._synonyms = {"torch_dtype": "dtype"}
        if found is not None and found.major >= 5:
            self._synonyms["rope_scaling"] = "rope_parameters"

    def constants(self) -> dict[str, Any]:
        """Values of names of transformers that hold config classes."""
        mapping = _ModelTypes(self)
        return {name: Namespace("model types", mapping, mapping.other) for name in _MAPPINGS}

    @property
    def table(self) -> Table | None:
        """The records of transformers' config classes."""
        return None if self._instances is None else self._instances.table

    # -- by model type -------------------------------------------------------------------------

    def class_of(self, model_type: Any, *, top: bool) -> Class | ClassFacts | None:
        """The class that AutoConfig, or for the whole file SGLang's loader, takes."""
        if not isinstance(model_type, str):
            return None
        own = self.own.find(model_type)
        facts = None
        if self.table is not None:
            facts = self.table.of_type(model_type)
            if facts is None and own is None:
                facts = self.table.of_type(_READ_AS.get(model_type, ""))
        if own is not None and (facts is None or own.forced or (top and own.registered)):
            cls = self.own.load(own)
            if cls is not None:
                return cls
        return facts

    def automatic(self, given: dict[str, Any], name: str, *, top: bool = False) -> ConfigObject:
        """The config object for the class that `model_type` names."""
        found = self.class_of(given.get("model_type"), top=top)
        if isinstance(found, Class):
            return self.construct(found, given, name)
        return self.make(found, given, name)

    def make(
        self, facts: ClassFacts | None, given: Mapping[str, Any], name: str = "config"
    ) -> ConfigObject:
        """A config object of a class of transformers; of no known class where `facts` is None."""
        given = self._renamed(given, facts)
        names = [*BASE_NAMES]
        if facts is not None:
            names += [facts.name, *facts.bases]
            renamed = facts.renamed
        else:
            names += _class_names(given.get("model_type"))
            renamed = _REPOSITORY_NAMES.get(str(given.get("model_type")), {})
        shown = facts.name if facts is not None else BASE_NAMES[0]
        config = ConfigObject(
            name,
            cls=None,
            classes=names,
            renamed={**self._synonyms, **renamed},
            missing=lambda config, key: self._missing(config, key, facts),
            label=shown if self._instances is None else self._instances.label(shown),
        )
        if self._instances is None:
            config.values.update(given)
        elif facts is None:
            self._instances.base(config, given, {})
        else:
            check_types(given, facts, config.label)
            self._instances.fill(config, facts, given)
        self._wrap(config, known=facts is not None)
        return config

    def construct(self, cls: Class, given: Mapping[str, Any], name: str = "config") -> ConfigObject:
        """A config object of a class of SGLang's, by its own constructor."""
        facts = self._foreign_base(cls)
        given = self._renamed(given, facts)
        renamed = {**self._synonyms, **(facts.renamed if facts is not None else {})}
        own = self.ev.classes.attr(cls, "attribute_map")
        renamed.update(own if isinstance(own, dict) else {})
        names = [c.name.rpartition(".")[2] for c in cls.mro]
        names += [facts.name, *facts.bases] if facts is not None else []
        config = ConfigObject(
            name,
            cls=cls,
            classes=(*names, *BASE_NAMES),
            renamed=renamed,
            missing=lambda config, key: self._missing(config, key, facts),
            label=f"{cls.name} ({self._label})",
        )
        try:
            self._initialise(config, cls, facts, given)
        except Raised as error:
            self.ev.notes.append(
                Unknown(
                    f"config class {cls.name} raised {error.kind}: {error.message}", error.place
                )
            )
            for key, value in given.items():
                config.values.setdefault(config.key(key), value)
        for key, value in config.values.items():
            if isinstance(value, Unknown) and key in given:
                config.values[key] = given[key]  # the file's word, where the class's is not known
            elif not isinstance(value, ConfigObject):
                config.values[key] = config.default(key, value)
        self._wrap(config, known=True)
        return config

    def _initialise(
        self, config: ConfigObject, cls: Class, facts: ClassFacts | None, given: dict[str, Any]
    ) -> None:
        init = self.ev.classes.attr(cls, "__init__")
        if isinstance(init, Func):
            self.ev.calls.call_function(init, [config], given, cls.place)
            return
        rest = dict(given)
        if facts is not None and self._instances is not None:
            rest = self._instances.set_fields(config, facts, rest)
        for name, source in (self.ev.records.fields(cls) or {}).items():
            if name in given:
                config.values[config.key(name)] = given[name]
                rest.pop(name, None)
            elif not isinstance(source, Absent):
                value = self.ev.records.default(source, cls.place)
                config.values[config.key(name)] = config.default(name, value)
        post = self.ev.classes.attr(cls, "__post_init__")
        if isinstance(post, Func):
            self.ev.calls.call_function(post, [config], rest, cls.place)
        else:
            self.base_init(config, "__post_init__", rest)

    def base_init(self, config: ConfigObject, method: str, given: dict[str, Any]) -> None:
        """`super().__init__(**given)` of a class of SGLang's whose base class is transformers'."""
        if self._instances is None:
            for key, value in given.items():
                config.values.setdefault(config.key(key), value)
            return
        assert config.cls is not None
        facts = self._foreign_base(config.cls)
        if facts is None:
            constants = {
                name: found
                for name in ("default_theta",)
                if (found := self.ev.classes.attr(config.cls, name)) is not ABSENT
            }
            self._instances.base(config, given, constants)
        elif method == "__init__":
            self._instances.fill(config, facts, given)
        else:
            self._instances.run_steps(config, facts, given)

    def _foreign_base(self, cls: Class) -> ClassFacts | None:
        """The record of the nearest base class that transformers defines."""
        if self.table is None:
            return None
        for base in cls.mro:
            if isinstance(base, Ext) and base.name.startswith("transformers."):
                facts = self.table.find(base.name.rpartition(".")[2])
                if facts is not None:
                    return facts
        return None

    def external_call(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """A call of a name of transformers that makes a config; ABSENT for any other."""
        short = name.rpartition(".")[2]
        if name.endswith("AutoConfig.for_model"):
            kind = args[0] if args else kwargs.get("model_type")
            return self.automatic({**kwargs, "model_type": kind}, "config")
        if name.endswith(("AutoConfig.register", "register_for_auto_class")):
            return None
        owner = name.split(".")[-2] if "." in name else ""
        if short == "from_dict" and args and isinstance(args[0], dict):
            short, kwargs = owner, {**args[0], **kwargs}
        if short in BASE_NAMES:
            return self.make(None, kwargs)
        facts = self.table.find(short) if self.table is not None and not args else None
        return ABSENT if facts is None else self.make(facts, kwargs)

    # -- what every file needs ------------------------------------------------------------------

    def _renamed(self, given: Mapping[str, Any], facts: ClassFacts | None) -> dict[str, Any]:
        """The file's keys, also under the names that this generation of transformers reads."""
        result = dict(given)
        default_for_mrope(result)
        if self.table is None or self.table.major < 5:
            classic_keys(result)
            if "dtype" in result:
                result.setdefault("torch_dtype", result["dtype"])
        known = set(facts.fields) if facts is not None else set()
        for pair in _OTHER_NAMES:
            for mine, other in (pair, pair[::-1]):
                if mine in known and mine not in result and other in result and other not in known:
                    result[mine] = result[other]
        return result

    def _wrap(self, config: ConfigObject, *, known: bool) -> None:
        """Make objects of nested configs that the class left as plain data."""
        for key, value in list(config.values.items()):
            if not known and key.endswith("_configs") and isinstance(value, list):
                # Parts of a model, one by one; the class is code of the model's repository.
                config.values[key] = self._parts(value, f"{config.name}.{key}")
            if not isinstance(value, dict) or not key.endswith("_config") or key in _PLAIN_DICTS:
                continue
            if not all(isinstance(k, str) for k in value):
                continue
            name = f"{config.name}.{key}"
            if known:
                config.values[key] = self.make(None, value, name)
            else:
                part = self._part_of(value.get("model_type"), key)
                if part is not None and key not in value:
                    config.values[key] = self.make(part, value, name)
                else:
                    config.values[key] = self.automatic(value, name)

    def _part_of(self, model_type: Any, key: str) -> ClassFacts | None:
        """The class of a part, where a model type is the one of a model that has such a part.

        Files say `"vision_config": {"model_type": "siglip", ...}` for the vision tower alone.
        """
        whole = self.class_of(model_type, top=False)
        if self.table is None or not isinstance(whole, ClassFacts) or key not in whole.nested:
            return None
        return self.table.find(whole.nested[key])

    def _parts(self, value: Any, name: str) -> Any:
        """Objects in place of all dicts in plain data."""
        if isinstance(value, list):
            return [self._parts(v, name) for v in value]
        if not isinstance(value, dict):
            return value
        config = self.make(None, value, name)
        for key, inner in value.items():
            config.values[key] = self._parts(inner, f"{name}.{key}")
        return config

    def _missing(self, config: ConfigObject, name: str, facts: ClassFacts | None) -> Any:
        """An attribute that is none of the config's values: of its class, or ABSENT."""
        if config.cls is not None:
            found = self.ev.classes.attr(config.cls, name)
            if found is not ABSENT:
                bound = self.ev.attributes.bind(found, config, config.cls, config.cls.place)
                return bound if callable(bound) else config.default(name, bound)
        if facts is not None and self._instances is not None:
            found = self._instances.property(config, facts, name)
            if found is not ABSENT:
                return found
        if config.cls is None and facts is None and name in _USUAL:
            return config.default(name, _USUAL[name])
        if name == "use_return_dict":
            return True
        if name in ("name_or_path", "_name_or_path"):
            return ""
        return ABSENT


class _ModelTypes(dict[str, Any]):
    """`CONFIG_MAPPING`: model types to config classes."""

    def __init__(self, builder: ConfigBuilder) -> None:
        super().__init__()
        self._builder = builder

    def _class(self, kind: Any) -> Any:
        found = self._builder.class_of(kind, top=False)
        return Ext(f"transformers.{found.name}") if isinstance(found, ClassFacts) else found

    def __contains__(self, kind: object) -> bool:
        return self._class(kind) is not None

    def __getitem__(self, kind: str) -> Any:
        found = self._class(kind)
        if found is None:
            raise KeyError(kind)
        return found

    def other(self, name: str) -> Any:
        """A method of the mapping; a model type that it has not got is an error of the source."""
        if name == "get":
            return Native(
                name,
                lambda ev, args, kwargs, place: (
                    found
                    if (found := self._class(args[0])) is not None
                    else (args[1] if len(args) > 1 else kwargs.get("default"))
                ),
            )
        if name == "register":
            return Native(name, lambda *_: None)
        if name == "_extra_content":
            return {}
        raise Raised("KeyError", name, _HERE)


def _class_names(model_type: Any) -> list[str]:
    """Names (lower case) of the config classes that a model type's config may be called by."""
    if not isinstance(model_type, str):
        return []
    return ["".join(re.split(r"[_.-]", model_type)) + "config"]
