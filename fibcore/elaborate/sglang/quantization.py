"""How each layer's weights are quantised, as SGLang's own quantisation config decides it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.elaborate.python.values import (
    ABSENT,
    Class,
    Ext,
    IndexFn,
    Mod,
    Obj,
    Raised,
    bare,
    depending,
    hold,
)
from fibcore.elaborate.sglang.compressed_tensors import CompressedTensors, Reading
from fibcore.elaborate.sglang.fp4_experts import FLAG, MXFP4, has_fp4_experts
from fibcore.elaborate.sglang.quantization_formats import (
    BY_NAME,
    FNUZ,
    FP8,
    TOLD_BY_NAME,
    UNNAMED,
    describe,
    layers_named,
)
from fibcore.elaborate.sglang.weight_names import WeightNames
from fibcore.elaborate.transformers.config_object import TEXT_CONFIGS
from fibcore.model.tree import Alternatives, OriginStr, Quantization, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

    _Answer = Quantization | Unknown | None


QUANTIZATION_KEYS = ("quantization_config", "compression_config")
"""Keys under which a config says how its weights are quantised."""


def quantization_data(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The quantisation section of `config.json`, wherever SGLang looks for it.

    That is the config itself, and the configs of language models inside of it
    (`get_hf_text_config`, whose keys the loader gives to the whole).
    """
    for key in QUANTIZATION_KEYS:
        found = _section(data, key)
        if found is not None:
            return found
    return None


