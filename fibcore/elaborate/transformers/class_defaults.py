"""Config classes of transformers: defaults, and what they derive, without transformers.

The records of `class_facts` come from a table that is shipped for the releases that supported
SGLang releases pin, and from the source text of any other release. One record makes the values of
a config object out of a file's keys, as the class would.
"""

from __future__ import annotations

import ast
import copy
import functools
import json
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.index import SourceModule
from fibcore.elaborate.python.values import ABSENT, Env, Ext, Func, ModuleSpace, Raised
from fibcore.elaborate.transformers.class_facts import BASE_NAMES, GIVEN, OWN, UNCLEAR, ClassFacts
from fibcore.elaborate.transformers.class_reader import ClassReader
from fibcore.elaborate.transformers.config_object import ConfigObject
from fibcore.elaborate.transformers.rope_keys import modern_rope
from fibcore.errors import ConfigError
from fibcore.model.tree import Alternatives, Unknown, origins_of

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

TABLES = "config_tables"
"""The folder with one table for each release, `transformers-4.57.1.jsonl`."""


class Table:
    """The records of one release of transformers.

    Args:
        version: The release.
        find: Gives the record of a class by name; None where there is none.
        model_types: Model type to class name, as AutoConfig maps them.
        architectures: Model type to the model classes that the Auto classes map it to.
        base: The record of the base class of all configs.
        names: The names of all classes.
    """

    def __init__(
        self,
        version: str,
        find: Callable[[str], ClassFacts | None],
        model_types: Mapping[str, str],
        architectures: Mapping[str, Any],
        base: ClassFacts,
        names: frozenset[str],
    ) -> None:
        self.version = version
        self.find = functools.cache(find)
        self.model_types = model_types
        self.architectures = architectures
        self.base = base
        self.names = names

    @property
    def major(self) -> int:
        """Its major version: from 5 on, RoPE settings are kept together."""
        return int(self.version.partition(".")[0])

    def of_type(self, model_type: str) -> ClassFacts | None:
        """The record of the class that AutoConfig takes for a model type."""
        name = self.model_types.get(model_type)
        return None if name is None else self.find(name)


def shipped_versions() -> list[str]:
    """The releases whose tables are shipped, oldest first."""
    names = (f.name for f in files("fibcore.elaborate.transformers").joinpath(TABLES).iterdir())
    versions = [n[len("transformers-") : -len(".jsonl")] for n in names if n.endswith(".jsonl")]
    return sorted(versions, key=lambda v: [int(p) for p in v.split(".") if p.isdigit()])


@functools.cache
def shipped_table(version: str) -> Table:
    """The shipped table of a release: one JSON record a line, read when it is asked for."""
    folder = files("fibcore.elaborate.transformers").joinpath(TABLES)
    lines = folder.joinpath(f"transformers-{version}.jsonl").read_text("utf-8").splitlines()
    head = json.loads(lines[0])
    places = {line[9 : line.index('"', 9)]: line for line in lines[2:]}

    def find(name: str) -> ClassFacts | None:
        line = places.get(name)
        return None if line is None else ClassFacts(**json.loads(line))

    base = ClassFacts(**json.loads(lines[1]))
    return Table(version, find, head["model_types"], head["architectures"], base, frozenset(places))


def source_table(root: Path, version: str) -> Table:
    """The table of a release's source text."""
    reader = ClassReader(root)
    return Table(
        version,
        reader.facts,
        reader.model_types(),
        reader.architectures(),
        reader.base(),
        frozenset(reader.files),
    )


def table_text(root: Path) -> str:
    """The shipped form of a source tree's table."""
    reader = ClassReader(root)
    head = {"model_types": reader.model_types(), "architectures": reader.architectures()}
    lines = [head, reader.base().to_dict()]
    for name in sorted(reader.files):
        facts = reader.facts(name)
        if facts is not None and not name.endswith("OnnxConfig"):
            lines.append(facts.to_dict())
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


_QUOTED_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")


