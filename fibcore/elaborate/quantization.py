"""How each layer's weights are quantised, as SGLang's own quantisation config decides it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.values import (
    ABSENT,
    ACTIVE,
    Class,
    Ext,
    IndexFn,
    Mod,
    Obj,
    Raised,
    depending,
)
from fibcore.tree import OriginStr, Quantization, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.evaluator import Evaluator

    _Answer = Quantization | Unknown | None

# What one weight scale covers, by the strategy of compressed-tensors.
_STRATEGIES = {
    "tensor": "tensor",
    "channel": "channel",
    "group": "group",
    "block": "block",
    "tensor_group": "group",
}
_BITS = {2: "int2", 3: "int3", 4: "int4", 8: "int8"}


def quantization_data(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The quantisation section of `config.json`, wherever SGLang looks for it."""
    for source in (data, data.get("text_config") or {}):
        for key in ("quantization_config", "compression_config"):
            found = source.get(key) if isinstance(source, Mapping) else None
            if isinstance(found, Mapping) and found:
                return dict(found)
    return None


def method_name(data: Mapping[str, Any]) -> str:
    """SGLang's name of the quantisation method."""
    name = str(data.get("quant_method", "")).lower()
    algorithm = str(
        data.get("quant_algo") or (data.get("quantization") or {}).get("quant_algo") or ""
    ).upper()
    if name in ("", "modelopt"):
        if "NVFP4" in algorithm or "FP4" in algorithm:
            return "modelopt_fp4"
        if "FP8" in algorithm:
            return "modelopt_fp8"
    return name.replace("compressed-tensors", "compressed_tensors") or "unknown"


# SGLang serves these checkpoints with the Marlin kernels where the GPU has them
# (override_quantization_method of the Marlin configs).
_UPGRADES = {"awq": ("awq_marlin",), "gptq": ("gptq_marlin",)}


_MERGED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
    "fused_qkv_a_proj_with_mqa": ("q_a_proj", "kv_a_proj_with_mqa"),
}


def _names(entry: str, layer: str) -> bool:
    """Whether an entry of an `ignore` list names a layer."""
    if entry.startswith("re:"):
        return re.match(entry[3:], layer) is not None
    return entry == layer


