"""Runs references on small inputs in a process of its own, with a time limit."""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import attrs

from fibcore.errors import FibcoreError

WORKER = Path(__file__).with_name("worker.py")


@attrs.frozen
class ExecutionProblem:
    """Something that went wrong when a reference ran.

    Attributes:
        check: "reference" (it does not load), "template", "inputs", "outputs", "inputs kept",
            "wrong shapes", "property NAME", or "process" (it died or took too long).
        message: What is wrong, as a sentence.
        case: Id of the test case, None where it concerns none.
        expected: What would have been right.
        found: What was there instead.
    """

    check: str
    message: str
    case: str | None = None
    expected: str | None = None
    found: str | None = None

    def __str__(self) -> str:
        text = f"{self.check}{f' [{self.case}]' if self.case else ''}: {self.message}"
        if self.expected:
            text += f"; expected {self.expected}"
        return f"{text}; found {self.found}" if self.found else text


@attrs.frozen
class Execution:
    """What came of running one definition's reference.

    Attributes:
        problems: What went wrong; empty where all is well.
        cases: Ids of the cases on which it ran.
    """

    problems: tuple[ExecutionProblem, ...]
    cases: tuple[str, ...]


class ReferenceRunner:
    """A process that runs references, started when it is first needed; use it with `with`.

    References of definitions are other people's code: they run with the rights of the user, in a
    process that cannot import fibcore, and only where the user asked for them to run.
    """

    def __init__(self, *, timeout_s: float = 120.0) -> None:
        """Allow each definition `timeout_s` seconds of real time.

        Raises:
            FibcoreError: torch is not installed.
        """
        if importlib.util.find_spec("torch") is None:
            raise FibcoreError(
                "references need torch to run", found="no module torch", hint="pip install torch"
            )
        self.timeout_s = timeout_s
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._reader: threading.Thread | None = None
        self._log: IO[bytes] | None = None

    def __enter__(self) -> ReferenceRunner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                _kill(process)
            process.wait()
            if self._reader is not None:
                self._reader.join()  # it ends with the stream
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        if self._log is not None:
            self._log.close()
            self._log = None

    def run(
        self,
        definition: Mapping[str, Any],
        template: str,
        *,
        max_cases: int = 2,
        deep: bool = False,
        need_cases: bool = False,
        seed: int = 0,
    ) -> Execution:
        """Run a definition's reference on the smallest cases of its test template.

        Inputs are held against the definition and its constraints, outputs against the
        definition (number, shapes, dtypes).

        Args:
            definition: Its JSON data.
            template: Source of the op type's test template.
            max_cases: How many cases.
            deep: Also check that inputs are reproducible and not changed, that inputs of another
                size along a const axis are refused, and the template's properties.
            need_cases: Whether a template without a case for the definition is a problem.
            seed: Seed of the inputs.

        Raises:
            FibcoreError: torch cannot be imported in the process.
        """
        request = {
            "definition": dict(definition),
            "template": template,
            "max_cases": max_cases,
            "deep": deep,
            "need_cases": need_cases,
            "seed": seed,
        }
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = self._answers.get(timeout=self.timeout_s)
        except queue.Empty:
            self.close()
            return _died(f"it took longer than {self.timeout_s:g} s and was ended")
        except BrokenPipeError:
            answer = None
        if answer is None:
            code = process.wait()
            said = self._said()
            self.close()
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
            hint = " (memory?)" if code == -signal.SIGKILL else ""
            return _died(f"the process ended with {how}{hint}", said)
        reply = json.loads(answer)
        if "fatal" in reply:
            self.close()
            raise FibcoreError("references need torch to run", found=reply["fatal"])
        return Execution(
            tuple(ExecutionProblem(**problem) for problem in reply["problems"]),
            tuple(reply["cases"]),
        )

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
            self._answers = queue.Queue()
            self._process = subprocess.Popen(  # noqa: S603  # this Python and our own script
                [sys.executable, str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # so that what it starts ends with it
            )
            self._reader = threading.Thread(
                target=_read, args=(self._process.stdout, self._answers), daemon=True
            )
            self._reader.start()
        return self._process

    def _said(self) -> str | None:
        """The last line that the process wrote to standard error."""
        assert self._log is not None
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), None)


def _read(stream: IO[str], answers: queue.Queue[str | None]) -> None:
    for line in stream:
        answers.put(line)
    answers.put(None)


def _kill(process: subprocess.Popen[str]) -> None:
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _died(message: str, found: str | None = None) -> Execution:
    return Execution((ExecutionProblem("process", message, found=found),), ())
