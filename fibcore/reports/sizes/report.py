"""What `fibcore.sizes` found, as data."""

from __future__ import annotations

from typing import Any

import attrs

from fibcore.model.json import to_data


@attrs.frozen
class Size:
    """One choice of parallel sizes.

    Attributes:
        tp: Tensor-parallel size, the number of ranks.
        ep: Expert-parallel size.
        dp: Data-parallel groups of attention inside of these ranks.
        reasons: Why the checkpoint cannot be served like that; empty where it can.
        where: The line of the source that refuses, where one does.
        weights: Bytes of weights that one rank holds; None where it cannot be served.
        kv_per_token: Bytes of keys and values of one token on one rank; None where not known.
        tokens: Tokens that the rest of a rank's memory holds; None where no memory was named.
        not_counted: Classes whose weights are not counted, with the reason.
    """

    tp: int
    ep: int
    dp: int
    reasons: tuple[str, ...] = ()
    where: str = ""
    weights: int | None = None
    kv_per_token: int | None = None
    tokens: int | None = None
    not_counted: tuple[str, ...] = ()

    @property
    def works(self) -> bool:
        """Whether the checkpoint can be served like that."""
        return not self.reasons

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**to_data(self), "works": self.works}


@attrs.frozen
class SizesReport:
    """The result of `fibcore.sizes`.

    Attributes:
        slug: The model.
        architecture: Its class.
        constants: Where its config is from.
        source: The SGLang source.
        gpu_memory: Bytes of a GPU; None where none were named.
        share: The share of them that is for weights and cache.
        sizes: Every choice that was tried, in order.
    """

    slug: str
    architecture: str
    constants: str
    source: str
    gpu_memory: int | None
    share: float
    sizes: tuple[Size, ...]

    @property
    def exit_code(self) -> int:
        """0 where a choice works, else 1."""
        return 0 if any(size.works for size in self.sizes) else 1

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        data = to_data(self)
        return {**data, "sizes": [size.to_dict() for size in self.sizes]}
