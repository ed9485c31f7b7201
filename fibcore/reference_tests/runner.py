"""Runs a dataset's reference tests with pytest in a process of its own, and watches it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from fibcore.errors import FibcoreError

POLL_S = 0.1
LOG_LINES = 25


@attrs.frozen
class Progress:
    """How far the tests are.

    Attributes:
        done: Tests that ended.
        total: Tests that there are, as far as is known.
        test: The test that ended last.
        outcome: "passed", "failed" or "skipped".
    """

    done: int
    total: int
    test: str
    outcome: str


@attrs.define
class TestRun:
    """What the tests said.

    Attributes:
        records: One for every test that ended: definition, kind, result, reason; and `nodeid`.
        evidence: Definition name to the run that its evidence gets.
        problems: What kept tests from running.
        crashed: Definition (or test) during which the process ended, with the reason.
        summary: pytest's closing line.
    """

    __test__ = False  # not a test class, whatever pytest thinks of the name

    records: list[Mapping[str, Any]] = attrs.field(factory=list)
    evidence: dict[str, Mapping[str, Any]] = attrs.field(factory=dict)
    problems: list[FibcoreError] = attrs.field(factory=list)
    crashed: dict[str, str] = attrs.field(factory=dict)
    summary: str = ""


def check_installed() -> None:
    """Refuse to go on where the tests cannot run.

    Raises:
        FibcoreError: pytest or torch is not installed for this interpreter.
    """
    missing = [name for name in ("pytest", "torch") if importlib.util.find_spec(name) is None]
    if missing:
        raise FibcoreError(
            "the reference tests need pytest and torch",
            where=sys.executable,
            found=f"not installed: {', '.join(missing)}",
            hint="pip install 'fibcore[test]', or "
            "pytest tests/references --evidence reports/verification in another environment",
        )


def run_tests(
    dataset: Path,
    modules: Sequence[str],
    options: Sequence[str],
    progress: Callable[[Progress], None] | None = None,
) -> TestRun:
    """Run test modules of a dataset.

    A process that dies (a GPU kernel can do that) takes its own module with it; the modules after
    it are run in a new process.

    Args:
        dataset: The dataset's folder.
        modules: Paths of the test modules, relative to the dataset.
        options: Options of the generated conftest.py.
        progress: Is told of every test that ended.

    Raises:
        FibcoreError: pytest could not begin.
    """
    result = TestRun()
    remaining = list(modules)
    while remaining:
        with tempfile.TemporaryDirectory(prefix="fibcore-verify-") as folder:
            session = _Session(dataset.absolute(), Path(folder), result, progress)
            died_in = session.run(remaining, options)
        if died_in is None:
            break
        remaining = remaining[remaining.index(died_in) + 1 :] if died_in in remaining else []
    return result


class _Session:
    """One pytest process."""

    def __init__(
        self,
        dataset: Path,
        folder: Path,
        result: TestRun,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.dataset = dataset
        self.folder = folder
        self.result = result
        self.progress = progress
        self.total = len(result.records)
        self.current: str | None = None
        self.finished = False

    def run(self, modules: Sequence[str], options: Sequence[str]) -> str | None:
        """Run modules; the module during which the process died, None where it did not."""
        events, evidence = self.folder / "events.jsonl", self.folder / "evidence"
        ini, log = self.folder / "pytest.ini", self.folder / "pytest.log"
        events.touch()
        # What encloses the dataset's folder has its own ideas of pytest's configuration.
        ini.write_text("[pytest]\n", encoding="utf-8")
        command = [
            *(sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"),
            *("-c", str(ini), "--rootdir", str(self.dataset), "--import-mode=importlib"),
            *("--continue-on-collection-errors", "--evidence", str(evidence), *options),
            *(str(self.dataset / module) for module in modules),
        ]
        environment = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
        environment |= {
            "FIBCORE_EVENTS": str(events),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if environment.get("PYTHONPATH"):  # the process runs in another folder
            parts = environment["PYTHONPATH"].split(os.pathsep)
            environment["PYTHONPATH"] = os.pathsep.join(str(Path(p).absolute()) for p in parts)
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  (this interpreter, arguments made above)
                command, stdout=output, stderr=subprocess.STDOUT, cwd=self.folder, env=environment
            )
            try:
                for event in _follow(process, events):
                    self.handle(event)
            finally:
                _end(process)
        for path in sorted(evidence.glob("*.json")):
            self.result.evidence[path.stem] = json.loads(path.read_text("utf-8"))["runs"][0]
        lines = log.read_text("utf-8", "replace").strip().splitlines()
        self.result.summary = lines[-1].strip("= ") if lines else ""
        return self.how_it_ended(process.returncode, lines)

    def handle(self, event: Mapping[str, Any]) -> None:
        """Take in one event of the process."""
        kind = event["event"]
        if kind == "collected":
            self.total = len(self.result.records) + event["total"]
        elif kind == "error":
            self.result.problems.append(
                FibcoreError(
                    "a test module cannot be collected",
                    where=event["nodeid"],
                    found=event["message"],
                    hint="fibcore add-reference-tests --force writes it anew",
                )
            )
        elif kind == "start":
            self.current = event["nodeid"]
        elif kind == "test":
            record = {**event["record"], "nodeid": event["nodeid"]}
            self.result.records.append(record)
            if self.progress is not None:
                done = len(self.result.records)
                total = max(self.total, done)
                self.progress(Progress(done, total, event["nodeid"], record["result"]))
        elif kind == "finished":
            self.finished = True

    def how_it_ended(self, code: int, lines: Sequence[str]) -> str | None:
        """Judge the exit status; the module to go on behind, None where all was run."""
        tail = "\n".join(lines[-LOG_LINES:])
        if self.finished and code in (0, 1, 2, 5):
            if code == 2 and not self.result.problems:
                self.result.problems.append(FibcoreError("the tests were interrupted", found=tail))
            return None
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        if self.current is None:
            raise FibcoreError(
                "pytest could not run the reference tests",
                where=str(self.dataset / "tests" / "references"),
                found=f"{how}\n{tail}",
            )
        module, _, test = self.current.partition("::")
        reason = f"the process that ran {self.current} ended with {how}"
        self.result.crashed[test] = reason
        self.result.problems.append(
            FibcoreError(
                "the test process died",
                where=self.current,
                found=f"{how}\n{tail}",
                hint=f"run it alone: pytest '{self.current}' -v",
            )
        )
        return module


def _follow(process: subprocess.Popen[bytes], events: Path) -> Iterator[Mapping[str, Any]]:
    """The events that a process writes, as they come, until it has ended."""
    with events.open("r", encoding="utf-8") as file:
        rest = ""
        while True:
            ended = process.poll() is not None
            rest += file.read()
            *lines, rest = rest.split("\n")
            for line in lines:
                yield json.loads(line)
            if ended:
                return
            try:
                process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                continue


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that is still there, because we were interrupted."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
