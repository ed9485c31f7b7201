"""A process with a pytest session that runs the tests of one definition after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fibcore.extras import need
from fibcore.processes.children import Child, Program
from fibcore.processes.limits import Limits
from fibcore.verification.slots import Slot

WORKER = Path(__file__).with_name("pytest_worker.py")


def check_installed() -> None:
    """Refuse to go on where the tests cannot run.

    Raises:
        MissingPackageError: pytest or torch is not installed for this interpreter.
    """
    need(
        "verify",
        "reference tests",
        otherwise="pytest tests/references --evidence reports/verification in another environment",
    )


class PytestProcess:
    """A child whose tasks are names of definitions.

    Attributes:
        child: The process.
        definition: The definition whose tests run; None while it waits.
        collecting: The test module that was read last, until it is ready.
        test: The test that runs, or ran last.
    """

    def __init__(
        self,
        slot: Slot,
        dataset: Path,
        modules: Sequence[str],
        options: Sequence[str],
        folder: Path,
        limits: Limits,
    ) -> None:
        """Start the process.

        Args:
            slot: Where it is to run.
            dataset: The dataset's folder.
            modules: Paths of the test modules, relative to the dataset.
            options: Options of the generated conftest.py.
            folder: An empty folder for its files.
            limits: What each definition may use.
        """
        self.definition: str | None = None
        self.collecting: str | None = None
        self.test: str | None = None
        self._evidence = folder / "evidence"
        ini = folder / "pytest.ini"
        # What encloses the dataset's folder has its own ideas of pytest's configuration.
        ini.write_text("[pytest]\n", encoding="utf-8")
        arguments = (
            *("-q", "--tb=short", "--capture=no", "-p", "no:cacheprovider"),
            *("-c", str(ini), "--rootdir", str(dataset)),
            *("--import-mode=importlib", "--continue-on-collection-errors"),
            *("--evidence", str(self._evidence), *options),
            *(str(dataset / module) for module in modules),
        )
        program = Program(
            WORKER,
            arguments,
            environment=_environment(slot),
            without=("PYTEST_ADDOPTS",),
            cwd=folder,
        )
        self.child = Child(program, limits, folder)

    @property
    def idle(self) -> bool:
        """Whether it waits for a definition."""
        return self.child.ready and not self.child.busy

    def run(self, definition: str) -> None:
        """Have the tests of a definition run."""
        self.definition, self.test = definition, None
        self.child.feed(definition)

    def poll(self) -> Iterator[Mapping[str, Any]]:
        """The events since the last call; a process over its limits is ended."""
        for event in self.child.poll():
            kind = event["event"]
            if kind == "collecting":
                self.collecting = event["nodeid"]
            elif kind == "ready":
                self.collecting = None
            elif kind == "start":
                self.test = event["nodeid"]
            elif kind == "end":
                self.definition = None
            yield event

    def evidence(self, definition: str) -> Mapping[str, Any] | None:
        """The evidence that the tests of a definition wrote; None where they wrote none."""
        path = self._evidence / f"{definition}.json"
        try:
            run: Mapping[str, Any] = json.loads(path.read_text("utf-8"))["runs"][0]
        except FileNotFoundError:
            return None
        path.unlink()
        return run


def _environment(slot: Slot) -> dict[str, str]:
    environment = {
        **slot.environment,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if slot.gpu_memory_bytes is not None:
        environment["FIBCORE_GPU_MEMORY_BYTES"] = str(slot.gpu_memory_bytes)
    return environment
