"""The environment that the source sees: machine, parallel sizes, server arguments, flags.

Facts are data: `facts.json` holds them by SGLang version range, and this module turns them into
answers. Values in the data are JSON, or one of

* `"$tp"`, `"$ep"`, `"$moe_tp"`: a serving size (it remembers its origin),
* `{"unknown": "reason"}`: not known on purpose,
* `{"ext": "torch.float32"}`: a name of another package,
* `{"object": {...}}`: a namespace with these attributes,
* `{"tuple": [...]}`,
* `{"argument": N}`: the call's own argument N,
* `{"call": value}`: a function that returns the value,
* `{"native": "name"}`: a shim of `fibcore.elaborate.sglang.shims`,
* `{"bag": "exec"}`: a namespace of server arguments at their defaults, read from the source,
* `{"parallel": {...}}`: these values, else the defaults of the source's `Parallel` fields,
* `{"platform": {...}}`: these values; whatever else is asked about the platform, by a call, is
  false; `{"platform_values": {...}}` likewise, asked as a value,
* `{"record": "dotted.Class"}`, `{"forward_flags": "dotted.Class"}`: an instance of a class of the
  source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

from fibcore.elaborate.python.values import ABSENT, Ext, Namespace, Native
from fibcore.model.serving import Serving
from fibcore.model.tree import SourcePlace, Unknown, with_origins

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


@cache
def _tables() -> list[dict[str, Any]]:
    text = files("fibcore.elaborate.sglang").joinpath("facts.json").read_text(encoding="utf-8")
    tables: list[dict[str, Any]] = json.loads(text)["tables"]
    return tables


def parse_version(version: str | None) -> tuple[int, int, int] | None:
    """The first three numbers of a version; None where there are none."""
    match = _VERSION.match(version or "")
    if match is None:
        return None
    major, minor, patch = match.groups()
    return int(major), int(minor), int(patch or 0)


class Environment:
    """Answers what the source asks of its surroundings.

    Args:
        serving: The parallel sizes.
        version: Version of the source tree; None where it is not known.
        shims: Functions of fibcore that stand in for some of the source's own.
    """

    def __init__(
        self, serving: Serving, version: str | None, shims: Mapping[str, Callable[..., Any]]
    ) -> None:
        self.serving = serving
        self.version = version
        self._shims = shims
        self.warnings: list[str] = []
        self.functions: dict[str, list[tuple[str, Any]]] = {}
        self.constants: dict[str, Any] = {}
        self.external_calls: dict[str, Any] = {}
        self.absent_packages: set[str] = set()
        self.opaque: set[str] = set()  # modules of the tree that count as outside of it
        self.lacking: dict[str, set[str]] = {}
        self.layer_packages: list[str] = []
        self.kernel_packages: list[str] = []
        self.weighted_layers: list[str] = []
        self.weighted_external: set[str] = set()
        self.weightless_external: list[str] = []
        self.transformers_major = 4
        self.shimmed = ""  # name of the function that a shim is standing in for
        number = parse_version(version)
        for table in _tables():
            if self._applies(table, number):
                self._load(table)

    def _applies(self, table: Mapping[str, Any], number: tuple[int, int, int] | None) -> bool:
        first = parse_version(table.get("from"))
        last = parse_version(table.get("to"))
        if number is None:
            # An unknown version is taken for the newest.
            return last is None or bool(table.get("newest"))
        if first is not None and number < first:
            return False
        return last is None or number < last

    def _load(self, table: Mapping[str, Any]) -> None:
        for entry in table.get("functions", ()):
            value = self.value(entry["value"])
            for name in entry["names"]:
                self.functions.setdefault(name, []).append((entry.get("within", ""), value))
        for name, value in table.get("constants", {}).items():
            self.constants[name] = self.value(value)
        for name, value in table.get("external_calls", {}).items():
            self.external_calls[name] = self.value(value)
        self.absent_packages.update(table.get("absent_packages", ()))
        for name, members in table.get("lacking", {}).items():
            self.lacking.setdefault(name, set()).update(members)
        self.layer_packages.extend(table.get("layer_packages", ()))
        self.kernel_packages.extend(table.get("kernel_packages", ()))
        self.weighted_layers.extend(table.get("weighted_layers", ()))
        self.weighted_external.update(table.get("weighted_external", ()))
        self.weightless_external.extend(table.get("weightless_external", ()))
        self.transformers_major = table.get("transformers_major", self.transformers_major)
        tested = table.get("tested")
        number = parse_version(self.version)
        if tested and number is not None:
            low, high = (parse_version(t) for t in tested)
            if low is not None and high is not None and not low <= number <= high:
                self.warnings.append(
                    f"environment facts were checked for SGLang {tested[0]} to {tested[1]}, "
                    f"this is {self.version}"
                )

    def value(self, data: Any) -> Any:
        """A fact's value from its JSON form."""
        if isinstance(data, str) and data.startswith("$"):
            return self._size(data[1:])
        if isinstance(data, list):
            return [self.value(v) for v in data]
        if not isinstance(data, dict):
            return data
        ((kind, content),) = data.items()
        if kind == "unknown":
            return Unknown(content)
        if kind == "ext":
            return Ext(content)
        if kind == "tuple":
            return tuple(self.value(v) for v in content)
        if kind == "argument":
            return Native("argument", lambda ev, args, kwargs, place, n=content: args[n])
        if kind == "native":
            return Native(content, self._shims[content])
        if kind in ("bag", "parallel", "record", "forward_flags"):
            body = {k: self.value(v) for k, v in content.items()} if kind == "parallel" else content
            return Native(kind, lambda ev, *_: self._shims[kind](ev, body))
        if kind == "call":
            answer = self.value(content)
            return Native("call", lambda *_: answer)
        if kind in ("platform", "platform_values"):
            values = {k: self.value(v) for k, v in content.items()}
            return _platform(values, methods=kind == "platform")
        if kind == "object":
            values = {k: self.value(v) for k, v in content.items()}
            return Namespace("environment", values, _unknown_attribute)
        raise ValueError(f"facts.json: unknown kind of value {kind!r}")

    def _size(self, name: str) -> int:
        tp, ep = self.serving.tp, self.serving.ep
        sizes = {"tp": (tp, {"tp"}), "ep": (ep, {"ep"}), "moe_tp": (tp // ep, {"tp", "ep"})}
        number, names = sizes[name]
        value: int = with_origins(number, frozenset(f"serving:{n}" for n in names))
        return value

    def weightless(self, name: str) -> bool:
        """Whether a module class of another package is known to have no weights."""
        return any(fnmatchcase(name, pattern) for pattern in self.weightless_external)

    def function(self, qualname: str, module: str) -> Any:
        """The fact that stands for a function or class of the source; ABSENT without one."""
        entries = self.functions.get(qualname.rpartition(".")[2])
        if entries is None:
            return ABSENT
        for within, value in entries:
            if module.startswith(within):
                if "." in within and qualname.count(".") > module.count(".") + 1:
                    continue  # a method that happens to share the name
                self.shimmed = qualname.rpartition(".")[2]
                return value
        return ABSENT


def _platform(values: dict[str, Any], *, methods: bool) -> Namespace:
    """A platform: `is_cuda` is true; every other `is_...` and `has_...` not given is false.

    Args:
        values: What is known of it by name.
        methods: Whether what is not among the values is asked by a call, `is_hip()`.
    """
    answers: dict[str, Any] = {"is_cuda": True, "is_cuda_alike": True}

    def other(name: str) -> Any:
        if name.startswith(("is_", "has_", "supports_", "support_")):
            answer = bool(answers.get(name, False))
            return Native(name, lambda *_: answer) if methods else answer
        return Unknown(f"{name} of the platform")

    return Namespace("platform", values, other)


def _unknown_attribute(name: str) -> Any:
    return Unknown.attribute(f"attribute {name} of the environment", SourcePlace("environment", 1))