class Instances:
    """Makes config objects by the records of a table.

    Args:
        evaluator: Evaluates the records' expressions.
        table: The records.
        make: Makes the object of a nested config from its class, its keys and its name.
    """

    def __init__(
        self, evaluator: Evaluator, table: Table, make: Callable[..., ConfigObject]
    ) -> None:
        self.ev = evaluator
        self.table = table
        self._make = make

    def label(self, name: str) -> str:
        """A class as reports name it."""
        return f"{name} (transformers {self.table.version})"

    def fill(self, config: ConfigObject, facts: ClassFacts, given: Mapping[str, Any]) -> None:
        """Set what the class makes of the given keys.

        Args:
            config: The object that is made.
            facts: Its class, or a base class of it.
            given: The keys of the file, nested objects as dicts.
        """
        rest = self.set_fields(config, facts, given)
        self.run_steps(config, facts, rest)

    def set_fields(
        self, config: ConfigObject, facts: ClassFacts, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Set the keys that the class takes; returns the others."""
        rest = dict(given)
        names = _Names(self, config, facts, {})
        for name, default in facts.fields.items():
            kept = config.key(name)
            if name in rest:
                config.values[kept] = rest.pop(name)
            elif kept not in config.values or kept not in rest:
                value = copy.deepcopy(default)
                if isinstance(value, dict) and set(value) == {"="}:
                    value = self._value(value["="], names, facts)
                config.values[kept] = config.default(name, value)
        return rest

    def run_steps(self, config: ConfigObject, facts: ClassFacts, given: Mapping[str, Any]) -> None:
        """Derive what the class derives, and keep the keys that it does not know."""
        names = _Names(self, config, facts, given)
        for slot, expression, condition in facts.steps:
            when: Any = True
            if condition is not None:
                when = self.ev.operators.truth(self._value(condition, names, facts))
                if when is False:
                    continue
            if not slot:
                self.base(
                    config,
                    {k: v for k, v in given.items() if k not in facts.dropped},
                    facts.constants,
                )
                continue
            if expression == UNCLEAR:
                config.values[slot] = self._nested(config, facts, slot, given)
                continue
            value = self._value(expression, names, facts)
            outer, _, attribute = slot.partition(".")
            if attribute:
                inner = config.values.get(outer)
                if isinstance(inner, ConfigObject):
                    inner.values[inner.key(attribute)] = value
            elif slot.startswith(("_if", "_was_")):
                names.local[slot] = value
            elif when is None:
                config.values[slot] = Unknown(f"whether {config.label} derives {slot}")
            else:
                # What the class makes of a key that the file has is still the file's.
                made = slot not in names.taken
                config.values[slot] = config.default(slot, value, derived=made)
        for name in facts.unclear:
            if name in facts.properties:
                continue
            if config.key(name) not in given:
                config.values[name] = Unknown(f"{name} as {config.label} computes it")

    def _nested(
        self, config: ConfigObject, facts: ClassFacts, name: str, given: Mapping[str, Any]
    ) -> Any:
        """A config inside of one that is made in a way that the record does not say.

        Files of such a class have it under its name, or its keys among their own.
        """
        inner = self.table.find(facts.nested[name])
        if inner is None:
            return Unknown(f"{name} as {config.label} makes it")
        held = given.get(name, config.values.get(name))
        if isinstance(held, ConfigObject):
            return held  # made before, in a way that is clear
        if not isinstance(held, dict):
            rope = ("rope_theta", "rope_scaling", "rope_parameters")
            held = {k: v for k, v in given.items() if k in inner.fields or k in rope}
        return self._make(inner, held, f"{config.name}.{name}")

    def property(self, config: ConfigObject, facts: ClassFacts, name: str) -> Any:
        """What the class computes when an attribute is read; ABSENT where it has none."""
        if name in facts.properties:
            names = _Names(self, config, facts, {})
            return config.default(name, self._value(facts.properties[name], names, facts))
        if name in facts.constants:
            return config.default(name, copy.deepcopy(facts.constants[name]))
        return ABSENT

    def base(
        self, config: ConfigObject, given: Mapping[str, Any], constants: Mapping[str, Any]
    ) -> None:
        """What the base class of all configs does with the keys that are left.

        (transformers.PreTrainedConfig, huggingface.co/docs/transformers/main_classes/configuration)
        """
        base = self.table.base
        rest = dict(given)
        values = config.values
        for name, default in base.fields.items():
            if name in rest:
                values[name] = rest.pop(name)
            elif name not in values:
                values[name] = config.default(name, copy.deepcopy(default))
        dtype = rest.pop("torch_dtype", None)
        if values.get("dtype") is None:
            values["dtype"] = dtype
        if isinstance(values["dtype"], str):
            values["dtype"] = Ext(f"torch.{values['dtype'].rpartition('.')[2]}")
        labels = values.get("id2label")
        values["num_labels"] = rest.pop("num_labels", None) or (
            len(labels) if isinstance(labels, dict) else 2
        )
        if self.table.major >= 5:
            rest = modern_rope(config, rest, constants)
        for name, value in rest.items():
            if name not in base.dropped and not self._computed(config, name):
                values[config.key(name)] = value
        old = base.constants.get("layer_types", {})
        for name in ("layer_types", "mtp_layer_types") if old else ():
            held = values.get(name)
            if isinstance(held, list):
                values[name] = [old.get(v, v) if isinstance(v, str) else v for v in held]

    def _computed(self, config: ConfigObject, name: str) -> bool:
        """Whether a class of the source computes an attribute, so that no key stands for it."""
        if config.cls is None:
            return False
        found = self.ev.classes.attr(config.cls, name)
        return isinstance(found, Func) and found.kind in ("property", "cached_property")

    def _value(self, expression: str, names: _Names, facts: ClassFacts) -> Any:
        try:
            node = _parsed(expression)
        except SyntaxError:  # pragma: no cover - a table that was made by hand
            return Unknown(f"{facts.name} in the table of transformers {self.table.version}")
        space = ModuleSpace(_NoFile(f"transformers {self.table.version} {facts.name}"))
        env = Env(space, space.env)
        env.vars = names
        try:
            found = self.ev.expressions.eval(node, env)
        except Raised as error:
            return Unknown(f"{facts.name} raised {error.kind}: {error.message}", error.place)
        if isinstance(found, Alternatives):
            return Unknown(f"{expression} of {facts.name}")
        return found


def check_types(given: Mapping[str, Any], facts: ClassFacts, label: str) -> None:
    """Hold a file's keys to the kinds of value that their class defaults to.

    Raises:
        ConfigError: a number in quotes where the class has a number. Other words may be meant
            (Exaone 4: `"sliding_window_pattern": "LLLG"`, 4 by default).
    """
    for name, value in given.items():
        default = facts.fields.get(name)
        number = isinstance(default, (int, float)) and not isinstance(default, bool)
        if number and isinstance(value, str) and _QUOTED_NUMBER.fullmatch(value):
            keys = sorted(o for o in origins_of(value) if o.startswith("config:"))
            raise ConfigError(
                "not a value that the key can have",
                where=keys[0].partition(":")[2] if keys else name,
                expected=f"a number, such as the default {default} of {label}",
                found=repr(str(value)),
                hint="write it without quotes",
            )


class _Names(dict[str, Any]):
    """The names that a record's expressions hold: attributes, other config classes."""

    def __init__(
        self,
        instances: Instances,
        config: ConfigObject,
        facts: ClassFacts,
        given: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.instances = instances
        self.config = config
        self.facts = facts
        self.given = dict(given)
        self.taken = {
            name
            for name, value in config.values.items()
            if any(o.startswith("config:") for o in origins_of(value))
        }
        self.local: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a name."""
        for place in (dict(self.items()), self.local, self.config.values, self.facts.constants):
            if key in place:
                return place[key]
        if key == GIVEN:
            return self.given
        if key == OWN:
            return {**self.facts.constants, **self.config.values}
        if key == "CONFIG_MAPPING":
            return self.instances.ev.libraries.value("transformers.CONFIG_MAPPING")
        if key in self.instances.table.names or key in ("AutoConfig", *BASE_NAMES):
            return Ext(f"transformers.{key}")
        if key == "math":
            return Ext("math")
        return default


class _NoFile(SourceModule):
    """Where a record's expressions stand: in no file of the tree."""

    def __init__(self, file: str) -> None:
        super().__init__("transformers", Path(), file, False)

    text = ""


@functools.lru_cache(maxsize=4096)
def _parsed(expression: str) -> ast.expr:
    return ast.parse(expression, mode="eval").body
