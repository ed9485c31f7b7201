"""Runs the properties of a test template against references with a mutation; a worker process.

`mutate_references.py` starts it. It is sent the subjects first; a task is a reference with its
subject.

On a CPU every check runs twice: as it is, and as on a GPU. For the latter `is_cuda` says that a
tensor is on one, and products of bfloat16 matrices give float32 as tensor cores do; else what a
reference does on a GPU alone would be out of sight.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

SLACK, LEAST_S = 10.0, 2.0
"""A property may take so many times what it takes with the right reference, and these seconds."""
REFERENCE = "<reference>"
AS_ON_A_GPU = " as on a GPU"


class TooLongError(BaseException):
    """A property takes so long that the reference will not end; no `except Exception` keeps it."""


def main(channel: Any) -> int:
    """Answer tasks; the exit status."""
    tasks = iter(channel)
    setup = next(tasks)
    subjects = {name: Subject(*about) for name, about in setup["subjects"].items()}
    channel.send("ready")
    signal.signal(signal.SIGALRM, _stop)
    prepare_torch()
    for task in tasks:
        subject = subjects[task["subject"]]
        if task["source"] is None:
            channel.send("end", lines=subject.reached(), seconds=subject.measure())
        else:
            channel.send("end", killed_by=subject.killed_by(task["source"], task["seconds"]))
    return 0


def prepare_torch() -> None:
    """Make results repeatable, and products on a CPU like those on a GPU where a check asks for it.

    Tensor cores take numbers of 16 bits and give float32.
    """
    import torch

    # Memory that nothing was written to holds NaN, not what an earlier reference left there.
    torch.use_deterministic_algorithms(True, warn_only=True)

    def wrapped(product: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(product)
        def made(*arguments: Any, out_dtype: Any = None, **more: Any) -> Any:
            if arguments and isinstance(arguments[-1], torch.dtype):
                *arguments, out_dtype = arguments  # type: ignore[assignment]
            if out_dtype is None or not _ON_TENSOR_CORES:
                return product(*arguments, *([] if out_dtype is None else [out_dtype]), **more)
            if len({factor.dtype for factor in arguments[-2:]}) > 1:
                raise RuntimeError("the factors of a product have one dtype")
            if arguments[-1].dtype not in (torch.bfloat16, torch.float16):
                raise RuntimeError("tensor cores multiply numbers of 16 bits")
            return product(*(a.to(out_dtype) for a in arguments), **more)

        return made

    for name in ("mm", "bmm", "baddbmm"):
        setattr(torch, name, wrapped(getattr(torch, name)))


_ON_TENSOR_CORES: list[bool] = []  # empty where products are those of this machine


def _as_on_a_gpu(check: Callable[[], None]) -> None:
    _ON_TENSOR_CORES.append(True)
    try:
        check()
    finally:
        _ON_TENSOR_CORES.clear()


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise TooLongError


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Subject:
    """A definition and the properties of its op type."""

    def __init__(self, data: dict[str, Any], template: str, device: str) -> None:
        from fibcore.model.definition import Definition
        from fibcore.testing.templates import Template

        self.definition = Definition.from_dict(data)
        self.renew: Callable[[], Template] = lambda: Template(template)
        self.template = self.renew()
        self.kept: dict[str, int] = {}  # versions of the tensors that the template keeps
        self.device = device
        self.modes = ("", AS_ON_A_GPU) if device == "cpu" else ("",)
        self.first: list[str] = []  # checks that have failed, the last one first

    def checks(self, source: str) -> dict[str, Any]:
        """Every property at every size, against a reference."""
        found = {}
        for mode in self.modes:
            text = source.replace(".is_cuda", ".is_cpu") if mode else source
            module: dict[str, Any] = {"__name__": "reference"}
            exec(compile(text, REFERENCE, "exec"), module)  # noqa: S102 - the repository's own
            made = self.template.checks(self.definition, module["run"], device=self.device)
            for name, check in made:
                found[name + mode] = functools.partial(_as_on_a_gpu, check) if mode else check
        return found

    def measure(self) -> dict[str, float]:
        """Seconds of each check of the right reference; raises what fails."""
        found = {}
        for name, check in self.checks(self.definition.reference).items():
            begun = time.monotonic()
            check()
            found[name] = time.monotonic() - begun
        self.kept = versions(vars(self.template.module))
        return found

    def reached(self) -> list[int]:
        """Lines of the reference that run in any check."""
        lines: set[int] = set()

        def trace(frame: FrameType, _event: str, _argument: object) -> Any:
            if frame.f_code.co_filename != REFERENCE:
                return None
            lines.add(frame.f_lineno)
            return trace

        sys.settrace(trace)
        try:
            for check in self.checks(self.definition.reference).values():
                check()
        finally:
            sys.settrace(None)
        return sorted(lines)

    def killed_by(self, source: str, seconds: dict[str, float]) -> str | None:
        """The first check that fails, and how; None where all hold."""
        try:
            with _limited(LEAST_S + SLACK):
                checks = self.checks(source)
        except (Exception, TooLongError) as error:  # noqa: BLE001 - whatever it is, it is seen
            return f"import: {type(error).__name__}"
        for name in sorted(checks, key=lambda n: self.first.index(n) if n in self.first else 999):
            failed = self._failed(checks[name], LEAST_S + SLACK * seconds[name])
            if failed is not None:
                self.first = [name, *(n for n in self.first if n != name)][:8]
                return f"{name}: {failed}"
        return None

    def _failed(self, check: Callable[[], None], seconds: float) -> str | None:
        """What a check raises; None where it holds."""
        try:
            with _limited(seconds):
                check()
        except (Exception, TooLongError) as error:  # noqa: BLE001 - whatever it is, it is seen
            return type(error).__name__
        finally:
            now = versions(vars(self.template.module))
            if any(now[n] != self.kept.setdefault(n, now[n]) for n in now):
                # It wrote over inputs that the next reference would get.
                self.template = self.renew()
        return None


def versions(holder: Any, name: str = "") -> dict[str, int]:
    """How often each tensor in a container, or in containers in it, has been written over."""
    import torch

    if isinstance(holder, torch.Tensor):
        return {name: holder._version}
    if isinstance(holder, dict):
        return {
            inner: version
            for key, value in holder.items()
            if isinstance(value, (dict, list, tuple, torch.Tensor)) and key != "__builtins__"
            for inner, version in versions(value, f"{name}/{key}").items()
        }
    if isinstance(holder, (list, tuple)):
        return versions(dict(enumerate(holder)), name)
    return {}
