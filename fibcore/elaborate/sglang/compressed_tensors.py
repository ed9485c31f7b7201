"""What compressed-tensors configs say of a layer, and which scheme SGLang runs it with.

The keys are those of github.com/vllm-project/compressed-tensors; the choice is that of SGLang's
`CompressedTensorsConfig` (`srt/layers/quantization/compressed_tensors/compressed_tensors.py`, its
`_get_scheme_from_parts` and what that asks).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from fibcore.elaborate.python.patterns import matches
from fibcore.elaborate.sglang.quantization_formats import (
    FP4,
    FP8,
    Answer,
    block_sizes,
    checkpoint_names,
    describe,
    integers,
)
from fibcore.model.tree import Quantization, Unknown

METHOD = "compressed_tensors"

Reading = Literal["whole", "end", "part"]
"""What of a layer's path an entry of `ignore` has to be: all of it, its end from a dot on (since
0.5.17), or any part, in capitals or not (before)."""

# Formats of which SGLang reads how activations are quantised (`is_activation_quantization_format`).
_WITH_ACTIVATIONS = frozenset((
    "naive-quantized", "int-quantized", "float-quantized", "nvfp4-pack-quantized",
    "pack-quantized",
))  # fmt: skip
_PACKED = "pack-quantized"
_PACKED_BITS = (4, 8)
"""Bits of weights that stand alone (`WNA16_SUPPORTED_BITS`)."""
_NVFP4_GROUP = 16
_WHOLE = ("tensor", "channel")


@attrs.frozen
class Arguments:
    """How weights or activations are quantised (`QuantizationArgs`).

    Attributes:
        bits: Bits of a number.
        kind: "int" or "float".
        strategy: What a scale covers: "tensor", "channel", "group", "token", ...
        group_size: Numbers of a group; None where there are no groups.
        block: Rows and columns of a block; None where there are no blocks.
        symmetric: Whether there are no zero points.
        dynamic: Whether scales are made on the fly; some are where the text "local" stands.
        act_order: Whether elements of K are in groups by their activations, in any order.
    """

    bits: int
    kind: str
    strategy: str
    group_size: int | None
    block: tuple[int, int] | None
    symmetric: bool
    dynamic: bool
    act_order: bool = False

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Arguments:
        """Read them, with the defaults of the package."""
        size = data.get("group_size")
        strategy = data.get("strategy")
        if strategy is None:  # as the package infers it
            strategy = "tensor" if size is None else "group" if int(size) > 0 else "channel"
        return cls(
            bits=int(data.get("num_bits", 8)),
            kind=str(data.get("type", "int")),
            strategy=str(strategy),
            group_size=None if size is None else int(size),
            block=block_sizes(data.get("block_structure")),
            symmetric=bool(data.get("symmetric", True)),
            dynamic=bool(data.get("dynamic", False)),
            # `ActivationOrdering`; with the others the groups are those of neighbours.
            act_order=str(data.get("actorder")).lower() in ("group", "dynamic", "true"),
        )

    @property
    def words(self) -> str:
        """For people: "4 bits of float, strategy group"."""
        return f"{self.bits} bits of {self.kind}, strategy {self.strategy}"


class CompressedTensors:
    """A compressed-tensors config: groups of layers, each with a format of its own.

    Its targets are classes of the unquantised model ("Linear" means every linear layer, those of
    experts included), names of layers, or `re:` patterns of names; its `ignore` names layers in the
    same way (github.com/vllm-project/compressed-tensors, quantization/quant_config.py).

    Args:
        data: The config's section.
        reading: How the release reads entries of `ignore`.
    """

    def __init__(self, data: Mapping[str, Any], *, reading: Reading = "whole") -> None:
        self._reading = reading
        self._format = data.get("format")
        self._linear_fp8 = data.get("linear_fp8_config")
        self._ignored = list(data.get("ignore") or ())
        groups = data.get("config_groups")
        self._groups: list[Mapping[str, Any]] = (
            list(groups.values()) if isinstance(groups, Mapping) else []
        )
        sparse = data.get("sparsity_config") or {}
        self._sparse = sparse.get("format", "dense") != "dense"

    def layer(self, prefix: str, classes: tuple[str, ...], *, experts: bool) -> Answer:
        """What the config says of one layer.

        Args:
            prefix: The layer's name.
            classes: The names of its class and base classes.
            experts: Whether it holds the experts of a layer.
        """
        try:
            return self._layer(prefix, classes, experts)
        except (TypeError, ValueError, AttributeError, re.error) as error:
            return Unknown(f"a compressed-tensors config that cannot be read: {error}")

    def _layer(self, prefix: str, classes: tuple[str, ...], experts: bool) -> Answer:
        if isinstance(self._linear_fp8, Mapping) and not experts:
            return describe("fp8", self._linear_fp8, prefix, experts=False)
        names = checkpoint_names(prefix, experts=experts)
        ignored = {self._is_ignored(name) for name in names}
        if ignored == {True}:
            return None
        if len(ignored) > 1:
            return Unknown(f"compressed-tensors that ignores only a part of {prefix}")
        found = [self._group(name, prefix, classes) for name in names]
        if any(g is not found[0] for g in found[1:]):
            return Unknown(f"compressed-tensors with several formats in {prefix}")
        if found[0] is None:
            return Unknown(f"compressed-tensors without a group of layers for {prefix}")
        if self._sparse:
            return Unknown("compressed-tensors with sparse weights")
        group = found[0]
        if not group.get("weights"):
            return None
        if experts:
            return _stored(group["weights"], group.get("input_activations"))
        return linear_scheme(group, group.get("format") or self._format)

    def head(self, prefix: str) -> Answer:
        """What the config says of an LM head, where the release has quantised ones.

        It has to be named: a class such as "Linear" is none of it (`get_lm_head_scheme`).
        """
        try:
            if self._is_ignored(prefix):
                return None
            for group in self._groups:
                targets = group.get("targets") or ()
                if any(self._names(target, prefix) for target in targets) and group.get("weights"):
                    return linear_scheme(group, group.get("format") or self._format)
        except (TypeError, ValueError, AttributeError, re.error) as error:
            return Unknown(f"a compressed-tensors config that cannot be read: {error}")
        return None

    def _is_ignored(self, name: str) -> bool:
        return any(self._names(entry, name) for entry in self._ignored)

    def _names(self, entry: str, layer: str) -> bool:
        if names_layer(entry, layer):
            return True
        if entry.startswith("re:") or self._reading == "whole":
            return False
        if self._reading == "part":
            return entry.lower() in layer.lower()
        return layer.endswith(f".{entry}")

    def _group(self, name: str, prefix: str, classes: tuple[str, ...]) -> Mapping[str, Any] | None:
        """The group of a layer: names come before classes."""
        for by_class in (False, True):
            for group in self._groups:
                for target in group.get("targets") or ():
                    if by_class and (target == "Linear" or target in classes):
                        return group
                    if not by_class and (names_layer(target, name) or names_layer(target, prefix)):
                        return group
        return None


def linear_scheme(group: Mapping[str, Any], layout: Any) -> Answer:
    """The scheme of a linear layer in a group of a config; Unknown where SGLang refuses it.

    Args:
        group: The group.
        layout: The format of the group, or that of the whole config.
    """
    weights = Arguments.of(group["weights"])
    inputs = None
    if group.get("input_activations") and (layout is None or layout in _WITH_ACTIVATIONS):
        inputs = Arguments.of(group["input_activations"])
    if inputs is None and weights.kind == "int" and weights.strategy in ("channel", "group"):
        if weights.bits not in _PACKED_BITS or layout not in (_PACKED, None):
            return _refused(weights, inputs, layout)
        return _made(weights, None)
    if _is_nvfp4(weights) and (inputs is None or _is_nvfp4(inputs)):
        return _made(weights, inputs)
    if weights.kind == "float" and weights.bits == 8 and weights.symmetric and not weights.dynamic:
        return _float8(weights, inputs, layout)
    return (
        _made(weights, inputs) if _is_int8(weights, inputs) else _refused(weights, inputs, layout)
    )


def _is_nvfp4(part: Arguments) -> bool:
    form = (part.kind, part.bits, part.strategy, part.group_size, part.symmetric)
    return form == ("float", 4, "tensor_group", _NVFP4_GROUP, True)


def _float8(weights: Arguments, inputs: Arguments | None, layout: Any) -> Answer:
    """Weights of fp8: both are quantised where SGLang has such activations, else weights alone."""
    if inputs is not None and inputs.kind == "float":
        whole = inputs.symmetric and inputs.strategy == "tensor"
        if weights.strategy in (*_WHOLE, "block") and (inputs.dynamic or whole):
            return _made(weights, inputs)
    if weights.strategy in _WHOLE:
        return _made(weights, None)
    return _refused(weights, inputs, layout)


def _is_int8(weights: Arguments, inputs: Arguments | None) -> bool:
    if inputs is None or (weights.bits, inputs.bits) != (8, 8):
        return False
    given = (inputs.strategy, inputs.dynamic) in (("tensor", False), ("token", True))
    own = weights.strategy in _WHOLE and weights.symmetric and not weights.dynamic
    return given and own and weights.kind == "int"


def _refused(weights: Arguments, inputs: Arguments | None, layout: Any) -> Unknown:
    beside = "no activations" if inputs is None else f"activations of {inputs.words}"
    return Unknown(
        f"compressed-tensors weights of {weights.words}, with {beside}, in the format {layout}: "
        "SGLang has no scheme for them"
    )


def _made(weights: Arguments, inputs: Arguments | None) -> Answer:
    activation = None if inputs is None else "dynamic" if inputs.dynamic else "static"
    return _quantization(weights, activation)


def _stored(weights: Mapping[str, Any], inputs: Any) -> Answer:
    """How the weights of experts are stored, whatever SGLang runs them with."""
    activation = None if not inputs else "dynamic" if inputs.get("dynamic") else "static"
    return _quantization(Arguments.of(weights), activation)


def _quantization(weights: Arguments, activation: str | None) -> Answer:
    kind, bits = weights.kind, weights.bits
    if kind not in ("int", "float") or (kind == "float" and bits not in (4, 8)):
        return Unknown(f"compressed-tensors weights of {bits} bits of {kind}")
    dtype = {(8, "float"): FP8, (4, "float"): FP4}.get((bits, kind), integers(bits))
    scheme = "group" if weights.strategy == "tensor_group" else weights.strategy
    if scheme not in ("tensor", "channel", "group", "block"):
        return Unknown(f"compressed-tensors with the strategy {weights.strategy}")
    size = weights.group_size if scheme == "group" else None
    zeros = kind == "int" and not weights.symmetric
    alone = kind == "int" and activation is None
    return Quantization(
        METHOD,
        dtype,
        scheme,
        weights.block,
        size,
        activation,
        zeros,
        packing="pack_quantized" if alone else "",
        act_order=alone and scheme == "group" and weights.act_order,
    )


def names_layer(entry: str, layer: str) -> bool:
    """Whether an entry of a config's list names a layer: as it is, or as a `re:` pattern."""
    if entry.startswith("re:"):
        return matches(entry[3:], layer)
    return entry == layer
