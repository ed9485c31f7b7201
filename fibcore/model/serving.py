"""How a model is served: the parallel sizes and options that kernels depend on."""

from __future__ import annotations

from typing import Literal

import attrs

from fibcore.errors import ServingError

STAGES = ("decode", "prefill")


def _positive(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ServingError(
            "a parallel size has to be a positive integer",
            where=f"serving.{attribute.name}",
            expected="an integer of at least 1",
            found=repr(value),
        )


@attrs.frozen
class Serving:
    """One way to serve a model.

    Attributes:
        tp: Tensor-parallel size (SGLang's `--tp-size`), the number of ranks.
        ep: Expert-parallel size (`--ep-size`); divides `tp`.
        page_sizes: Page sizes of the paged KV cache to extract attention for, in tokens.
        stages: Which of "decode" and "prefill" to extract.
        gemm_shapes: "layer" gives GEMMs the size of the whole layer, "rank" that of one
            tensor-parallel rank.
    """

    tp: int = attrs.field(default=1, validator=_positive)
    ep: int = attrs.field(default=1, validator=_positive)
    page_sizes: tuple[int, ...] = (1, 64)
    stages: tuple[str, ...] = STAGES
    gemm_shapes: Literal["layer", "rank"] = "layer"

    def __attrs_post_init__(self) -> None:
        if self.tp % self.ep:
            raise ServingError(
                "the expert-parallel size has to divide the tensor-parallel size",
                where="serving.ep",
                expected=f"a divisor of tp={self.tp}",
                found=f"ep={self.ep}",
                hint="SGLang spreads experts over the ranks of the tensor-parallel group",
            )
        for size in self.page_sizes:
            if size < 1:
                raise ServingError(
                    "a page holds at least one token", where="serving.page_sizes", found=str(size)
                )
        for stage in self.stages:
            if stage not in STAGES:
                raise ServingError(
                    "unknown stage",
                    where="serving.stages",
                    expected=" or ".join(STAGES),
                    found=stage,
                )
