"""Serving options: the parallel sizes and other options that kernels depend on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from fibcore.errors import ServingError
from fibcore.model.launch import DEFAULT_GPU, Launch
from fibcore.model.options import Option, OptionValue, Value

STAGES = ("decode", "prefill")


def _positive(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ServingError(
            "a parallel size has to be a positive integer",
            where=f"--{attribute.name}",
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
        gpu: The GPU that the server runs on; `fibcore.model.launch` has the default.
        launch: Other options of the server; None where all have the source's defaults.
    """

    tp: int = attrs.field(default=1, validator=_positive)
    ep: int = attrs.field(default=1, validator=_positive)
    stages: tuple[str, ...] = STAGES
    options: Mapping[str, OptionValue] = attrs.field(factory=dict, hash=False)
    gpu: str = DEFAULT_GPU
    launch: Launch | None = None

    def __attrs_post_init__(self) -> None:
        if self.tp % self.ep:
            raise ServingError(
                "the expert-parallel size has to divide the tensor-parallel size",
                where="--ep",
                expected=f"a divisor of tp={self.tp}",
                found=f"ep={self.ep}",
                hint="SGLang spreads experts over the ranks of the tensor-parallel group",
            )
        for stage in self.stages:
            if stage not in STAGES:
                raise ServingError(
                    "unknown stage",
                    where="--stage",
                    expected=" or ".join(STAGES),
                    found=stage,
                )

    @property
    def attention_tp(self) -> int:
        """The ranks that attention heads are split over: the others have requests of their own."""
        if self.launch is None:
            return self.tp
        return max(1, self.tp // self.launch.attention_dp // self.launch.attention_cp)

    @property
    def expert_tp(self) -> int:
        """The ranks that the intermediate size of one expert is split over."""
        return max(1, self.tp // self.ep // (1 if self.launch is None else self.launch.expert_dp))

    def ranks(self, origins: Iterable[str]) -> int:
        """The ranks that a size was divided over, by its origins: all, or those of attention."""
        of_attention = {"serving:dp", "serving:attn_cp"}
        return self.tp if of_attention.isdisjoint(origins) else self.attention_tp

    @property
    def kv_cache_dtype(self) -> str:
        """The dtype of the KV cache as `--kv-cache-dtype` has it; "auto" follows the checkpoint."""
        given = self.argument("kv_cache_dtype", "auto")
        return given if isinstance(given, str) else "auto"

    def argument(self, name: str, default: Any = None) -> Any:
        """A server argument that the launch gives; `default` where it gives none."""
        return default if self.launch is None else self.launch.arguments.get(name, default)

    def value(self, option: Option[Value]) -> Value:
        """The value of an option that an op type declares."""
        found: Any = self.options.get(option.name, option.default)
        return found  # type: ignore[no-any-return]
