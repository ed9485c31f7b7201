"""Matrices B of integers that activations in bfloat16 are multiplied by: AWQ, GPTQ, pack-quantized.

A format is made of what a layer's quantisation says: who packed the weights, their bits, the group
that a scale covers, whether there are zero points, and whether groups are in any order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import attrs

from fibcore.plugin import Definition, Quantization, TensorSpec, tensor

WORD = 32
"""Bits of the words into which checkpoints pack integers."""


@attrs.frozen
class Packing:
    """How a checkpoint packs integers, as bytes of its 32-bit words, the lowest bits first.

    Attributes:
        name: As `Quantization.packing` has it.
        title: For people.
        weights: Axes of B.
        scales: Axes of its scales.
        zeros: Axes of its zero points.
        order: What of B a word holds.
        order_of_zeros: What of the zero points a word holds.
        always_zeros: Whether there are zero points in any case.
        bits: Bits of a number that it packs.
        offset: What is added to a zero point.
    """

    name: str
    title: str
    weights: str
    scales: str
    zeros: str
    order: str
    order_of_zeros: str
    always_zeros: bool = False
    bits: tuple[int, ...] = (4, 8)
    offset: int = 0


_AWQ_ORDER = "eight neighbours along N, in the order 0, 2, 4, 6, 1, 3, 5, 7"
PACKINGS = (
    # casper-hansen/AutoAWQ, awq/utils/packing_utils.py.
    Packing(
        name="awq",
        title="AWQ",
        weights="K n_bytes",
        scales="num_k_blocks N",
        zeros="num_k_blocks n_bytes",
        order=_AWQ_ORDER,
        order_of_zeros=_AWQ_ORDER,
        always_zeros=True,
        bits=(4,),
    ),
    # AutoGPTQ/AutoGPTQ, auto_gptq/nn_modules/qlinear; the format gptq of ModelCloud/GPTQModel.
    Packing(
        name="gptq",
        title="GPTQ",
        weights="k_words n_word_bytes",
        scales="num_k_blocks N",
        zeros="num_k_blocks n_bytes",
        order="neighbours along K",
        order_of_zeros="neighbours along N",
        offset=1,
    ),
    # vllm-project/compressed-tensors, compressors/quantized_compressors/pack_quantized.py.
    Packing(
        name="pack_quantized",
        title="compressed-tensors pack-quantized",
        weights="N k_bytes",
        scales="N num_k_blocks",
        zeros="n_words num_k_block_bytes",
        order="neighbours along K",
        order_of_zeros="neighbours along N",
    ),
)

WORDS = ("bits4", "bits8", "middle4", "middle8", "zeros", "act_order")
"""Marks of the references."""

_NAME = re.compile(
    r"gemm_w(?P<bits>\d)a16_(?P<packing>awq|gptq|pack_quantized)"
    r"_(?:g(?P<group>\d+)|channel)(?P<zeros>_zeros)?(?P<act_order>_act_order)?"
)


@attrs.frozen
class WeightOnly:
    """B of integers, A and C in bfloat16.

    It has the attributes of `Format` that others ask for.

    Attributes:
        packing: How B and zero points are packed.
        bits: Bits of a number.
        block: Elements along K that a scale covers; None for all.
        zeros: Whether a zero point is taken off before scaling.
        act_order: Whether `g_idx` says which group an element of K is in.
    """

    packing: Packing
    bits: int
    block: int | None
    zeros: bool
    act_order: bool

    dtype = "bfloat16"
    output_dtype = "bfloat16"
    scales = "group"
    scale_dtype = "bfloat16"
    packed = False
    alpha = False
    batched = False
    stored_n_k = True

    @property
    def name(self) -> str:
        """What the names of its kernels begin with: `gemm_w4a16_gptq_g128_act_order`."""
        group = f"g{self.block}" if self.block is not None else "channel"
        name = f"gemm_w{self.bits}a16_{self.packing.name}_{group}"
        return name + self._suffixes

    @property
    def _suffixes(self) -> str:
        zeros = "_zeros" if self.zeros and not self.packing.always_zeros else ""
        return zeros + ("_act_order" if self.act_order else "")

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags of its kernels."""
        return (f"quantization:int{self.bits}",)

    @property
    def reference(self) -> str:
        """The file below `references/`."""
        return f"gemm_weight_only_{self.packing.name}"

    @property
    def words(self) -> tuple[str, ...]:
        """Marks of the reference whose lines it keeps."""
        found = [f"bits{self.bits}", "zeros" if self.zeros else f"middle{self.bits}"]
        found += ["act_order"] if self.act_order else []
        return tuple(found)

    @property
    def description(self) -> str:
        """What its definitions say before N and K."""
        of = f"{self.bits}-bit integers ({self._title})"
        return f"Matrix multiply C = A · Bᵀ of bfloat16 and {of}"

    @property
    def _title(self) -> str:
        return f"{self.packing.title}, weights alone quantised"

    @property
    def details(self) -> str:
        """What its definitions say after N and K."""
        covered = f"{self.block} elements" if self.block is not None else "All elements"
        text = f"{covered} of B along K have a scale{' and a zero point' if self.zeros else ''}."
        if self.act_order:
            text += " Which they are says g_idx (act-order)."
        if not self.zeros:
            text += f" {2 ** (self.bits - 1)} is taken off each integer."
        return text

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The inputs in order."""
        words = f"the checkpoint's {WORD}-bit words as bytes, the lowest first. A word has"
        per = WORD // self.bits
        order = f"{per} integers of {self.bits} bits, the first in its lowest:"
        found = {
            "A": tensor("M K", self.dtype, "Activations."),
            "B": tensor(
                self.packing.weights,
                "int8",
                f"Weights, {words} {order} {self.packing.order}.",
            ),
            "B_scale": tensor(self.packing.scales, self.scale_dtype, "Multiplies a group of B."),
        }
        if self.zeros:
            about = f"Taken off a group of B{self._offset}; {words} {order} "
            about += f"{self.packing.order_of_zeros}."
            found["B_zeros"] = tensor(self.packing.zeros, "int8", about)
        if self.act_order:
            found["g_idx"] = tensor("K", "int32", "The group of each element of K.")
        return found

    @property
    def _offset(self) -> str:
        return f" after {self.packing.offset} is added" if self.packing.offset else ""

    def sizes(self, n: int, k: int) -> Iterator[tuple[str, int, str]]:
        """The const axes that follow from N and K: name, size, and how it follows."""
        per, per_byte = WORD // self.bits, 8 // self.bits
        groups = k // self.block if self.block is not None else 1
        known = {
            "n_bytes": (n // per_byte, f"N / {per_byte}"),
            "k_bytes": (k // per_byte, f"K / {per_byte}"),
            "k_words": (k // per, f"K / {per}"),
            "n_words": (n // per, f"N / {per}"),
            "n_word_bytes": (n * 4, "N * 4"),
            "num_k_blocks": (groups, "K, one group" if self.block is None else f"K / {self.block}"),
            "num_k_block_bytes": (groups * 4, "K, four bytes a group"),
        }
        used = " ".join(" ".join(spec.shape or ()) for spec in self.inputs.values()).split()
        for axis in dict.fromkeys(used):
            if axis in known:
                yield (axis, *known[axis])

    def about(self, axis: str) -> str:
        """What a const axis is, for people."""
        words = f"{WORD // self.bits} integers in each"
        return {
            "n_bytes": "Bytes of the words along N.",
            "k_bytes": "Bytes of the words along K.",
            "k_words": f"Words along K, {words}.",
            "n_words": f"Words along N, {words}.",
            "n_word_bytes": "Four bytes of a word for each of N.",
            "num_k_blocks": "Groups along K.",
            "num_k_block_bytes": "Four bytes of a word for each group along K.",
        }[axis]

    def misfit(self, n: int, k: int) -> str:
        """Why no such matrix can have N and K; empty where it can."""
        per = WORD // self.bits
        if self.block is not None and k % self.block:
            return f"K is {k}, no multiple of the {self.block} that a scale covers"
        along_k = self.packing.name != "awq"
        along_n = self.packing.name == "awq" or self.zeros
        for axis, size, packed in (("K", k, along_k), ("N", n, along_n)):
            if packed and size % per:
                return f"{axis} is {size}, no multiple of the {per} integers of a word"
        return ""


def of_quantization(quantization: Quantization) -> WeightOnly | None:
    """The format of a layer's weights; None where it is none of these."""
    packing = next((one for one in PACKINGS if one.name == quantization.packing), None)
    bits = {"int4": 4, "int8": 8}.get(quantization.weight_dtype, 0)
    if packing is None or bits not in packing.bits or quantization.activation is not None:
        return None
    if packing.always_zeros and not quantization.zero_points:
        return None
    if quantization.scheme not in ("group", "channel"):
        return None
    group = quantization.group_size if quantization.scheme == "group" else None
    return WeightOnly(packing, bits, group, quantization.zero_points, quantization.act_order)


