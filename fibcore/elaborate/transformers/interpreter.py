"""What config classes make of a file's keys, by the classes' summaries.

A summary's expressions are evaluated by the partial evaluator, so that every value remembers the
keys that it was computed from.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from fibcore.elaborate.python.values import ABSENT, Ext, Func
from fibcore.elaborate.transformers.config_object import ConfigObject
from fibcore.elaborate.transformers.rope_keys import modern_rope
from fibcore.elaborate.transformers.summaries.summary import ClassSummary, Expression, Step
from fibcore.elaborate.transformers.summary_expressions import Names, evaluate
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.transformers.class_tables import ClassTable

_ROPE_KEYS = ("rope_theta", "rope_scaling", "rope_parameters")


class Maker(Protocol):
    """Makes the configs inside of a config."""

    def make(
        self, summary: ClassSummary | None, given: Mapping[str, Any], name: str = "config"
    ) -> ConfigObject:
        """A config object of a class of transformers, or of no known one."""


class SummaryInterpreter:
    """Sets the attributes of config objects as their classes would.

    Args:
        evaluator: Evaluates the summaries' expressions.
        table: The summaries of a release.
        maker: Makes the configs inside of a config.
    """

    def __init__(self, evaluator: Evaluator, table: ClassTable, maker: Maker) -> None:
        self.ev = evaluator
        self.table = table
        self._maker = maker

    @property
    def release(self) -> str:
        """The release of the classes as reports name it."""
        return f"transformers {self.table.version}"

    def construct(
        self, config: ConfigObject, summary: ClassSummary, given: Mapping[str, Any]
    ) -> None:
        """Set what the class makes of the given keys.

        Args:
            config: The object that is made.
            summary: Its class, or a base class of it.
            given: The keys of the file, nested objects as dicts.
        """
        rest = self.set_fields(config, summary, given)
        self.run_steps(config, summary, rest)

    def set_fields(
        self, config: ConfigObject, summary: ClassSummary, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Set the keys that the class takes; returns the others."""
        rest = dict(given)
        names = self._names(config, summary, {})
        for name, default in summary.fields.items():
            kept = config.key(name)
            if name in rest:
                config.values[kept] = rest.pop(name)
            elif kept not in config.values or kept not in rest:
                if isinstance(default, Expression):
                    value = self._value(default.text, names, summary)
                else:
                    value = copy.deepcopy(default)
                config.values[kept] = config.default(name, value)
        return rest

    def run_steps(
        self, config: ConfigObject, summary: ClassSummary, given: Mapping[str, Any]
    ) -> None:
        """Derive what the class derives, and keep the keys that it does not take."""
        names = self._names(config, summary, given)
        for step in summary.steps:
            certain: bool | None = True
            if step.condition is not None:
                certain = self.ev.operators.truth(self._value(step.condition, names, summary))
            if certain is not False:
                self._run(step, config, summary, given, names, certain=certain is True)
        for name in summary.unclear:
            # A property is asked of the class when it is read.
            if name not in summary.properties and config.key(name) not in given:
                config.values[name] = Unknown(f"{name} as {config.label} computes it")

    def _run(
        self,
        step: Step,
        config: ConfigObject,
        summary: ClassSummary,
        given: Mapping[str, Any],
        names: Names,
        *,
        certain: bool,
    ) -> None:
        """Do one step, of which it may not be `certain` that the class does it."""
        if step.is_base:
            kept = {k: v for k, v in given.items() if k not in summary.dropped}
            self.base(config, kept, summary.constants)
            return
        if step.is_nested:
            config.values[step.target] = self._nested(config, summary, step.target, given)
            return
        value = self._value(step.expression, names, summary)
        outer, _, attribute = step.target.partition(".")
        if attribute:
            inner = config.values.get(outer)
            if isinstance(inner, ConfigObject):
                inner.values[inner.key(attribute)] = value
        elif step.is_temporary:
            names.temporaries[step.target] = value
        elif not certain:
            config.values[step.target] = Unknown(f"whether {config.label} derives {step.target}")
        else:
            # What the class makes of a key that the file has is still the file's.
            made = step.target not in names.taken
            config.values[step.target] = config.default(step.target, value, derived=made)

    def _nested(
        self, config: ConfigObject, summary: ClassSummary, name: str, given: Mapping[str, Any]
    ) -> Any:
        """A config inside of one that is made in a way that the summary does not say.

        Files of such a class have it under its name, or its keys among their own.
        """
        inner = self.table.find(summary.nested[name])
        if inner is None:
            return Unknown(f"{name} as {config.label} makes it")
        held = given.get(name, config.values.get(name))
        if isinstance(held, ConfigObject):
            return held  # made before, in a way that is clear
        if not isinstance(held, dict):
            held = {k: v for k, v in given.items() if k in inner.fields or k in _ROPE_KEYS}
        return self._maker.make(inner, held, f"{config.name}.{name}")

    def property(self, config: ConfigObject, summary: ClassSummary, name: str) -> Any:
        """What the class computes when an attribute is read; ABSENT where it has none."""
        if name in summary.properties:
            names = self._names(config, summary, {})
            value = self._value(summary.properties[name], names, summary)
            return config.default(name, value)
        if name in summary.constants:
            return config.default(name, copy.deepcopy(summary.constants[name]))
        if name == "model_type" and summary.model_type:
            return config.default(name, summary.model_type)
        return ABSENT

    def base(
        self, config: ConfigObject, given: Mapping[str, Any], constants: Mapping[str, Any]
    ) -> None:
        """Do what the base class of all configs does with the keys that are left.

        (transformers.PreTrainedConfig, huggingface.co/docs/transformers/main_classes/configuration)

        It is written out here and no summary: it sets attributes by `setattr` in a loop over the
        keys, and by mix-ins for RoPE, which neither an expression nor a name stands for.
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

    def _names(
        self, config: ConfigObject, summary: ClassSummary, given: Mapping[str, Any]
    ) -> Names:
        return Names(self.ev, self.table.names, config, summary, given)

    def _value(self, expression: str, names: Names, summary: ClassSummary) -> Any:
        return evaluate(self.ev, expression, names, summary.name, self.table.version)
