"""The environment that the source sees: machine, parallel sizes, server arguments, flags.

Facts are data: `facts.json` holds them by SGLang version range and GPU, and this module turns them
into answers. A release whose module `within` lacks a function that is `"expected"` there gets a
warning:
`"expected": {"get_exec": {"from": "0.5.17"}}` says that releases have it from 0.5.17 on.
Values in the data are JSON, or one of

* `"$tp"`, `"$ep"`, `"$moe_tp"`, `"$attn_tp"`, …: a serving size (it remembers its origin),
* `{"unknown": "reason"}`: not known on purpose,
* `{"ext": "torch.float32"}`: a name of another package,
* `{"object": {...}}`: a namespace with these attributes,
* `{"tuple": [...]}`,
* `{"argument": N}`: the call's own argument N,
* `{"call": value}`: a function that returns the value,
* `{"in_any_order": "dotted.function"}`: the source's own function, which makes a list of a set of
  names of which nobody asks for an order,
* `{"native": "name"}`: a shim of `fibcore.elaborate.sglang.shims`,
* `{"bag": "exec"}`: a namespace of server arguments at their defaults, read from the source,
* `{"parallel": {...}}`: these values, else the defaults of the source's `Parallel` fields,
* `{"platform": {...}}`: these values; whatever else is asked about the platform, by a call, is
  false; `{"platform_values": {...}}` likewise, asked as a value,
* `{"record": "dotted.Class"}`, `{"forward_flags": "dotted.Class"}`: an instance of a class of the
  source.
"""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python import environment
from fibcore.elaborate.python.attributes import keep_keywords
from fibcore.elaborate.python.values import ABSENT, Class, Ext, Func, Namespace, Native, Obj
from fibcore.elaborate.sglang import kernels
from fibcore.elaborate.sglang.index import PACKAGE
from fibcore.elaborate.sglang.leaves import Leaves
from fibcore.elaborate.sglang.parallel_sizes import sizes_of
from fibcore.elaborate.sglang.process_variables import ProcessVariables
from fibcore.elaborate.sglang.shims import Shims
from fibcore.elaborate.sglang.step_stages import asks_size, stage_of_side
from fibcore.elaborate.transformers import model_attributes
from fibcore.elaborate.transformers.config_object import ConfigObject
from fibcore.elaborate.transformers.versions import parse_version
from fibcore.model.serving import Serving
from fibcore.model.tree import SourcePlace, Unknown, with_origins

if TYPE_CHECKING:
    from fibcore.elaborate.packages.facts import PackageFacts
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.transformers.config import ConfigBuilder


@cache
def _tables() -> list[dict[str, Any]]:
    text = files("fibcore.elaborate.sglang").joinpath("facts.json").read_text(encoding="utf-8")
    tables: list[dict[str, Any]] = json.loads(text)["tables"]
    return tables


