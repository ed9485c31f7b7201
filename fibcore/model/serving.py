"""Serving options: the parallel sizes and other options that kernels depend on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from fibcore.errors import ServingError
from fibcore.model.options import Option, OptionValue, Value

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
        stages: Which of "decode" and "prefill" to extract.
        options: Values of options that op types declare, by name; what is left out has the
            declaration's default. `value` reads them.
    """

    tp: int = attrs.field(default=1, validator=_positive)
    ep: int = attrs.field(default=1, validator=_positive)
    stages: tuple[str, ...] = STAGES
    options: Mapping[str, OptionValue] = attrs.field(factory=dict, hash=False)

    def __attrs_post_init__(self) -> None:
        if self.tp % self.ep:
            raise ServingError(
                "the expert-parallel size has to divide the tensor-parallel size",
                where="serving.ep",
                expected=f"a divisor of tp={self.tp}",
                found=f"ep={self.ep}",
                hint="SGLang spreads experts over the ranks of the tensor-parallel group",
            )
        for stage in self.stages:
            if stage not in STAGES:
                raise ServingError(
                    "unknown stage",
                    where="serving.stages",
                    expected=" or ".join(STAGES),
                    found=stage,
                )

    def value(self, option: Option[Value]) -> Value:
        """The value of an option that an op type declares."""
        found: Any = self.options.get(option.name, option.default)
        return found  # type: ignore[no-any-return]
