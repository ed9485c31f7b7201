"""Options of a launch of SGLang's server, as they decide which kernels run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from fibcore.errors import UsageError, nearest

DEFAULT_GPU = "H100"
GPUS = ("H100", "H200", "B200", "MI300")
"""The GPUs that facts describe."""
_ALSO = {"mi300x": "MI300", "mi325x": "MI300"}
"""GPUs of the same architecture, which SGLang does not tell apart."""


@attrs.frozen
class Launch:
    """What a launch line, or a file of options, gives the server.

    Two launches with the same `line` are equal.

    Attributes:
        line: The options that decide about kernels, as the command line takes them; the parallel
            sizes of `Serving` are not repeated.
        arguments: Server arguments by the names of the source's fields: what was given, and what
            the server made of it where it changed something.
        given: The options that were given, by the same names.
        variables: Variables of the environment before the line, by the names that a release reads.
        decided: Variables of the environment that the server set besides.
        attention_dp: Data-parallel groups of attention inside of the tensor-parallel group.
        attention_cp: Ranks that share the context of attention.
        expert_dp: Data-parallel groups of experts.
        decode_cp: Ranks that share the cache of decoding.
        settled: Whether the server's handlers have decided about it.
        effective: Options that made the server change something.
        ignored: Options, and variables, that decide about no kernel.
    """

    line: str
    arguments: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
    given: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
    variables: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
    decided: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
    attention_dp: int = attrs.field(default=1, eq=False)
    attention_cp: int = attrs.field(default=1, eq=False)
    expert_dp: int = attrs.field(default=1, eq=False)
    decode_cp: int = attrs.field(default=1, eq=False)
    settled: bool = attrs.field(default=False, eq=False)
    effective: frozenset[str] = attrs.field(default=frozenset(), eq=False, repr=False)
    ignored: tuple[str, ...] = attrs.field(default=(), eq=False, repr=False)

    @property
    def process(self) -> dict[str, Any]:
        """Variables of the environment of the processes that run the model."""
        return {**self.variables, **self.decided}


def option_text(name: str, value: Any) -> str:
    """One server argument as the command line takes it."""
    flag = "--" + name.replace("_", "-")
    if value is True:
        return flag
    if value is False:
        return "--no-" + name.replace("_", "-")
    values = value if isinstance(value, (list, tuple)) else (value,)
    return " ".join((flag, *(shlex.quote(str(v)) for v in values)))


def known_gpu(name: str | None) -> str:
    """The GPU of this name, in whatever case; the default for None.

    Raises:
        UsageError: facts describe no such GPU; the nearest names are given.
    """
    if name is None:
        return DEFAULT_GPU
    found = _described(name)
    if found is None:
        raise UsageError(
            "no facts describe this GPU",
            where="--gpu",
            expected=", ".join(nearest(name, GPUS, limit=len(GPUS))),
            found=repr(name),
        )
    return found


def gpu_of(names: Iterable[str]) -> str:
    """The GPU that serves models where several are looked at: the first that facts describe."""
    return next(filter(None, map(_described, names)), DEFAULT_GPU)


def _described(name: str) -> str | None:
    word = name.strip().lower()
    return _ALSO.get(word) or {known.lower(): known for known in GPUS}.get(word)
