"""The command lines that add what a definition lacks."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from fibcore.reports.coverage.report import Need

DEFAULT_TARGET = "repos"


@attrs.frozen
class CommandLines:
    """Writes command lines about one dataset and one source.

    Attributes:
        root: The dataset's folder.
        dataset: The dataset as it was named; None for the one of the target dir.
        target_dir: The target dir.
        sglang: SGLang's source as it was named; None for the one of the target dir.
        config: The config file as it was named.
        package: Packages whose source is read beside it, as they were named.
    """

    root: Path
    dataset: Path | None
    target_dir: Path
    sglang: str | None
    config: Path | None = None
    package: tuple[str, ...] = ()

    def extract(
        self,
        model: str,
        served: Sequence[str],
        options: Sequence[str],
        op_types: Sequence[str],
    ) -> str:
        """Extracts the definitions of op types of a model.

        Args:
            model: The model.
            served: Words that say how it is served.
            options: Words of the options of op types.
            op_types: The op types.
        """
        words = ["extract-kernel-definitions", "--model-name", model]
        words += ["--config", str(self.config)] if self.config is not None else []
        words += served
        words += [word for op_type in op_types for word in ("--op-type", op_type)]
        words += options
        words += ["--sglang", self.sglang] if self.sglang is not None else []
        words += [word for package in self.package for word in ("--package", package)]
        return self._fibcore(*words)

    def about(self, command: str, definitions: Sequence[str]) -> str:
        """A command of fibcore about definitions: `add-reference-tests`, `verify`, ..."""
        words = [word for name in definitions for word in ("--definition-name", name)]
        return self._fibcore(command, *words)

    def benchmark(self, definitions: Sequence[str]) -> str:
        """Runs flashinfer-bench, on a machine with a GPU."""
        words = ["flashinfer-bench", "run", "--local", str(self.root), "--definitions"]
        return shlex.join([*words, *definitions])

    def _fibcore(self, *words: str) -> str:
        place: list[str] = []
        if self.target_dir != Path(DEFAULT_TARGET):
            place += ["--target-dir", str(self.target_dir)]
        if self.dataset is not None:
            place += ["--dataset", str(self.dataset)]
        return shlex.join(["fibcore", *words, *place])


@attrs.frozen
class Step:
    """Something that a definition that is there may lack, and the command that adds it."""

    lacking: Callable[[Need], bool]
    command: Callable[[CommandLines, Sequence[str]], str]


def _about(command: str) -> Callable[[CommandLines, Sequence[str]], str]:
    return lambda place, names: place.about(command, names)


STEPS_AFTER = (
    Step(lambda need: not need.verified and not need.tested, _about("add-reference-tests")),
    Step(lambda need: not need.verified, _about("verify")),
    Step(lambda need: not need.workloads, _about("add-workloads")),
    Step(lambda need: not need.baseline, _about("add-solutions")),
    Step(lambda need: not need.passed, lambda place, names: place.benchmark(names)),
)
"""In the order in which they can be run."""
