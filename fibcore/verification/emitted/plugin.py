"""Hooks of pytest and fixtures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from fibcore.verification.emitted.checks import Agreement, DefinitionFile, PropertyCheck
from fibcore.verification.emitted.devices import device_of, machine
from fibcore.verification.emitted.options import add_options, check_options, option
from fibcore.verification.emitted.places import DATASET, HERE
from fibcore.verification.emitted.recorder import Recorder
from fibcore.verification.emitted.sglang_package import find_sglang, sglang_version
from fibcore.verification.emitted.subjects import Subject, subjects


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options and, where evidence is wanted, start to record it."""
    check_options(config)
    evidence, events = option(config, "--evidence"), os.environ.get("FIBCORE_EVENTS")
    # With pytest-xdist, the process that hands out the tests hears of all of them.
    if (evidence or events) and not hasattr(config, "workerinput"):
        folder = config.invocation_params.dir / evidence if evidence else None
        recorder = Recorder(folder, Path(events) if events else None)
        config.pluginmanager.register(recorder, f"reference-test-evidence {HERE}")


def pytest_report_header(config: pytest.Config) -> str:
    """Say what the tests run on and where SGLang's source is."""
    device, reason = device_of(config)
    package, where = find_sglang(option(config, "--sglang"))
    sglang = f"SGLang {sglang_version(package)} at {package}" if package else f"no SGLang: {where}"
    return f"reference tests: {reason or machine(device)['device']['name']}; {sglang}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each definition, case and property."""
    fixtures = {"definition_file", "agreement", "property_check"}
    for fixture in fixtures & set(metafunc.fixturenames):
        known = subjects(metafunc.module)
        parameters: list[Any] = _parameters(fixture, known)
        ids = [_test_id(*p) for p in parameters]
        if not parameters:
            reason = f"no definition in {DATASET / 'definitions' / metafunc.module.OP_TYPE}"
            if known:
                reason = "nothing to run: no case, or no property check, or no file that loads"
            parameters = [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
            ids = ["none"]
        metafunc.parametrize(fixture, parameters, ids=ids, indirect=True)


def _parameters(fixture: str, known: Sequence[Subject]) -> list[tuple[Any, ...]]:
    """What a fixture is made for: (subject,), (subject, case) or (subject, case, property)."""
    if fixture == "definition_file":
        return [(s,) for s in known]
    if fixture == "agreement":
        return [(s, case) for s in known for case in s.cases]
    return [(s, c, p) for s in known for c in s.cases for p in s.properties]


def _test_id(subject: Subject, case: Any = None, check: Any = None) -> str:
    """NAME, NAME-CASE or NAME-CASE-PROPERTY."""
    parts = [subject.name]
    if case is not None:
        parts.append(case["id"])
    if check is not None:
        parts.append(check.__name__)
    return "-".join(parts)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the definitions that `--definition` names."""
    wanted = option(config, "--definition")
    if not wanted:
        return
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    names: set[str] = {path.stem for path in DATASET.glob("definitions/*/*.json")}
    for item in items:
        own = _definitions_of(item)
        names.update(own)
        mine = HERE in item.path.parents
        (kept if not mine or any(name in wanted for name in own) else dropped).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept
    unknown = sorted(set(wanted) - names)
    if unknown:
        raise pytest.UsageError(f"--definition: no definition {', '.join(unknown)} in {DATASET}")


def _definitions_of(item: pytest.Item) -> list[str]:
    """Names of the definitions that a test is about, be it another dataset's."""
    values = getattr(getattr(item, "callspec", None), "params", {}).values()
    return [v[0].name for v in values if isinstance(v, tuple) and hasattr(v[0], "entry")]


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Say with `-v` which ground truth a reference agreed with."""
    if report.when == "call" and report.passed:
        for key, value in getattr(report, "user_properties", ()):
            if key == "ground_truth":
                return "passed", ".", f"PASSED (agrees with {value})"
    return None


@pytest.fixture
def definition_file(request: pytest.FixtureRequest) -> DefinitionFile:
    """The file of a definition, to be checked."""
    return DefinitionFile(request, "definition")


@pytest.fixture
def agreement(request: pytest.FixtureRequest) -> Iterator[Agreement]:
    """A definition and a case, to be compared with a ground truth."""
    test = Agreement(request)
    yield test
    if test.device.type == "cuda":
        torch.cuda.empty_cache()  # the next definition may need all of the GPU's memory


@pytest.fixture
def property_check(request: pytest.FixtureRequest) -> PropertyCheck:
    """A definition, a case and a property, to be checked."""
    return PropertyCheck(request)