class Quantizer:
    """Asks the source's quantisation config what becomes of each layer."""

    def __init__(self, evaluator: Evaluator, data: dict[str, Any] | None, model: Class) -> None:
        self.ev = evaluator
        self.data = data
        self.method = method_name(data) if data else ""
        self.config: Any = None
        self.problem: Unknown | None = None
        self._answers: dict[int, list[tuple[list[tuple[IndexFn, Any]], _Answer]]] = {}
        self._memo: dict[Any, Quantization | Unknown | None] = {}
        if data:
            self._load(model)

    def _load(self, model: Class) -> None:
        place = model.place
        module = f"{self.ev.index.package}.srt.layers.quantization"
        lookup = self.ev.imported(module, "get_quantization_config")
        section = dict(self.data or {})
        mapping = self.ev.class_attr(model, "packed_modules_mapping")
        section["packed_modules_mapping"] = mapping if isinstance(mapping, dict) else {}
        names = [*_UPGRADES.get(self.method, ()), self.method, self.method.replace("_", "-")]
        if self.method.startswith("modelopt"):
            names.append("modelopt")
        for name in dict.fromkeys(names):
            try:
                cls = self.ev.call(lookup, [name], {}, place)
                if not isinstance(cls, Class):
                    continue
                self.config = self.ev.call(
                    self.ev.get_attr(cls, "from_config", place), [section], {}, place
                )
            except Raised as error:
                if self.problem is None or name == self.method:
                    self.problem = Unknown(
                        f"quantisation config of method {name}: {error.kind}: {error.message}",
                        error.place,
                    )
                continue
            if isinstance(self.config, Obj):
                self.problem = None
                return
        self.config = Obj(Ext(f"quantization.{self.method}"), place)
        self.config.attrs["quant_method"] = self.method
        if self.problem is None:
            self.problem = Unknown(
                f"the source does not tell how {self.method} is configured", place
            )

    def of(
        self, mod: Mod, arguments: Mapping[str, Any], index: int | None = None
    ) -> Quantization | Unknown | None:
        """The quantisation of a layer that was given these constructor arguments.

        Args:
            mod: The layer, or one that equals it but for its index.
            arguments: Constructor arguments of the layer itself.
            index: The index that tells it from `mod`; None where they are the same.
        """
        given = arguments.get("quant_config")
        if given is None or self.data is None:
            return None
        if isinstance(given, Unknown):
            return given
        if given is not self.config:
            return Unknown("a quantisation config that the model made itself", mod.place)
        if self.problem is not None:
            return self.problem
        prefix = arguments.get("prefix", "")
        if self.method == "compressed_tensors" and isinstance(prefix, str):
            # Read from the config itself: SGLang's own search goes by way of that package.
            return self._compressed_layer(mod, str(prefix))
        if not self._by_name():
            return self._known((id(mod.cls), ""), lambda: self._ask(mod, prefix))
        tracked = mod.args.get("prefix")
        if index is None or not isinstance(tracked, OriginStr):
            return self._known((id(mod.cls), str(prefix)), lambda: self._ask(mod, prefix))
        return self._of_repeated(mod, tracked, index)

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
            if all(fn(index) == result for fn, result in guards):
                return answer
        tracker = prefix.tracker
        saved = (self.ev.tracker, ACTIVE.tracker, tracker.guards)
        self.ev.tracker = ACTIVE.tracker = tracker
        tracker.guards = []
        try:
            found = self._ask(mod, depending(prefix.fn(index), prefix.fn, prefix.origins))
            answers.append((tracker.guards, found))
        finally:
            self.ev.tracker, ACTIVE.tracker, tracker.guards = saved
        return found

    def _by_name(self) -> bool:
        """Whether the decision can depend on a layer's name: some list or table names layers."""
        return any(
            isinstance(v, (list, dict)) and v and k not in ("weight_block_size",)
            for k, v in (self.data or {}).items()
        )

    def _ask(self, mod: Mod, prefix: Any) -> Quantization | Unknown | None:
        place = mod.place or SourcePlace("", 1)
        if isinstance(prefix, Unknown):
            return prefix
        try:
            method = self.ev.find_attr(self.config, "get_quant_method", place)
            if method is ABSENT:
                return Unknown("the quantisation config has no get_quant_method", place)
            answer = self.ev.call(method, [mod, prefix], {}, place)
        except Raised as error:
            if error.explicit and "platform" in error.message:
                # Quantised like this, and not to be served on the GPU that the facts describe.
                return self._describe(Obj(Ext(self.method), place))
            return Unknown(f"get_quant_method raised {error.kind}: {error.message}", error.place)
        if answer is None:
            return None
        if not isinstance(answer, Obj):
            return (
                answer if isinstance(answer, Unknown) else Unknown("its quantisation method", place)
            )
        if answer.class_name.startswith("Unquantized"):
            return None
        return self._describe(answer)

    def _describe(self, answer: Obj) -> Quantization | Unknown:
        data = self.data or {}
        method = self.method
        if method == "compressed_tensors":
            return self._compressed(data)
        if method in ("fp8", "modelopt_fp8", "fbgemm_fp8", "ptpc_fp8", "w8a8_fp8"):
            block = data.get("weight_block_size")
            if isinstance(block, (list, tuple)) and len(block) == 2:
                rows, columns = (int(b) for b in block)
                return Quantization(
                    method, "float8_e4m3fn", "block", (rows, columns), None, "dynamic"
                )
            scheme = "channel" if method in ("fbgemm_fp8", "ptpc_fp8", "w8a8_fp8") else "tensor"
            static = data.get("activation_scheme", "static" if "modelopt" in method else "dynamic")
            return Quantization(method, "float8_e4m3fn", scheme, None, None, str(static))
        if method in ("modelopt_fp4", "modelopt"):
            groups = data.get("config_groups") or {}
            first: Any = next(iter(groups.values()), {}) if isinstance(groups, dict) else {}
            weights = first.get("weights") or {}
            size = data.get("group_size") or weights.get("group_size") or 16
            return Quantization(method, "float4_e2m1", "group", None, int(size), "static")
        if method == "mxfp4":
            return Quantization(method, "float4_e2m1", "group", None, 32, None)
        if method == "mxfp8":
            return Quantization(method, "float8_e4m3fn", "group", None, 32, "dynamic")
        if method in ("awq", "awq_marlin", "gptq", "gptq_marlin", "auto-round", "moe_wna16"):
            bits = data.get("bits", data.get("w_bit", 4))
            size = data.get("group_size", data.get("q_group_size", 128))
            return Quantization(
                method, _BITS.get(int(bits), f"int{bits}"), "group", None, int(size), None
            )
        if method in ("w8a8_int8", "blockwise_int8"):
            block = data.get("weight_block_size")
            pair = (int(block[0]), int(block[1])) if isinstance(block, (list, tuple)) else None
            return Quantization(
                method, "int8", "block" if pair else "channel", pair, None, "dynamic"
            )
        return Unknown(f"quantisation method {answer.class_name} of {method}", answer.place)

    def _compressed_layer(self, mod: Mod, prefix: str) -> Quantization | Unknown | None:
        """What a compressed-tensors config says of one layer.

        Its targets are classes of the unquantised model ("Linear" means every linear layer, those
        of experts included) and its `ignore` names layers, whole or as `re:` patterns, with merged
        projections under the names of their parts
        (github.com/vllm-project/compressed-tensors, quantization/quant_config.py).
        """
        linear = isinstance(mod.cls, Class) and mod.cls.derives("LinearBase")
        if not linear and not (isinstance(mod.cls, Class) and mod.cls.derives("FusedMoE")):
            return None
        data = self.data or {}
        groups = (data.get("config_groups") or {}).values()
        targets = [target for group in groups for target in group.get("targets") or ()]
        head, _, last = prefix.rpartition(".")
        parts = (
            _MERGED.get(last, (last,)) if linear else ("0.gate_proj", "0.up_proj", "0.down_proj")
        )
        names = [f"{head}.{p}" if linear else f"{prefix}.{p}" for p in parts]
        ignored = {any(_names(entry, name) for entry in data.get("ignore") or ()) for name in names}
        if ignored == {True}:
            return None
        if len(ignored) > 1 or targets != ["Linear"]:
            return Unknown(f"compressed-tensors with targets {targets} for {prefix}", mod.place)
        return self._compressed(data)

    def _compressed(self, data: Mapping[str, Any]) -> Quantization | Unknown:
        groups = data.get("config_groups")
        if not isinstance(groups, Mapping) or len(groups) != 1:
            return Unknown("compressed-tensors with several groups of layers")
        group = next(iter(groups.values()))
        weights = group.get("weights") or {}
        inputs = group.get("input_activations")
        bits, kind = int(weights.get("num_bits", 0)), str(weights.get("type"))
        dtype = {(8, "float"): "float8_e4m3fn", (4, "float"): "float4_e2m1"}.get(
            (bits, kind), _BITS.get(bits, f"int{bits}")
        )
        scheme = _STRATEGIES.get(str(weights.get("strategy")), "tensor")
        block = weights.get("block_structure")
        pair = (int(block[0]), int(block[1])) if isinstance(block, (list, tuple)) else None
        activation = None if not inputs else "dynamic" if inputs.get("dynamic") else "static"
        return Quantization(
            "compressed_tensors", dtype, scheme, pair, weights.get("group_size"), activation
        )