def _section(data: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    found = data.get(key)
    if isinstance(found, Mapping) and found:
        inner = found.get("quantization")
        if isinstance(inner, Mapping):  # the form of hf_quant_config.json
            found = {**{k: v for k, v in found.items() if k != "quantization"}, **inner}
        return dict(found)
    for name in TEXT_CONFIGS:
        nested = data.get(name)
        if isinstance(nested, Mapping):
            inner_section = _section(nested, key)
            if inner_section is not None:
                return inner_section
    return None


def method_name(data: Mapping[str, Any]) -> str:
    """SGLang's name of the quantisation method.

    ModelOpt's says only that it is ModelOpt's; the algorithm tells
    (`_parse_modelopt_quant_config`).
    """
    name = str(data.get("quant_method") or "").lower()
    algorithm = str(
        data.get("quant_algo") or (data.get("quantization") or {}).get("quant_algo") or ""
    ).upper()
    if name in ("", "modelopt"):
        if algorithm == "MIXED_PRECISION":
            layers = (data.get("quantized_layers") or {}).values()
            kinds = [str(v.get("quant_algo")).upper() for v in layers if isinstance(v, Mapping)]
            return "modelopt_mixed" if any("NVFP4" in k for k in kinds) else "w4afp8"
        if "FP4" in algorithm:
            return "modelopt_fp4"
        if algorithm.startswith("MXFP8"):
            return "mxfp8"
        if "FP8" in algorithm:
            return "modelopt_fp8"
        if algorithm:
            return f"modelopt {algorithm}"
    if name == "fp8" and str(data.get("fmt", "")).lower().startswith("mx"):
        return "mxfp8"
    return name.replace("compressed-tensors", "compressed_tensors") or UNNAMED


# SGLang serves these checkpoints with the Marlin kernels where the GPU has them
# (override_quantization_method of the Marlin configs).
_UPGRADES = {"awq": ("awq_marlin",), "gptq": ("gptq_marlin",)}


_ONLINE = frozenset({"fp8", "mxfp8", "w8a8_fp8", "w8a8_int8"})
"""Methods by which the server quantises weights while it loads them, whose formats are known."""


class Quantizer:
    """Asks the source's quantisation config what becomes of each layer.

    Args:
        evaluator: The evaluator.
        data: The quantisation section of the checkpoint's config; None where it has none.
        model: The model's class.
        config: The model's config.
        online: The method by which a launch has plain weights quantised; Unknown where the server
            decides on what is not known.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        data: dict[str, Any] | None,
        model: Class,
        config: Any,
        online: str | Unknown | None = None,
    ) -> None:
        self.ev = evaluator
        undecided = online if data is None and isinstance(online, Unknown) else None
        if data is None and isinstance(online, str):
            data = {"quant_method": online}
            self.online = True
        else:
            self.online = False
        self.data = {} if undecided is not None else data
        self.method = method_name(data) if data else ""
        self.config: Any = None
        self.problem: Unknown | None = undecided
        if undecided is not None:
            self.config = Obj(Ext("quantization"), model.place)
        self._answers: dict[int, list[tuple[list[tuple[IndexFn, Any]], _Answer]]] = {}
        self._memo: dict[Any, Quantization | Unknown | None] = {}
        self._compressed: CompressedTensors | None = None
        if data:
            names = WeightNames(evaluator, model, config, self.method)
            self._load(model, names, config)
            if self.method == "compressed_tensors":
                self._compressed = self._compressed_with(names, data)

    def _load(self, model: Class, names: WeightNames, model_config: Any) -> None:
        place = model.place
        module = f"{self.ev.index.package}.srt.layers.quantization"
        lookup = self.ev.modules.imported(module, "get_quantization_config")
        # A copy: what the source hands on to other packages is lost, and is read here afterwards.
        section = _copied(self.data or {})
        section["packed_modules_mapping"] = names.packed_modules()
        methods = [*_UPGRADES.get(self.method, ()), self.method, self.method.replace("_", "-")]
        if self.method.startswith("modelopt"):
            methods.append("modelopt")
        refused: Raised | None = None
        for name in dict.fromkeys(methods):
            try:
                cls = self.ev.calls.call(lookup, [name], {}, place)
                if not isinstance(cls, Class):
                    continue
                if self.online:  # there is no section to read
                    self.config = self.ev.calls.call(cls, [], {}, place)
                else:
                    self.config = self.ev.calls.call(
                        self.ev.attributes.get(cls, "from_config", place), [section], {}, place
                    )
            except Raised as error:
                if error.explicit and name == self.method:
                    refused = error  # by a `raise` of the source's own
                if self.problem is None or name == self.method:
                    self.problem = Unknown(
                        f"quantisation config of method {name}: {error.kind}: {error.message}",
                        error.place,
                    )
                continue
            if isinstance(self.config, Obj):
                self.problem = names.apply(self.config)
                if FLAG in self.config.attrs:
                    told = has_fp4_experts(self.ev, self.data or {}, model_config)
                    self.config.attrs[FLAG] = told
                return
        if refused is not None:
            raise refused
        self.config = Obj(Ext(f"quantization.{self.method}"), place)
        self.config.attrs["quant_method"] = self.method
        if self.problem is None:
            self.problem = Unknown(
                f"the source does not tell how {self.method} is configured", place
            )

    def _compressed_with(self, names: WeightNames, data: dict[str, Any]) -> CompressedTensors:
        """The config's own groups and lists of layers, by the names that SGLang gives those."""
        mapped = dict(data)
        groups = data.get("config_groups")
        if isinstance(groups, dict):
            mapped["config_groups"] = {
                key: {**group, "targets": self._listed(names, group.get("targets"))}
                for key, group in groups.items()
            }
        mapped["ignore"] = self._listed(names, data.get("ignore"))
        return CompressedTensors(mapped, reading=self._reading())

    def _reading(self) -> Reading:
        """How the source reads names of layers to leave out: its own function tells."""
        module = f"{self.ev.index.package}.srt.layers.quantization.compressed_tensors.utils"
        asked = self.ev.modules.imported(module, "check_equal_or_regex_match")
        place = SourcePlace(module.replace(".", "/") + ".py", 1)
        ways: tuple[tuple[str, Reading], ...] = (("NAME", "part"), ("name", "end"))
        try:
            for entry, reading in ways:
                if self.ev.calls.call(asked, ["model.name", [entry]], {}, place) is True:
                    return reading
        except Raised:
            pass  # what it cannot do here says nothing; whole names are read by all releases
        return "whole"

    def _listed(self, names: WeightNames, given: Any) -> list[str]:
        found = names.listed(list(given or ()))
        if isinstance(found, Unknown):
            self.problem = found
            return []
        return found

    def of(
        self, mod: Mod, arguments: Mapping[str, Any], index: int | None = None
    ) -> Quantization | Unknown | None:
        """The quantisation of a layer that was given these constructor arguments.

        Args:
            mod: The layer, or one that equals it but for its index.
            arguments: Constructor arguments of the layer itself.
            index: The index that tells it from `mod`; None where they are the same.
        """
        found = self._of(mod, arguments, index)
        if isinstance(found, Quantization) and found.weight_dtype == FP8 and self._fnuz():
            # `normalize_e4m3fn_to_e4m3fnuz`, which all methods call when they have loaded weights.
            return attrs.evolve(found, weight_dtype=FNUZ)
        return found

    def _fnuz(self) -> bool:
        """Whether the GPU has numbers of 8 bits without infinities and a negative zero."""
        module = f"{self.ev.index.package}.srt.layers.quantization.fp8_kernel"
        return self.ev.environment.function("is_fp8_fnuz", module) is True

    def _of(
        self, mod: Mod, arguments: Mapping[str, Any], index: int | None = None
    ) -> Quantization | Unknown | None:
        given = arguments.get("quant_config")
        if given is None or self.data is None:
            return None
        if isinstance(given, Unknown):
            return given
        if given is not self.config:
            return self._own(given, mod)
        if self.problem is not None:
            return self.problem
        prefix = arguments.get("prefix", "")
        if self._compressed is not None and isinstance(prefix, str):
            # Read from the config itself: SGLang's own search goes by way of that package.
            return self._compressed_layer(self._compressed, mod, str(prefix))
        if not self._by_name():
            return self._known((id(mod.cls), ""), lambda: self._ask(mod, prefix))
        tracked = mod.args.get("prefix")
        if index is None or not isinstance(tracked, OriginStr):
            return self._known((id(mod.cls), str(prefix)), lambda: self._ask(mod, prefix))
        return self._of_repeated(mod, tracked, index)

    def _own(self, given: Any, mod: Mod) -> Quantization | Unknown | None:
        """What a config that the model made itself says of experts, where its method alone tells.

        Kimi-K3 hands experts, which compressed-tensors has packed as MXFP4, to the method mxfp4.
        """
        place = mod.place or SourcePlace("", 1)
        if isinstance(given, Obj) and _experts(mod):
            name = self.ev.attributes.find(given, "get_name", place)
            try:
                method = ABSENT if name is ABSENT else self.ev.calls.call(name, [], {}, place)
            except Raised as error:
                return Unknown(f"get_name raised {error.kind}: {error.message}", error.place)
            if method in TOLD_BY_NAME:
                return describe(str(method), {}, "", experts=True)
        return Unknown("a quantisation config that the model made itself", mod.place)

    def _known(
        self, key: Any, ask: Callable[[], Quantization | Unknown | None]
    ) -> Quantization | Unknown | None:
        if key not in self._memo:
            self._memo[key] = ask()
        return self._memo[key]

    def _of_repeated(self, mod: Mod, prefix: Any, index: int) -> Quantization | Unknown | None:
        """Ask once for equal layers.

        A later one for which every test of its name goes the same way has the same answer.
        """
        answers = self._answers.setdefault(id(mod), [])
        for guards, answer in answers:
            if hold(guards, index):
                return answer
        with self.ev.layers.asking(prefix.tracker) as decisions:
            found = self._ask(mod, depending(prefix.fn(index), prefix.fn, prefix.origins))
        answers.append((decisions, found))
        return found

    def _by_name(self) -> bool:
        """Whether the decision can depend on a layer's name: some list or table names layers."""
        left_out = self.config.attrs.get("ignored_layers") if isinstance(self.config, Obj) else None
        # Variables of the environment add to what the checkpoint leaves out.
        return any(layers_named(self.data or {})) or bool(left_out)

    def _ask(self, mod: Mod, prefix: Any) -> Quantization | Unknown | None:
        place = mod.place or SourcePlace("", 1)
        if isinstance(prefix, Unknown):
            return prefix
        try:
            method = self.ev.attributes.find(self.config, "get_quant_method", place)
            if method is ABSENT:
                return Unknown("the quantisation config has no get_quant_method", place)
            answer = self.ev.calls.call(method, [mod, prefix], {}, place)
        except Raised as error:
            if error.explicit and "platform" in error.message:
                # Quantised like this, and not to be served on the GPU that the facts describe.
                return self._describe(mod, prefix)
            return Unknown(f"get_quant_method raised {error.kind}: {error.message}", error.place)
        if answer is None:
            if isinstance(mod.cls, Class) and mod.cls.derives("LinearBase"):
                return Unknown(f"{self.method} says nothing of {prefix}", place)
            return None
        methods = answer.values if isinstance(answer, Alternatives) else (answer,)
        if not all(isinstance(method, Obj) for method in methods):
            return (
                answer if isinstance(answer, Unknown) else Unknown("its quantisation method", place)
            )
        plain = {method.class_name.startswith("Unquantized") for method in methods}
        if len(plain) > 1:
            return Unknown("whether it is quantised", place)
        if plain == {True}:
            return None
        return self._online(methods, mod) if self.online else self._describe(mod, prefix)

    def _online(self, methods: Any, mod: Mod) -> Quantization | Unknown | None:
        """The format that the server gives plain weights when it loads them."""
        if self.method not in _ONLINE:
            return Unknown(f"how the server quantises weights with {self.method}", mod.place)
        if self.method != "fp8" or _experts(mod):
            return self._describe(mod, "")
        # `process_weights_after_loading`: its kernels take a scale for each channel, others one.
        channels = {m.attrs.get("cutlass_fp8_supported") for m in methods if isinstance(m, Obj)}
        if channels not in ({True}, {False}):
            return Unknown("the scales of weights that the server quantises to fp8", mod.place)
        scales = "channel" if channels == {True} else "tensor"
        return Quantization(self.method, FP8, scales, None, None, "dynamic")

    def _describe(self, mod: Mod, prefix: Any) -> Quantization | Unknown | None:
        data = self.data or {}
        if self.method == "modelopt_mixed":
            algorithm = self._algorithm(prefix, mod.place or SourcePlace("", 1))
            if isinstance(algorithm, Unknown):
                return algorithm
            data = {**data, "quant_algo": str(algorithm)}
        if _experts(mod) and isinstance(self.config, Obj):
            fp4 = self.config.attrs.get(FLAG, False)
            if isinstance(fp4, Unknown):
                return fp4
            if fp4 is True:
                return describe(MXFP4, {}, "", experts=True)
        # The name is looked at where a format depends on it; then layers differ by their names.
        name = str(prefix) if self.method in BY_NAME else bare(prefix)
        found = describe(self.method, data, name, experts=_experts(mod))
        if isinstance(found, Unknown):
            return Unknown(found.reason, mod.place)
        return found

    def _algorithm(self, prefix: Any, place: SourcePlace) -> Any:
        """The algorithm of a layer where each has its own, as the source looks it up."""
        resolve = self.ev.attributes.find(self.config, "_resolve_quant_algo", place)
        if resolve is ABSENT:
            return Unknown(f"which algorithm of {self.method} a layer has", place)
        return self.ev.calls.call(resolve, [prefix], {}, place)

    def _compressed_layer(
        self, config: CompressedTensors, mod: Mod, prefix: str
    ) -> Quantization | Unknown | None:
        experts = _experts(mod)
        if not isinstance(mod.cls, Class):
            return None
        if mod.cls.derives("ParallelLMHead"):
            place = mod.place or SourcePlace("", 1)
            has = self.ev.attributes.find(self.config, "get_lm_head_scheme", place) is not ABSENT
            found = config.head(prefix) if has else None
        elif experts or mod.cls.derives("LinearBase"):
            names = tuple(c.name.rpartition(".")[2] for c in mod.cls.mro)
            found = config.layer(prefix, names, experts=experts)
        else:
            return None
        if isinstance(found, Unknown):
            return Unknown(found.reason, mod.place)
        return found


def _experts(mod: Mod) -> bool:
    return isinstance(mod.cls, Class) and mod.cls.derives("FusedMoE")


def _copied(data: Any) -> Any:
    """A copy of what a config file holds; its numbers and texts stay themselves."""
    if isinstance(data, dict):
        return {key: _copied(value) for key, value in data.items()}
    return [_copied(item) for item in data] if isinstance(data, list) else data
