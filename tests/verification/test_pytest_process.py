"""Reference tests in real processes: faults of references, and interrupted calls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import scale_toy as toy
from waiting import running, wait_for

from fibcore.dataset import Dataset
from fibcore.processes.sizes import GIB
from fibcore.verification import add_reference_tests, verify

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no process groups on Windows")


def generate(dataset: Path, *definitions: Any) -> None:
    toy.write(dataset, *definitions)
    toy.write_sglang(dataset.parent / "sglang")
    add_reference_tests(dataset=dataset, all_=True, registry=toy.registry())


def call(name: str, arguments: str) -> str:
    module, _, function = name.rpartition(".")
    return f"(__import__('{module}').{function}({arguments}), x * FACTOR)[1]"


@pytest.fixture
def torch() -> ModuleType:
    module: ModuleType = pytest.importorskip("torch", reason="torch is not installed")
    return module


@pytest.mark.usefixtures("torch")
def test_faults_of_real_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    dataset = tmp_path / "dataset"
    verified = {"tags": ("status:verified",)}
    generate(
        dataset,
        toy.definition("scale_a"),
        toy.definition("scale_b_segv", body=call("ctypes.string_at", "0"), **verified),
        toy.definition("scale_c_exit", body=call("os._exit", "3"), **verified),
        toy.definition("scale_d", body="(print('hello'), x * FACTOR)[1]"),
    )
    report = verify(dataset=dataset, device="cpu", registry=toy.registry(), jobs=2)
    assert report.exit_code == 1
    assert report.verified == ("scale_a", "scale_d")
    found = {d.name: d for d in report.definitions}
    assert "signal 11 (SIGSEGV)" in found["scale_b_segv"].failures[0].message
    assert "exit status 3" in found["scale_c_exit"].failures[0].message
    text = "\n".join(str(problem) for problem in report.problems)
    assert 'File "<reference of scale_b_segv>", line 9 in run' in text  # where it happened
    assert len(report.problems) == 2
    for name in ("scale_b_segv", "scale_c_exit"):
        definition = Dataset(dataset).get(name)
        assert definition is not None
        assert definition.tag_values("status") == ("unverified",)
    good = found["scale_a"]
    assert good.worker in ("CPU 0", "CPU 1")
    assert good.seconds is not None
    if sys.platform == "linux":
        assert good.memory_bytes is not None
        assert 50 << 20 < good.memory_bytes < 4 * GIB


DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import scale_toy as toy
from fibcore.verification import verify

try:
    verify(
        dataset=Path(sys.argv[1]),
        device="cpu",
        registry=toy.registry(),
        jobs=1,
        finished=lambda result: print(result.name, flush=True),
    )
except KeyboardInterrupt:
    sys.exit("interrupted")
"""


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_call_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    dataset = tmp_path / "dataset"
    sleep = f"600.{os.getpid()}{time.monotonic_ns() % 10**6}"
    body = call("subprocess.run", f"['sleep', '{sleep}']")
    generate(dataset, toy.definition("scale_a"), toy.definition("scale_b", body=body))
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    command = [sys.executable, str(driver), str(dataset), str(Path(toy.__file__).parent)]
    process = subprocess.Popen(  # noqa: S603  (our own script)
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "scale_a\n"
    wait_for(lambda: running(sleep), "the second definition's tests")
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (1 if sent is signal.SIGINT else -9), said
    wait_for(lambda: not running(sleep) and not running(str(dataset)), "the end of all processes")
    reports = dataset / "reports" / "verification"
    assert [path.name for path in reports.iterdir()] == ["scale_a.json"]
    assert json.loads((reports / "scale_a.json").read_text())["runs"][0]["result"] == "passed"
    first, second = Dataset(dataset).get("scale_a"), Dataset(dataset).get("scale_b")
    assert first is not None
    assert second is not None
    assert first.tag_values("status") == ("verified",)
    assert second.tag_values("status") == ("unverified",)
