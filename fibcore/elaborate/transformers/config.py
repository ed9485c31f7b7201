"""Building the config object that the source sees, from the file's keys.

A key that is not in the file has the value that the model's config class gives it: a class of
transformers, by its summary, or one of the source tree, by its own constructor. Values remember
where they came from: `config:<key>` for what `config.json` says, `default:<class>.<key>
(<package> <version>)` for what a class fills in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Absent, Bound, Class, Ext, Func, Raised
from fibcore.elaborate.transformers.auto_config import MAPPINGS, called_class, config_mapping
from fibcore.elaborate.transformers.config_object import ConfigObject
from fibcore.elaborate.transformers.config_reads import ConfigReads, weighed_by, weighed_in
from fibcore.elaborate.transformers.file_keys import (
    refuse_quoted_numbers,
    under_both_names,
)
from fibcore.elaborate.transformers.interpreter import SummaryInterpreter
from fibcore.elaborate.transformers.nested_configs import make_nested
from fibcore.elaborate.transformers.summaries.summary import BASE_NAMES, ClassSummary
from fibcore.errors import ConfigError
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.transformers.class_tables import ClassTable
    from fibcore.elaborate.transformers.own_classes import OwnClasses

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


class ConfigBuilder:
    """Makes config objects for one elaboration.

    Args:
        evaluator: Elaborates the config classes of the source tree.
        table: The config classes of the transformers release that the source wants; None where
            they cannot be had.
        release: The source's release as reports name it, `sglang 0.5.23`.
        own: The config classes that the source defines itself.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        table: ClassTable | None,
        release: str,
        own: OwnClasses,
    ) -> None:
        self.ev = evaluator
        self.table = table
        self._release = release
        self.own = own
        self.reads = ConfigReads()
        self._interpreter = None if table is None else SummaryInterpreter(evaluator, table, self)
        # Properties of the base class of configs.
        self._synonyms = {"torch_dtype": "dtype"}
        if self.modern:
            self._synonyms["rope_scaling"] = "rope_parameters"

    @property
    def modern(self) -> bool:
        """Whether config classes are those of transformers 5 or later."""
        return self.table is not None and self.table.major >= 5

    def constants(self) -> dict[str, Any]:
        """Values of the names of transformers that hold config classes."""
        mapping = config_mapping(lambda kind: self.class_of(kind, top=False))
        return dict.fromkeys(MAPPINGS, mapping)

    # -- by model type -------------------------------------------------------------------------

    def class_of(self, model_type: Any, *, top: bool) -> Class | ClassSummary | None:
        """The class of a model type; None where none is known.

        Args:
            model_type: The model type.
            top: Whether it is the whole file's, for which the source's loader has a registry;
                AutoConfig takes the class otherwise.
        """
        if not isinstance(model_type, str):
            return None
        own = self.own.find(model_type)
        summary = None
        if self.table is not None:
            summary = self.table.of_type(model_type)
            if summary is None and own is None:
                summary = self.table.of_type(_READ_AS.get(model_type, ""))
        if own is not None and (summary is None or own.forced or (top and own.registered)):
            cls = self.own.load(own)
            if cls is not None:
                return cls
        return summary

    def automatic(self, given: dict[str, Any], name: str, *, top: bool = False) -> ConfigObject:
        """The config object for the class that `model_type` names."""
        found = self.class_of(given.get("model_type"), top=top)
        if isinstance(found, Class):
            return self._from_dict(found, given, name)
        made = self.make(found, given, name)
        if found is None and not top and given.get("model_type") is None:
            made.base = {k: v for k, v in made.values.items() if k not in given}
        return made

    # -- classes of transformers ---------------------------------------------------------------

    def make(
        self, summary: ClassSummary | None, given: Mapping[str, Any], name: str = "config"
    ) -> ConfigObject:
        """A config object of a class of transformers; None stands for one that is not known."""
        given = under_both_names(given, summary, modern=self.modern)
        names = [*BASE_NAMES]
        if summary is not None:
            self.reads.weigh(weighed_by(summary))
            names += [summary.name, *summary.bases]
            renamed = summary.renamed
        else:
            names += _class_names(given.get("model_type"))
            renamed = _REPOSITORY_NAMES.get(str(given.get("model_type")), {})
        config = ConfigObject(
            name,
            cls=None,
            classes=names,
            renamed={**self._synonyms, **renamed},
            missing=lambda config, key: self._missing(config, key, summary),
            class_name=summary.name if summary is not None else BASE_NAMES[0],
            release="" if self._interpreter is None else self._interpreter.release,
            reads=self.reads,
        )
        if self._interpreter is None:
            config.values.update(given)
        elif summary is None:
            self._interpreter.base(config, given, {})
        else:
            refuse_quoted_numbers(given, summary, config.label)
            self._interpreter.construct(config, summary, given)
        make_nested(self, config, known=summary is not None)
        return config

    def external_call(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """The config that a call of a name of transformers makes; ABSENT for any other call."""
        if name.endswith("AutoConfig.for_model"):
            kind = args[0] if args else kwargs.get("model_type")
            return self.automatic({**kwargs, "model_type": kind}, "config")
        if name.endswith(("AutoConfig.register", "register_for_auto_class")):
            return None
        called, given = called_class(name, args, kwargs)
        if called in BASE_NAMES:
            return self.make(None, given or {})
        summary = self.table.find(called) if self.table is not None else None
        if summary is None:
            return ABSENT
        return Unknown(f"{name}() of unknown keys") if given is None else self.make(summary, given)

    # -- classes of the source tree ------------------------------------------------------------

    def _from_dict(self, cls: Class, given: dict[str, Any], name: str) -> ConfigObject:
        """What a class makes of a file's keys: a class may have a `from_dict` of its own."""
        method = self.ev.classes.attr(cls, "from_dict")
        if isinstance(method, Func):
            try:
                made = self.ev.calls.call(Bound(method, cls), [given], {}, cls.place)
            except Raised as error:
                if error.explicit:
                    raise _refusal(cls, error) from None
                why = f"{cls.name}.from_dict raised {error.kind}: {error.message}"
                self.ev.notes.append(Unknown(why, error.place))
                made = None
            if isinstance(made, ConfigObject):
                made.name = name
                return made
        return self.construct(cls, given, name)

    def construct(self, cls: Class, given: Mapping[str, Any], name: str = "config") -> ConfigObject:
        """A config object of a class of the source tree, by its own constructor."""
        summary = self._foreign_base(cls)
        given = under_both_names(given, summary, modern=self.modern)
        renamed = {**self._synonyms, **(summary.renamed if summary is not None else {})}
        own = self.ev.classes.attr(cls, "attribute_map")
        renamed.update(own if isinstance(own, dict) else {})
        names = [c.name.rpartition(".")[2] for c in cls.mro]
        names += [summary.name, *summary.bases] if summary is not None else []
        config = ConfigObject(
            name,
            cls=cls,
            classes=(*names, *BASE_NAMES),
            renamed=renamed,
            missing=lambda config, key: self._missing(config, key, summary),
            class_name=cls.name,
            release=self._release,
            reads=self.reads,
        )
        try:
            self._initialise(config, cls, summary, given)
        except Raised as error:
            if error.explicit:
                raise _refusal(cls, error) from None
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
            elif isinstance(value, (dict, list)) and value is given.get(key):
                continue  # the file's own, to its last part: of as many as a checkpoint has layers
            elif not isinstance(value, ConfigObject):
                config.values[key] = config.default(key, value)
        make_nested(self, config, known=True)
        return config

    def _initialise(
        self, config: ConfigObject, cls: Class, summary: ClassSummary | None, given: dict[str, Any]
    ) -> None:
        """Run a class's `__init__`, or set its fields and run `__post_init__` as a dataclass's."""
        init = self.ev.classes.attr(cls, "__init__")
        if isinstance(init, Func):
            self.reads.weigh(weighed_in(init.node))
            self.ev.calls.call_function(init, [config], given, cls.place)
            return
        rest = dict(given)
        if summary is not None and self._interpreter is not None:
            rest = self._interpreter.set_fields(config, summary, rest)
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
        """`super().__init__(**given)` where the base class is one of transformers.

        Args:
            config: The object that is made, of a class of the source tree.
            method: The constructor that is called, `__init__` or `__post_init__`.
            given: The keys that are passed on.
        """
        if self._interpreter is None:
            for key, value in given.items():
                config.values.setdefault(config.key(key), value)
            return
        assert config.cls is not None
        summary = self._foreign_base(config.cls)
        if summary is None:
            constants = {
                name: found
                for name in ("default_theta",)
                if (found := self.ev.classes.attr(config.cls, name)) is not ABSENT
            }
            self._interpreter.base(config, given, constants)
        elif method == "__init__":
            self._interpreter.construct(config, summary, given)
        else:
            self._interpreter.run_steps(config, summary, given)

    def _foreign_base(self, cls: Class) -> ClassSummary | None:
        """The nearest base class that transformers defines, besides the base class of all."""
        if self.table is None:
            return None
        for base in cls.mro:
            if isinstance(base, Ext) and base.name.startswith("transformers."):
                summary = self.table.find(base.name.rpartition(".")[2])
                if summary is not None:
                    return summary
        return None

    # -- attributes that are no values ---------------------------------------------------------

    def _missing(self, config: ConfigObject, name: str, summary: ClassSummary | None) -> Any:
        """An attribute that is none of the config's values: of its class, or ABSENT."""
        if config.cls is not None:
            found = self.ev.classes.attr(config.cls, name)
            if found is not ABSENT:
                bound = self.ev.attributes.bind(found, config, config.cls, config.cls.place)
                return bound if callable(bound) else config.default(name, bound)
        if summary is not None and self._interpreter is not None:
            found = self._interpreter.property(config, summary, name)
            if found is not ABSENT:
                return found
        if config.cls is None and summary is None and name in _USUAL:
            return config.default(name, _USUAL[name])
        if name == "use_return_dict":
            return True
        if name in ("name_or_path", "_name_or_path"):
            return ""
        return ABSENT


def _class_names(model_type: Any) -> list[str]:
    """Names (lower case) of the config classes that a model type's config may be called by."""
    if not isinstance(model_type, str):
        return []
    return ["".join(re.split(r"[_.-]", model_type)) + "config"]


def _refusal(cls: Class, error: Raised) -> ConfigError:
    """What a class says of keys that it does not take."""
    return ConfigError(
        f"{cls.name} refuses this config ({error.kind})",
        where=str(error.place or cls.place),
        found=error.message,
    )