class Environment(environment.Environment):
    """Answers what SGLang's source asks of its surroundings.

    Args:
        serving: The parallel sizes.
        version: Version of the source tree; None where it is not known.

    Attributes:
        configs: Makes config objects; None until there is one.
        packages: What is known of other packages' source; None where there is none.
        shims: Functions of fibcore that stand in for some of the source's own.
        warnings: What the user should know about the facts.
        expected: Functions that a module is expected to have, by its name.
    """

    careful_packages = environment.Environment.careful_packages | frozenset((
        "PIL", "einops", "flashinfer", "huggingface_hub", "packaging", "psutil", "scipy",
        "sgl_kernel", "torchvision", "tqdm", "transformers", "triton",
    ))  # fmt: skip
    record_bases = ("PretrainedConfig", "PreTrainedConfig")
    module_bases = ("PreTrainedModel", "GradientCheckpointingLayer")
    transparent_packages = (
        "aiter", "cuda", "cutlass", "deep_gemm", "flashinfer", "sgl_kernel", "transformers", "vllm",
    )  # fmt: skip

    def __init__(self, serving: Serving, version: str | None) -> None:
        super().__init__()
        self.serving = serving
        self.version = version
        self.configs: ConfigBuilder | None = None
        self.packages: PackageFacts | None = None
        self.shims = Shims(tp=self._size("tp"), ep=self._size("ep"), launch=serving.launch)
        self.give_variables({} if serving.launch is None else serving.launch.process)
        self._leaves = Leaves()
        self._kernels: tuple[str, ...] = ()
        self.warnings: list[str] = []
        self.expected: dict[str, list[str]] = {}
        self.functions: dict[str, list[tuple[str, Any]]] = {}
        self.external_calls: dict[str, Any] = {}
        self.weightless_external: list[str] = []
        self.transformers_major = 4
        number = parse_version(version)
        for table in _tables():
            if self._applies(table, number):
                self._load(table)

    def give_variables(self, given: Mapping[str, Any]) -> None:
        """Let the source find these variables of the environment of its process, and no others."""
        self.variables = ProcessVariables(self.shims.server, given)
        self.constants["os.environ"] = self.variables.environ

    def _applies(self, table: Mapping[str, Any], number: tuple[int, int, int] | None) -> bool:
        first = parse_version(table.get("from"))
        last = parse_version(table.get("to"))
        if self.serving.gpu not in table.get("gpus", (self.serving.gpu,)):
            return False
        if number is None and "gpus" in table:
            return True
        if number is None:
            # An unknown version is taken for the newest.
            return last is None or bool(table.get("newest"))
        if first is not None and number < first:
            return False
        return last is None or number < last

    def _load(self, table: Mapping[str, Any]) -> None:
        number = parse_version(self.version)
        for entry in table.get("functions", ()):
            value = self.value(entry["value"])
            for name in entry["names"]:
                known = self.functions.setdefault(name, [])
                # The first that is about a module counts: what holds for one GPU goes before.
                at = 0 if "gpus" in table else len(known)
                known.insert(at, (entry.get("within", ""), value))
            for name, releases in entry.get("expected", {}).items():
                if self._applies({**releases, "newest": "to" not in releases}, number):
                    self.expected.setdefault(entry["within"], []).append(name)
        for name, value in table.get("constants", {}).items():
            self.constants[name] = self.value(value)
        for name, value in table.get("external_calls", {}).items():
            self.external_calls[name] = self.value(value)
        self.absent_packages.update(table.get("absent_packages", ()))
        self.absent_packages.difference_update(table.get("present_packages", ()))
        for name, members in table.get("lacking", {}).items():
            self.lacking.setdefault(name, set()).update(members)
        self._leaves.packages.extend(table.get("layer_packages", ()))
        self._kernels += tuple(f"{PACKAGE}.{p}" for p in table.get("kernel_packages", ()))
        self._leaves.weighted.extend(table.get("weighted_layers", ()))
        self._leaves.weighted_external.update(table.get("weighted_external", ()))
        self.weightless_external.extend(table.get("weightless_external", ()))
        self.transformers_major = table.get("transformers_major", self.transformers_major)
        tested = table.get("tested")
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
        if kind == "in_any_order":
            return Native(
                kind, lambda ev, args, kwargs, place: self._in_any_order(ev, content, args, kwargs)
            )
        if kind == "native":
            return Native(content, self.shims.functions[content])
        if kind in ("bag", "parallel", "record", "forward_flags"):
            body = {k: self.value(v) for k, v in content.items()} if kind == "parallel" else content
            return Native(kind, lambda ev, *_: self.shims.objects[kind](ev, body))
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

    def _in_any_order(
        self, ev: Evaluator, qualname: str, args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        """Call a function of the source where lists of sets are in alphabetical order."""
        module, _, name = qualname.rpartition(".")
        func = ev.modules.imported(module, name)
        if not isinstance(func, Func):
            return Unknown(f"{qualname} is no function of the source")
        facts = self.functions.pop(name)  # it is what stands for it, and would be called again
        try:
            with ev.iteration.any_order():
                return ev.calls.call_function(func, args, kwargs, func.place)
        finally:
            self.functions[name] = facts

    def _size(self, name: str) -> Any:
        number, names = sizes_of(self.serving)[name]
        if isinstance(number, bool):
            return number
        return with_origins(number, frozenset(f"serving:{n}" for n in names))

    @contextlib.contextmanager
    def standing_in(self, functions: Mapping[str, Native]) -> Iterator[None]:
        """Let functions stand in for those of their names, wherever they are, inside."""
        self.functions.update({name: [("", function)] for name, function in functions.items()})
        try:
            yield
        finally:
            for name in functions:
                del self.functions[name]

    def use_configs(self, configs: ConfigBuilder) -> None:
        """Let config classes be made by a builder from now on."""
        self.configs = self.shims.configs = configs
        self.constants.update(configs.constants())

    def use_packages(self, packages: PackageFacts) -> None:
        """Let what is known of other packages' source count from now on."""
        self.packages = packages
        self.external_calls.update(packages.external_calls())
        for name, entry in packages.functions().items():
            self.functions.setdefault(name, []).insert(0, entry)

    def carried(self) -> Any:
        return self.shims.streams.current

    def carry(self, ev: Evaluator, carried: Any) -> None:
        self.shims.streams.carry(ev, carried)

    def external_call(
        self,
        ev: Evaluator,
        name: str,
        args: list[Any],
        kwargs: dict[str, Any],
        place: SourcePlace,
    ) -> Any:
        """A config that a class of transformers makes, or a fact."""
        if self.configs is not None and name.startswith("transformers."):
            config = self.configs.external_call(name, args, kwargs)
            if config is not ABSENT:
                return config
        if self.packages is not None:
            made = self.packages.call(ev, name, args, kwargs, place)
            if made is not ABSENT:
                return made
        fact = self.external_calls.get(name, ABSENT)
        return fact.fn(ev, args, kwargs, place) if isinstance(fact, Native) else fact

    def construct(self, cls: Class, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """A config object of a config class of the source."""
        if self.configs is None or args or not _is_config(cls):
            return ABSENT
        return self.configs.construct(cls, kwargs)

    def process_variable(self, ev: Evaluator, name: str) -> Any:
        """A variable before the launch line, or that the server sets."""
        return self.variables.value(ev, name)

    def may_have(self, base: str, name: str) -> bool:
        """Of transformers' base class of models it is known which attributes it has."""
        return base.rpartition(".")[2] not in self.module_bases or model_attributes.may_have(name)

    def super_method(self, owner: Any, name: str) -> Any:
        """What transformers' base classes of configs and of models do."""
        if isinstance(owner, ConfigObject) and name in ("__init__", "__post_init__"):
            return Native(
                f"super().{name}",
                lambda ev, args, kwargs, place: (
                    self.configs.base_init(owner, name, kwargs) if self.configs else None
                ),
            )
        if name == "from_dict" and isinstance(owner, Class) and _is_config(owner):
            return Native(
                "from_dict", lambda ev, args, kwargs, place: self._from_dict(owner, args, kwargs)
            )
        if name == "__init__" and isinstance(owner, Obj) and _of_transformers(owner.cls):
            return Native(
                "super().__init__",
                lambda ev, args, kwargs, place: self._keep(ev, owner, args, kwargs),
            )
        return ABSENT

    def _keep(self, ev: Evaluator, owner: Obj, args: list[Any], given: dict[str, Any]) -> None:
        """`PreTrainedModel.__init__(config)` keeps the config; other base classes keep keywords."""
        config = args[0] if args else given.get("config")
        if args and isinstance(config, ConfigObject):
            owner.attrs.setdefault("config", config)
        keep_keywords(owner, given)
        if self.packages is not None and isinstance(config, ConfigObject):
            self.packages.initialised(ev, owner, config)

    def _from_dict(self, cls: Class, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """`PretrainedConfig.from_dict(keys, **more)`: the class is called with the keys."""
        given = args[0] if args else kwargs.pop("config_dict", None)
        if self.configs is None or not isinstance(given, dict):
            return Unknown(f"{cls.name}.from_dict() of something unknown", cls.place)
        return self.configs.construct(cls, {**given, **kwargs})

    def is_leaf(self, ev: Evaluator, cls: Class) -> bool:
        """Whether a module class is one of SGLang's layers, with no layers inside."""
        return self._leaves.is_leaf(ev, cls)

    def is_kernel(self, module: str) -> bool:
        """Whether a module of the source holds kernels."""
        return module.startswith(self._kernels)

    def is_launch(self, name: str) -> bool:
        """Whether a function launches kernels, by the tables of `kernels`."""
        return kernels.is_kernel(name)

    def stage(self, test: ast.expr, *, holds: bool) -> str:
        """The stage, decode or prefill, in which a side of a branch is taken."""
        return stage_of_side(test, holds=holds)

    def asks_size(self, test: ast.expr) -> bool:
        """Whether a condition asks for a kernel that takes so many tokens at most."""
        return asks_size(test)

    def is_noted(self, name: str) -> bool:
        """Whether a function is noted where a model calls it, by the tables of `kernels`."""
        return kernels.is_noted(name)

    def is_foreign_module(self, name: str) -> bool:
        """Whether a class of another package is one of modules, with weights or without."""
        return self.weightless(name) or name in self._leaves.weighted_external

    def is_mark(self, name: str) -> bool:
        """Whether a tensor has an attribute of this name only where the source has set it."""
        return name.startswith("_sglang_needs_")

    def is_weight_attribute(self, name: str) -> bool:
        """Whether SGLang keeps an attribute of this name on its weights."""
        return name.startswith("weight_loader") or name == "is_metadata"

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
                return value
        return ABSENT


def _is_config(cls: Class) -> bool:
    """Whether a class is one of configs, by transformers' base class or one of its own."""
    return any(
        isinstance(base, Ext)
        and base.name.startswith("transformers.")
        and base.name.endswith("Config")
        for base in cls.mro
    )


def _of_transformers(cls: Any) -> bool:
    bases = cls.mro if isinstance(cls, Class) else ()
    return any(isinstance(b, Ext) and b.name.startswith("transformers.") for b in bases)


def _platform(values: dict[str, Any], *, methods: bool) -> Namespace:
    """A platform: `is_cuda` is true; every other `is_...` and `has_...` not given is false.

    Args:
        values: What is known of it by name.
        methods: Whether what is not among the values is asked by a call, `is_hip()`.
    """
    answers: dict[str, Any] = {"is_cuda": True, "is_cuda_alike": True}
    if methods:  # answers to questions are given by calls
        asked = {name for name, value in values.items() if isinstance(value, bool)}
        answers.update({name: values[name] for name in asked})
        values = {name: value for name, value in values.items() if name not in asked}

    def other(name: str) -> Any:
        if name.startswith(("is_", "has_", "supports_", "support_")):
            answer = bool(answers.get(name, False))
            return Native(name, lambda *_: answer) if methods else answer
        return Unknown(f"{name} of the platform")

    return Namespace("platform", values, other)


def _unknown_attribute(name: str) -> Any:
    return Unknown.attribute(f"attribute {name} of the environment", SourcePlace("environment", 1))
