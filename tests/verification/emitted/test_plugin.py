"""Hooks of pytest; whole runs are in `test_reference_tests_run.py`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
from fibcore.verification.emitted import plugin  # noqa: E402 - needs torch
from fibcore.verification.emitted.recorder import Recorder  # noqa: E402 - needs torch
from fibcore.verification.emitted.subjects import Subject  # noqa: E402 - needs torch


def check(*_: object) -> None: ...


MODULE: Any = SimpleNamespace(OP_TYPE="scale", PROPERTIES=[check], DEFINITIONS={})
SUBJECTS = [
    Subject(Path("a.json"), MODULE, None, None, ({"id": "one"}, {"id": "two"})),
    Subject(Path("b.json"), MODULE, None, "broken"),
]


@pytest.mark.parametrize(
    ("fixture", "ids"),
    [
        ("definition_file", ["a", "b"]),
        ("agreement", ["a-one", "a-two"]),
        ("property_check", ["a-one-check", "a-two-check"]),
    ],
)
def test_a_test_of_each(monkeypatch: pytest.MonkeyPatch, fixture: str, ids: list[str]) -> None:
    monkeypatch.setattr(plugin, "subjects", lambda _: SUBJECTS)
    made: dict[str, Any] = {}
    metafunc: Any = SimpleNamespace(
        fixturenames=[fixture, "request"],
        module=MODULE,
        parametrize=lambda name, parameters, **options: made.update(
            name=name, parameters=parameters, **options
        ),
    )
    plugin.pytest_generate_tests(metafunc)
    assert made["name"] == fixture
    assert made["ids"] == ids
    assert made["indirect"] is True
    assert len(made["parameters"]) == len(ids)


@pytest.mark.parametrize(
    ("known", "reason"), [([], "no definition in "), (SUBJECTS[1:], "nothing to run: ")]
)
def test_nothing_to_run_is_a_skip(
    monkeypatch: pytest.MonkeyPatch, known: list[Subject], reason: str
) -> None:
    monkeypatch.setattr(plugin, "subjects", lambda _: known)
    made: list[Any] = []
    metafunc: Any = SimpleNamespace(
        fixturenames=["agreement"],
        module=MODULE,
        parametrize=lambda _, parameters, **options: made.extend([*parameters, options["ids"]]),
    )
    plugin.pytest_generate_tests(metafunc)
    parameter, ids = made
    assert ids == ["none"]
    assert parameter.marks[0].kwargs["reason"].startswith(reason)


def config(dropped: list[Any], **options: Any) -> Any:
    return SimpleNamespace(
        getoption=lambda name, default=None: options.get(name.strip("-"), default),
        hook=SimpleNamespace(pytest_deselected=lambda items: dropped.extend(items)),
    )


def item(subject: Subject, folder: Path = plugin.HERE) -> Any:
    callspec = SimpleNamespace(params={"definition_file": (subject,)})
    return SimpleNamespace(callspec=callspec, path=folder / "test_scale.py")


def test_definitions_that_were_not_named_are_left_out(tmp_path: Path) -> None:
    a, b, foreign = item(SUBJECTS[0]), item(SUBJECTS[1]), item(SUBJECTS[1], tmp_path)
    items, dropped = [a, b, foreign], []
    plugin.pytest_collection_modifyitems(config(dropped, definition=["a"]), items)
    assert items == [a, foreign]
    assert dropped == [b]


def test_unknown_definition() -> None:
    with pytest.raises(pytest.UsageError, match="--definition: no definition x in "):
        plugin.pytest_collection_modifyitems(config([], definition=["x"]), [item(SUBJECTS[0])])


@pytest.mark.parametrize(
    ("evidence", "events", "worker", "recorded"),
    [
        (None, None, False, False),
        ("evidence", None, False, True),
        (None, "events", False, True),
        ("evidence", None, True, False),
    ],
)
def test_recorder_is_there_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    evidence: str | None,
    events: str | None,
    worker: bool,
    recorded: bool,
) -> None:
    monkeypatch.delenv("FIBCORE_EVENTS", raising=False)
    if events:
        monkeypatch.setenv("FIBCORE_EVENTS", str(tmp_path / events))
    registered: list[Any] = []
    made = config([], evidence=evidence)
    made.invocation_params = SimpleNamespace(dir=tmp_path)
    made.pluginmanager = SimpleNamespace(register=lambda thing, _: registered.append(thing))
    if worker:
        made.workerinput = {}
    plugin.pytest_configure(made)
    assert [type(r) for r in registered] == [Recorder] * recorded
    for recorder in registered:
        assert recorder.folder == (tmp_path / evidence if evidence else None)


def test_ground_truth_is_on_the_line() -> None:
    report: Any = SimpleNamespace(when="call", passed=True, user_properties=[("ground_truth", "t")])
    assert plugin.pytest_report_teststatus(report) == ("passed", ".", "PASSED (agrees with t)")
    report.passed = False
    assert plugin.pytest_report_teststatus(report) is None


def test_header(tmp_path: Path) -> None:
    found = plugin.pytest_report_header(config([], device="cpu", sglang=str(tmp_path)))
    assert found.startswith("reference tests: CPU (")
    assert found.endswith(f"; no SGLang: --sglang {tmp_path} holds no SGLang source")
