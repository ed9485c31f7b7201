"""Convolutions that are GEMMs by another name: patches that lie side by side are its rows.

Where a kernel moves as far as it is wide, without padding, every element of the input is in one
patch alone: out[patch, channel] is the product of the patch and the channel's weights. So towers
take pictures apart. SGLang's layers multiply then (`enable_linear`) or leave it to cuDNN.
"""

from __future__ import annotations

import math
import re
from typing import Any

from fibcore.plugin import ModuleNode, UndecidedError, decided, decided_size
from fibcore_op_gemm.sizes import Shape, Size

_CONVOLUTION = re.compile(r"^(torch\.nn\.|sglang\.srt\.layers\.conv\.)(Conv([123])d(?:Layer)?)$")


def dimensions(node: ModuleNode) -> int | None:
    """Over how many dimensions a module is a convolution; None where it is none of the known."""
    match = _CONVOLUTION.match(node.cls)
    return None if match is None else int(match[3])


def patches_shape(node: ModuleNode) -> Shape | None:
    """The GEMM of a convolution of patches; None where these overlap, or leave something out.

    N are the channels that come out, K the elements of a patch.

    Raises:
        UndecidedError: an argument is not known.
    """
    count = dimensions(node) or 0
    kernel = _each(node, "kernel_size", None, count)
    if decided(node.argument("groups", 1), "groups") != 1:
        return None
    padding = decided(node.argument("padding", 0), "padding")
    if (
        _each(node, "stride", 1, count) != kernel
        or _each(node, "dilation", 1, count) != [1] * count
    ):
        return None
    if padding != "valid" and _each(node, "padding", 0, count) != [0] * count:
        return None
    n = decided_size(node.argument("out_channels"), "out_channels")
    channels = decided_size(node.argument("in_channels"), "in_channels")
    k = int(channels) * math.prod(map(int, kernel))
    return Shape(
        Size(n, "out_channels", (n,)),
        Size(k, "in_channels * elements of the kernel", (channels, *kernel)),
    )


def _each(node: ModuleNode, name: str, default: Any, count: int) -> list[Any]:
    """A number for each dimension.

    Raises:
        UndecidedError: one is not known.
    """
    given = decided(node.argument(name, default), name)
    values = list(given) if isinstance(given, (list, tuple)) else [given] * count
    if len(values) != count:
        raise UndecidedError(f"{name} is {given}, of {count} dimensions")
    for value in values:
        known = decided(value, name)
        if isinstance(known, bool) or not isinstance(known, (int, str)):
            raise UndecidedError(f"{name} is {given}")
    return values
