"""What weights look like by a quantisation config: one function for each family of formats.

The keys are those of the checkpoints' own documentation (Hugging Face's quantisation guides,
vllm-project/compressed-tensors, NVIDIA ModelOpt, AMD Quark, Intel AutoRound). Of a format that is
not known here, its name is.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from fibcore.elaborate.python.patterns import matches
from fibcore.model.tree import Quantization, Unknown

Answer = Quantization | Unknown | None
"""How a layer is quantised; None for plain weights, Unknown where that is not known."""

UNNAMED = "unknown"
"""The method of a config that names none."""
FP8 = "float8_e4m3fn"
FNUZ = "float8_e4m3fnuz"
FP4 = "float4_e2m1"
MERGED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
    "fused_qkv_a_proj_with_mqa": ("q_a_proj", "kv_a_proj_with_mqa"),
    "in_proj_qkvz": ("in_proj_qkv", "in_proj_z"),
    "in_proj_ba": ("in_proj_b", "in_proj_a"),
}
"""Layers of SGLang that hold several layers of the checkpoint."""

_EXPERT_PARTS = ("0.gate_proj", "0.up_proj", "0.down_proj")
_FULL = 16
"""Bits of a weight that is not quantised."""


def checkpoint_names(prefix: str, *, experts: bool) -> list[str]:
    """The names that a layer has in the checkpoint: of the parts of a merged one, of experts."""
    if experts:
        return [f"{prefix}.{part}" for part in _EXPERT_PARTS]
    head, _, last = prefix.rpartition(".")
    return [f"{head}.{part}" if head else part for part in MERGED.get(last, (last,))]


def describe(method: str, data: Mapping[str, Any], prefix: str, *, experts: bool) -> Answer:
    """How a layer is stored that its quantisation config covers.

    Args:
        method: SGLang's name of the method.
        data: The config's section.
        prefix: The layer's name.
        experts: Whether it holds the experts of a layer.
    """
    make = _METHODS.get(method)
    if method == UNNAMED:
        return Unknown("a quantisation config that names no method")
    if make is None:
        return Quantization(method, method, "format")
    try:
        return make(method, data, prefix, experts)
    except (TypeError, ValueError, AttributeError, re.error) as error:
        return Unknown(f"quantisation config of {method} that cannot be read: {error}")


def integers(bits: Any) -> str:
    """The dtype of integers of so many bits."""
    return f"int{int(bits)}"


def block_sizes(value: Any) -> tuple[int, int] | None:
    """Rows and columns of a block, as a list gives them; None where it gives none."""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return int(value[0]), int(value[1])
    return None


def _fp8(method: str, data: Mapping[str, Any], prefix: str, experts: bool) -> Answer:
    block = block_sizes(data.get("weight_block_size"))
    algorithm = str(data.get("quant_algo") or "").upper()
    if algorithm in ("FP8_PB_WO", "FP8_BLOCK_SCALES"):
        size = int(data.get("group_size") or 128)
        block = (size, size)
    if block is not None and block[0] == 1:
        return Quantization(method, FP8, "group", None, block[1], "dynamic")
    if block is not None:
        return Quantization(method, FP8, "block", block, None, "dynamic")
    channels = method in ("fbgemm_fp8", "ptpc_fp8", "w8a8_fp8") or "PER_CHANNEL" in algorithm
    usual = "dynamic" if channels or "modelopt" not in method else "static"
    activation = str(data.get("activation_scheme", usual))
    return Quantization(method, FP8, "channel" if channels else "tensor", None, None, activation)


def _mxfp8(method: str, data: Mapping[str, Any], prefix: str, experts: bool) -> Answer:
    return Quantization(method, FP8, "group", None, int(data.get("group_size") or 32), "dynamic")


def _nvfp4(method: str, data: Mapping[str, Any], prefix: str, experts: bool) -> Answer:
    groups = data.get("config_groups")
    first: Any = next(iter(groups.values()), {}) if isinstance(groups, Mapping) else {}
    size = data.get("group_size") or (first.get("weights") or {}).get("group_size") or 16
    weights_alone = method == "petit_nvfp4" or "W4A16" in str(data.get("quant_algo")).upper()
    return Quantization(method, FP4, "group", None, int(size), None if weights_alone else "static")


def _mixed(method: str, data: Mapping[str, Any], prefix: str, experts: bool) -> Answer:
    """ModelOpt's MIXED_PRECISION: an algorithm for each layer that is quantised.

    `quant_algo` is that of the layer in question; the first layer that names it tells its sizes
    (`ModelOptMixedPrecisionConfig.from_config`).
    """
    algorithm = str(data.get("quant_algo")).upper()
    layers = data.get("quantized_layers") or {}
    kinds = (kind for kind in layers.values() if str(kind.get("quant_algo")).upper() == algorithm)
    section = {**next(kinds, {}), "quant_algo": algorithm}
    if "NVFP4" in algorithm:
        return _nvfp4(method, section, prefix, experts)
    if algorithm == "MXFP8":
        return _mxfp8(method, section, prefix, experts)
    if "FP8" in algorithm:
        return _fp8("modelopt_fp8", section, prefix, experts)
    return Unknown(f"quantisation algorithm {algorithm} of {method}, which is not known")


def _packed(method: str, data: Mapping[str, Any], prefix: str, experts: bool) -> Answer:
    """AWQ, GPTQ and what shares their packing: groups of integers along K."""
    bits = data.get("bits", data.get("w_bit", data.get("num_bits", 4)))
    size = data.get("group_size", data.get("q_group_size", 128))
    symmetric, act_order = data.get("sym", True), data.get("desc_act", False)
    for pattern, rule in (data.get("dynamic") or {}).items():
        if pattern.startswith("-:"):
            if matches(pattern[2:], prefix):
                return None
        elif matches(pattern.removeprefix("+:"), prefix):
            bits, size = rule.get("bits", bits), rule.get("group_size", size)
            symmetric = rule.get("sym", symmetric)
            act_order = rule.get("desc_act", act_order)
            break
    # AWQ's key and its default; GPTQ's is `sym`.
    zeros = bool(data.get("zero_point", method.startswith("awq") or not symmetric))
    found = _grouped(method, integers(bits), int(size), zeros=zeros)
    found = attrs.evolve(found, packing=_packing(method, data, zeros=zeros))
    # One group needs no list of groups.
    return attrs.evolve(found, act_order=bool(act_order) and int(size) > 0)


def _packing(method: str, data: Mapping[str, Any], *, zeros: bool) -> str:
    """How AWQ and GPTQ pack; the second form of GPTQ differs in zero points alone."""
    if method.startswith("awq"):
        return "awq"
    layout = str(data.get("checkpoint_format") or "gptq")
    if not method.startswith("gptq") or layout not in ("gptq", "gptq_v2"):
        return ""  # tiles of a kernel's own (`checkpoint_format` "marlin")
    return layout if zeros else "gptq"


def _grouped(method: str, dtype: str, size: int, *, zeros: bool) -> Quantization:
    """Groups of that many weights; -1 stands for a whole row."""
    if size <= 0:
        return Quantization(method, dtype, "channel", zero_points=zeros)
    return Quantization(method, dtype, "group", group_size=size, zero_points=zeros)


def _auto_round(method: str, data: Mapping[str, Any], prefix: str, experts: bool) -> Answer:
    names = [prefix, *checkpoint_names(prefix, experts=experts)]
    blocks = data.get("block_name_to_quantize") or data.get("to_quant_block_names") or ()
    listed = blocks.split(",") if isinstance(blocks, str) else list(blocks)
    if listed and not any(n.startswith(str(b).strip()) for n in names for b in listed):
        return None
    rules = data.get("extra_config") or {}
    own = _rule(rules, prefix)
    found = {own} if own is not None else {_rule(rules, name) for name in names[1:]}
    if len(found) > 1:
        return Unknown(f"auto-round with several formats in {prefix}")
    rule = dict(found.pop() or ())
    bits = int(rule.get("bits", data.get("bits", 4)))
    size = int(rule.get("group_size", data.get("group_size", 128)))
    kind = str(rule.get("data_type", data.get("data_type", "int")))
    if bits >= _FULL:
        return None
    if kind.startswith("int"):
        zeros = not rule.get("sym", data.get("sym", True))
        layout = str(data.get("packing_format") or "auto_round:auto_gptq")
        made = _grouped(method, integers(bits), size, zeros=zeros)
        if "awq" in layout:  # has them in any case
            return attrs.evolve(made, packing="awq", zero_points=True)
        return attrs.evolve(made, packing="gptq" if "gptq" in layout else "")
    if bits == 4 and ("fp" in kind or "float" in kind):
        return Quantization(method, FP4, "group", None, size, "dynamic")
    if bits == 8 and ("fp" in kind or "float" in kind):
        return Quantization(method, FP8, "group" if size > 0 else "channel", None, size, "dynamic")
    return Unknown(f"auto-round with {bits} bits of {kind}")


def _rule(rules: Mapping[str, Any], name: str) -> tuple[tuple[str, Any], ...] | None:
    """What `extra_config` says of a layer, by its name or a pattern."""
    for pattern, rule in rules.items():
        if pattern == name or _matches(pattern, name):
            return tuple(sorted(rule.items()))
    return None


def _matches(pattern: str, name: str) -> bool:
    try:
        return matches(pattern, name, whole=True)
    except re.error:
        return False


def _bitsandbytes(method: str, data: Mapping[str, Any], prefix: str, experts: bool) -> Answer:
    if data.get("load_in_8bit") or data.get("_load_in_8bit"):
        return Quantization(method, "int8", "channel", None, None, "dynamic")
    # bitsandbytes' own data types, a scale for each 64 elements (its default `blocksize`).
    kind = str(data.get("bnb_4bit_quant_type", "fp4"))
    return Quantization(method, kind, "group", None, 64)


def _int8(method: str, data: Mapping[str, Any], prefix: str, experts: bool) -> Answer:
    block = block_sizes(data.get("weight_block_size"))
    return Quantization(method, "int8", "block" if block else "channel", block, None, "dynamic")


def _w4afp8(method: str, data: Mapping[str, Any], prefix: str, experts: bool) -> Answer:
    """Experts of 4-bit integers, other layers of fp8."""
    if experts:
        size = int(data.get("group_size") or 128)
        return Quantization(method, "int4", "group", None, size, "static")
    block = block_sizes(data.get("weight_block_size")) or (128, 128)
    return Quantization(method, FP8, "block", block, None, "dynamic")


def _mxfp4(method: str, data: Mapping[str, Any], prefix: str, experts: bool) -> Answer:
    return Quantization(method, FP4, "group", None, 32, None)


def _qoq(method: str, data: Mapping[str, Any], prefix: str, experts: bool) -> Answer:
    size = int(data.get("group_size", 128))
    scheme = ("group", size) if size > 0 else ("channel", None)
    return Quantization(method, "int4", scheme[0], None, scheme[1], "dynamic")


_QUARK_SCHEMES = {"per_tensor": "tensor", "per_channel": "channel", "per_group": "group"}
_QUARK_TYPES = {"fp8_e4m3": FP8, "fp4": FP4, "int8": "int8", "int4": "int4", "uint4": "int4"}


def _quark(method: str, data: Mapping[str, Any], prefix: str, experts: bool) -> Answer:
    names = checkpoint_names(prefix, experts=experts)
    configs = [_quark_config(data, name) for name in names]
    if any(c != configs[0] for c in configs[1:]):
        return Unknown(f"Quark with several formats in {prefix}")
    weight = (configs[0] or {}).get("weight")
    if not weight:
        return None
    if isinstance(weight, list):
        return Unknown("Quark with weights that are quantised twice")
    dtype = _QUARK_TYPES.get(str(weight.get("dtype")))
    scheme = _QUARK_SCHEMES.get(str(weight.get("qscheme")))
    if dtype is None or scheme is None:
        return Unknown(f"Quark's {weight.get('dtype')} with {weight.get('qscheme')}")
    inputs = configs[0].get("input_tensors")
    activation = None if not inputs else "dynamic" if inputs.get("is_dynamic") else "static"
    size = int(weight["group_size"]) if scheme == "group" else None
    return Quantization(method, dtype, scheme, None, size, activation)


def _quark_config(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    for pattern, config in (data.get("layer_quant_config") or {}).items():
        if fnmatch.fnmatch(name, pattern):
            return dict(config)
    return dict(data.get("global_quant_config") or {})


def layers_named(data: Mapping[str, Any]) -> Iterator[str]:
    """Keys of a config under which layers are named, so that equal layers may differ."""
    for key, value in data.items():
        if isinstance(value, (list, dict)) and value and key not in ("weight_block_size",):
            yield key


BY_NAME = frozenset((
    "awq", "awq_marlin", "gptq", "gptq_marlin", "moe_wna16", "auto-round", "quark",
))  # fmt: skip
"""Methods whose config tells the format of a layer by its name."""

TOLD_BY_NAME = frozenset(("mxfp4",))
"""Methods that store experts in one way, whatever their config says."""

_METHODS: dict[str, Callable[[str, Mapping[str, Any], str, bool], Answer]] = {
    **dict.fromkeys(("fp8", "modelopt_fp8", "fbgemm_fp8", "ptpc_fp8", "w8a8_fp8"), _fp8),
    "mxfp8": _mxfp8,
    **dict.fromkeys(("modelopt_fp4", "modelopt", "petit_nvfp4", "minimax_m3_nvfp4"), _nvfp4),
    "modelopt_mixed": _mixed,
    "mxfp4": _mxfp4,
    **dict.fromkeys(("awq", "awq_marlin", "gptq", "gptq_marlin", "moe_wna16"), _packed),
    "auto-round": _auto_round,
    "bitsandbytes": _bitsandbytes,
    **dict.fromkeys(("w8a8_int8", "blockwise_int8", "auto-round-int8"), _int8),
    "w4afp8": _w4afp8,
    "qoq": _qoq,
    "quark": _quark,
}