def named(name: str) -> WeightOnly | None:
    """The format of that name; None where it is none of these."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    packing = next(one for one in PACKINGS if one.name == found["packing"])
    group = int(found["group"]) if found["group"] else None
    zeros = packing.always_zeros or bool(found["zeros"])
    return WeightOnly(packing, int(found["bits"]), group, zeros, bool(found["act_order"]))


def of_definition(definition: Definition) -> WeightOnly | None:
    """The format that the inputs of a definition show, by their axes; None where none has it."""
    inputs, sizes = definition.inputs, definition.const_axes
    weights = inputs.get("B")
    if weights is None or weights.dtype != "int8" or not {"N", "K"} <= set(sizes):
        return None
    axes = weights.shape or ()
    packing = next((one for one in PACKINGS if tuple(one.weights.split()) == axes), None)
    if packing is None or any(axis not in sizes for axis in axes):
        return None
    stored = sizes[axes[0]] * sizes[axes[1]]
    bits = 8 * stored // (sizes["N"] * sizes["K"])
    groups = sizes.get("num_k_blocks", 0)
    if bits not in packing.bits or groups < 1 or sizes["K"] % groups:
        return None
    group = sizes["K"] // groups if groups > 1 else None
    one = WeightOnly(packing, bits, group, "B_zeros" in inputs, "g_idx" in inputs)
    same = [(n, s.shape, s.dtype) for n, s in one.inputs.items()]
    return one if same == [(n, s.shape, s.dtype) for n, s in inputs.items()] else None
