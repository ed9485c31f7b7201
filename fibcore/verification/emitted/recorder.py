"""Collects the results of tests and writes them as evidence."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fibcore.verification.emitted.evidence import merge_run, summarize
from fibcore.verification.emitted.places import DATASET


class Recorder:
    """Collects what the tests say of each definition and writes it as evidence.

    Args:
        folder: Where `<definition>.json` files go; None for none.
        events: A file that gets a JSON line for every event, for who watches; None for none.
    """

    def __init__(self, folder: Path | None, events: Path | None) -> None:
        self.folder = folder
        self.events = events
        self.records: dict[str, list[dict[str, Any]]] = {}
        self.written: dict[str, int] = {}

    def event(self, **data: Any) -> None:
        """Append one line to the events."""
        if self.events is not None:
            with self.events.open("a", encoding="utf-8") as file:
                file.write(json.dumps(data) + "\n")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Say how many tests there are."""
        self.event(event="collected", total=len(session.items))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Say which module cannot be collected."""
        if report.failed:
            self.event(event="error", nodeid=report.nodeid, message=report.longreprtext)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Say which test runs, in case it takes the process with it."""
        self.event(event="start", nodeid=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test found."""
        decides = report.when == "call" or report.outcome != "passed"
        record = dict(report.user_properties).get("reference_test")
        if not decides or not isinstance(record, dict) or record["dataset"] != str(DATASET):
            return
        record = {**record, "result": report.outcome}
        if report.skipped:
            where = report.longrepr
            text = where[2] if isinstance(where, tuple) else str(where)
            record["reason"] = text.removeprefix("Skipped: ")
        elif report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            record["reason"] = (crash.message if crash else report.longreprtext)[:4000]
        self.event(event="test", nodeid=report.nodeid, record=record)
        own = self.records.setdefault(record["definition"], [])
        own.append(record)
        if len(own) == record["expected_tests"]:
            self.write(record["definition"])

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write what was cut short, too."""
        for name in sorted(self.records):
            if self.written.get(name) != len(self.records[name]):
                self.write(name)
        self.event(event="finished", exitstatus=int(exitstatus))

    def write(self, name: str) -> None:
        """Write the evidence of one definition, beside what is there already."""
        records = self.records[name]
        self.written[name] = len(records)
        # A definition that does not load has no reference that evidence could be about.
        if self.folder is None or records[0]["expected_tests"] is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.json"
        runs: list[dict[str, Any]] = []
        if path.exists():
            runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
        evidence = {
            "definition": name,
            "op_type": records[0]["op_type"],
            "runs": merge_run(runs, summarize(records)),
        }
        draft = path.with_name(f".{name}.{os.getpid()}.tmp")
        try:
            draft.write_text(json.dumps(evidence, indent=2, ensure_ascii=False) + "\n", "utf-8")
            draft.replace(path)
        except BaseException:  # a full disk, an interrupt
            draft.unlink(missing_ok=True)
            raise
