"""Spreading reference tests over workers: faults, limits, GPUs, and what is left behind.

Most tests have a script in the place of the real worker process: it says what that says, does to
itself what a definition's name asks for, and needs no torch.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import scale_toy as toy
from fibcore.verification.worker import Limits

from fibcore.dataset import Dataset
from fibcore.errors import FibcoreError, UsageError
from fibcore.processes.machine import GIB, Gpu, Slot, make_slots, visible_ids
from fibcore.verification import add_reference_tests, machine, verification, verify, worker
from fibcore.verification.scheduler import DefinitionRun, Plan, run_tests

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no process groups on Windows")


# The process takes its orders from names: "hang_1" hangs, "once_abort" aborts unless it is alone.
SCRIPT = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

MODULES = [a for a in sys.argv if Path(a).name.startswith("test_")]
EVIDENCE = Path(sys.argv[sys.argv.index("--evidence") + 1])
GPU = os.environ.get("CUDA_VISIBLE_DEVICES")
LOG = Path(os.environ["FAKE_LOG"])


def event(event, **data):
    with open(os.environ["FIBCORE_EVENTS"], "a") as file:
        file.write(json.dumps({"event": event, **data}) + "\\n")


def test(name, result="passed", **more):
    nodeid = f"tests/references/test_x.py::test[{name}]"
    event("start", nodeid=nodeid)
    record = {"definition": name, "result": result, "expected_tests": 1, **more}
    return lambda: event("test", nodeid=nodeid, record=record)


with LOG.open("a") as file:
    file.write(f"start {GPU} {os.environ.get('FIBCORE_GPU_MEMORY_BYTES')}\\n")
if "test_unstartable" in str(MODULES) or (LOG.parent / "no more").exists():
    sys.exit("nothing works")
for module in MODULES:
    event("collecting", nodeid="tests/references/" + Path(module).name)
    if "test_lethal" in module:
        os.abort()
    if "test_unreadable" in module:
        event("error", nodeid="tests/references/test_unreadable.py", message="SyntaxError")
event("ready")
ran = 0
for line in sys.stdin:
    name = line.strip()
    event("begin", definition=name)
    with LOG.open("a") as file:
        file.write(f"{GPU} {name}\\n")
    kind, fault = name.split("_")[0], None
    done = test(name, "failed" if kind in ("fails", "gpufails") else "passed")
    if kind == "abort" or (kind == "once" and ran):
        print("about to abort", flush=True)
        os.abort()
    if kind == "exit":
        os._exit(5)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hang":
        subprocess.run(["sleep", os.environ["FAKE_SLEEP"]])
    if kind == "slow":
        time.sleep(0.5)
    if kind == "sleeps":
        time.sleep(60)
    if kind == "big":
        hoard = bytearray(400 << 20)
        hoard[:: 4096] = b"x" * len(hoard[:: 4096])
        time.sleep(1)
    if kind in ("gpufault", "gpufails"):
        fault = "CUDA error: an illegal memory access was encountered"
    done()
    EVIDENCE.mkdir(exist_ok=True)
    run = {"result": "passed", "gpu": GPU, "reference_sha256": "of another"}
    (EVIDENCE / f"{name}.json").write_text(json.dumps({"runs": [run]}))
    event("end", definition=name, seconds=0.5, memory_bytes=1, gpu_memory_bytes=None, fault=fault)
    ran += 1
    if fault:
        time.sleep(0.3)  # as the end of a lost context takes
        os._exit(70)
    if kind == "dies-after":
        sys.exit(9)
event("finished", exitstatus=0)
"""

Run = Callable[..., dict[str, DefinitionRun]]


class Fake:
    """Runs definitions in processes that only play the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.sleep = f"600.{os.getpid()}{time.monotonic_ns() % 10**6}"
        self.told: list[str] = []
        self.problems: list[FibcoreError] = []

    def run(
        self,
        names: Sequence[str],
        slots: Sequence[Slot] = (Slot("CPU"),),
        *,
        modules: Sequence[str] = ("x",),
        op_types: Mapping[str, str] | None = None,
        finished: Callable[[DefinitionRun], None] | None = None,
        stop: threading.Event | None = None,
        alone: Limits | None = None,
        **limits: Any,
    ) -> dict[str, DefinitionRun]:
        """Run definitions; what was told of them, by name."""
        runs: dict[str, DefinitionRun] = {}

        def take(run: DefinitionRun) -> None:
            assert run.name not in runs  # each is told of once
            runs[run.name] = run
            if finished is not None:
                finished(run)

        own = Limits(**{"timeout_s": 60.0, **limits})
        plan = Plan(
            dataset=self.folder,
            modules={m: f"tests/references/test_{m}.py" for m in modules},
            units={name: (op_types or {}).get(name, modules[0]) for name in names},
            options=(),
            slots=slots,
            limits=own,
            alone=alone or own,
        )
        self.problems = run_tests(plan, take, stop)
        assert set(runs) == set(names)
        return runs

    @property
    def lines(self) -> list[str]:
        """What the processes logged: their starts, and each definition with its GPU."""
        return self.log.read_text().splitlines()

    def starts(self) -> int:
        """Processes that were started."""
        return sum(line.startswith("start") for line in self.lines)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    script = tmp_path / "fake_session.py"
    script.write_text(SCRIPT)
    monkeypatch.setattr(worker, "SCRIPT", script)
    made = Fake(tmp_path)
    monkeypatch.setenv("FAKE_LOG", str(made.log))
    monkeypatch.setenv("FAKE_SLEEP", made.sleep)
    return made


def running(words: str) -> list[str]:
    """Command lines of processes that have these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        found += [line] if words in line else []
    return found


def gpus(*ids: str) -> tuple[Gpu, ...]:
    return tuple(Gpu(i, "A Big GPU", 80 * GIB) for i in ids)


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("abort_1", "signal 6 (SIGABRT)"),
        ("kill_1", "signal 9 (SIGKILL, as when memory runs out)"),
        ("exit_1", "exit status 5"),
    ],
)
def test_process_that_dies_costs_the_definition_it_was_at(fake: Fake, name: str, how: str) -> None:
    runs = fake.run(["a", name, "b"])
    assert [runs[n].outcome for n in ("a", name, "b")] == ["passed", "failed", "passed"]
    assert how in (runs[name].crash or "")
    assert f"test_x.py::test[{name}]" in (runs[name].crash or "")
    if name == "abort_1":
        assert "about to abort" in str(runs[name].problem)
    assert fake.problems == []
    # It had run "a" before, so that one might have been to blame: once more in a fresh process.
    assert [line for line in fake.lines if name in line] == [f"None {name}"] * 2
    assert fake.starts() == 3


def test_what_another_definition_left_behind_is_not_blamed_on_the_next(fake: Fake) -> None:
    runs = fake.run(["a", "once_abort", "b"])
    assert {run.outcome for run in runs.values()} == {"passed"}
    assert fake.starts() == 2


def test_lost_gpu_costs_its_process_alone(fake: Fake) -> None:
    runs = fake.run(["gpufault_1", "gpufails_1", "b"])
    assert "lost the GPU: CUDA error: an illegal memory access" in (runs["gpufault_1"].crash or "")
    assert runs["gpufault_1"].evidence is None  # whose tests passed before the error came
    assert runs["gpufails_1"].crash is None  # whose own test says it
    assert runs["gpufails_1"].outcome == "failed"
    assert runs["b"].outcome == "passed"
    assert fake.starts() == 3
    assert fake.problems == []


def test_process_that_dies_between_definitions_is_nobodys_fault(fake: Fake) -> None:
    runs = fake.run(["dies-after_1", "b"])
    assert {run.outcome for run in runs.values()} == {"passed"}
    assert fake.starts() == 2


def test_hang_is_ended_with_its_children(fake: Fake) -> None:
    runs = fake.run(["a", "hang_1", "b"], timeout_s=1.0)
    assert "timed out after 1 s" in (runs["hang_1"].crash or "")
    assert "--timeout" in (runs["hang_1"].problem or FibcoreError("")).hint  # type: ignore[operator]
    assert (runs["a"].outcome, runs["b"].outcome) == ("passed", "passed")
    assert fake.lines.count("None hang_1") == 1  # a second time would take as long
    assert running(fake.sleep) == []


# --- memory --------------------------------------------------------------------------------------

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory of processes is read in /proc"
)


@needs_proc
def test_too_much_memory_is_ended(fake: Fake) -> None:
    runs = fake.run(["big_1", "b"], memory_bytes=200 << 20)
    crash = runs["big_1"].crash or ""
    assert re.search(r"used 0\.\d GiB of memory, over the limit of 0\.2 GiB", crash)
    assert "--memory-limit" in str(runs["big_1"].problem)
    assert runs["b"].outcome == "passed"


@needs_proc
def test_what_needs_more_than_its_share_runs_again_alone(fake: Fake) -> None:
    slots = [Slot("CPU 0"), Slot("CPU 1")]
    names = ["big_1", "slow_1", "slow_2", "slow_3"]
    alone = Limits(60.0, 900 << 20)
    runs = fake.run(names, slots, memory_bytes=200 << 20, alone=alone)
    assert {run.outcome for run in runs.values()} == {"passed"}
    assert fake.lines[-1] == "None big_1"  # when the others had ended
    runs = Fake.run(fake, ["big_2"], slots, memory_bytes=200 << 20, alone=Limits(60.0, 210 << 20))
    assert "over the limit of 0.2 GiB" in (runs["big_2"].crash or "")


def test_killed_by_the_system_runs_again_alone(fake: Fake) -> None:
    slots = [Slot("CPU 0"), Slot("CPU 1")]
    runs = fake.run(["kill_1", "slow_1", "slow_2", "slow_3"], slots)
    assert "SIGKILL" in (runs["kill_1"].crash or "")
    assert fake.lines[-1] == "None kill_1"
    assert fake.lines.count("None kill_1") == 2


def test_memory_of_processes_and_machine() -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("there is no /proc")
    own = machine.resident_bytes(os.getpid())
    assert own is not None
    assert 5 << 20 < own < 100 * GIB
    assert machine.resident_bytes(2**22 + 1) is None
    free = machine.free_memory_bytes()
    assert free is not None
    assert 0 < free < 100_000 * GIB
    assert machine.cores() >= 1


# --- what is no definition's fault ---------------------------------------------------------------


def test_module_that_ends_its_reader_costs_its_definitions(fake: Fake) -> None:
    slots = [Slot("CPU 0"), Slot("CPU 1")]
    op_types = {"a": "lethal", "b": "lethal", "c": "x", "d": "x"}
    runs = fake.run(list(op_types), slots, modules=("lethal", "x"), op_types=op_types)
    assert [runs[n].outcome for n in "abcd"] == ["failed", "failed", "passed", "passed"]
    assert "read tests/references/test_lethal.py ended with signal 6" in (runs["a"].crash or "")
    assert [p.where for p in fake.problems] == ["tests/references/test_lethal.py"]


def test_module_that_cannot_be_read_is_told_of_once(fake: Fake) -> None:
    slots = [Slot("CPU 0"), Slot("CPU 1")]
    fake.run(["slow_1", "slow_2"], slots, modules=("x", "unreadable"))
    assert [p.message for p in fake.problems] == ["a test module cannot be collected"]


def test_processes_that_cannot_start_are_an_error(fake: Fake) -> None:
    with pytest.raises(FibcoreError, match="pytest could not run") as caught:
        fake.run(["a"], modules=("unstartable",))
    assert "nothing works" in (caught.value.found or "")


def test_processes_that_cannot_start_any_more_are_an_error(fake: Fake) -> None:
    def break_it(_: DefinitionRun) -> None:
        (fake.folder / "no more").touch()

    with pytest.raises(FibcoreError, match="no worker process can be started any more") as caught:
        fake.run(["abort_1", "a", "b"], finished=break_it)
    assert "nothing works" in (caught.value.found or "")
    assert fake.starts() == 1 + 3


def test_stop_ends_the_processes(fake: Fake) -> None:
    stop = threading.Event()
    with pytest.raises(FibcoreError, match="cancelled"):
        fake.run(["a", "hang_1"], finished=lambda _: stop.set(), stop=stop)
    assert running(fake.sleep) == []
    assert running(str(fake.folder / "fake_session.py")) == []


def test_error_of_who_is_told_ends_the_processes(fake: Fake) -> None:
    def refuse(_: DefinitionRun) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fake.run(["a", "hang_1"], [Slot("CPU 0"), Slot("CPU 1")], finished=refuse)
    assert running(str(fake.folder / "fake_session.py")) == []


# --- GPUs ----------------------------------------------------------------------------------------


def test_one_worker_for_each_gpu(fake: Fake) -> None:
    names = [f"slow_{i}" for i in range(6)]
    runs = fake.run(names, make_slots(gpus("3", "5"), 6))
    assert {run.worker for run in runs.values()} == {"GPU 3", "GPU 5"}
    assert {str((run.evidence or {})["gpu"]) for run in runs.values()} == {"3", "5"}
    assert sorted(line for line in fake.lines if "start" in line) == [
        "start 3 None",
        "start 5 None",
    ]


def test_first_definitions_of_op_types_are_spread(fake: Fake) -> None:
    # The first of an op type compiles kernels, for which its like would only wait.
    op_types = {"slow_x1": "x", "slow_x2": "x", "slow_y1": "y", "slow_y2": "y"}
    fake.run(list(op_types), make_slots(gpus("0", "1"), 4), modules=("x", "y"), op_types=op_types)
    order = [line.split()[1] for line in fake.lines if "slow" in line]
    assert set(order[:2]) == {"slow_x1", "slow_y1"}


def test_slots_of_gpus() -> None:
    assert [s.label for s in make_slots(gpus("0", "1"), 9)] == ["GPU 0", "GPU 1"]
    assert [s.label for s in make_slots(gpus("0", "1"), 1)] == ["GPU 0"]
    assert [s.label for s in make_slots(gpus("0", "1"), 9, jobs=1)] == ["GPU 0"]
    shared = make_slots(gpus("0", "GPU-7f"), 9, jobs=3)
    assert [s.label for s in shared] == ["GPU 0.0", "GPU GPU-7f", "GPU 0.1"]
    assert [s.environment["CUDA_VISIBLE_DEVICES"] for s in shared] == ["0", "GPU-7f", "0"]
    share = int(0.9 * 40 * GIB)
    assert [s.gpu_memory_bytes for s in shared] == [share, None, share]
    limited = make_slots(gpus("0"), 9, gpu_memory_bytes=GIB)
    assert [s.gpu_memory_bytes for s in limited] == [GIB]


def test_slots_of_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "free_memory_bytes", lambda: 100 * GIB)
    assert len(make_slots((), 1000)) == 8
    assert len(make_slots((), 3)) == 1  # more processes would only import torch more often
    assert len(make_slots((), 9)) == 3
    assert len(make_slots((), 9, jobs=100)) == 9
    assert [dict(s.environment) for s in make_slots((), 9, jobs=2)] == [
        {"OMP_NUM_THREADS": "4"}
    ] * 2
    assert dict(make_slots((), 9, jobs=1)[0].environment) == {}
    monkeypatch.setattr(machine, "free_memory_bytes", lambda: 9 * GIB)
    assert len(make_slots((), 1000)) == 2
    monkeypatch.setattr(machine, "free_memory_bytes", lambda: GIB)
    assert len(make_slots((), 1000)) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert dict(make_slots((), 9, jobs=2)[0].environment) == {}  # what the user set stays


@pytest.mark.parametrize(
    ("variable", "count", "ids"),
    [
        (None, 2, ["0", "1"]),
        ("", 0, []),
        ("5,3", 2, ["5", "3"]),
        ("GPU-aa, GPU-bb", 2, ["GPU-aa", "GPU-bb"]),
        ("0,1,-1,2", 2, ["0", "1"]),
    ],
)
def test_visible_gpus(variable: str | None, count: int, ids: list[str]) -> None:
    assert visible_ids(variable, count) == ids


def test_gpus_are_asked_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "torch"
    package.mkdir()
    (package / "version.py").write_text("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n")
    (package / "__init__.py").write_text(
        textwrap.dedent(
            """
            from types import SimpleNamespace as N

            cuda = N(
                is_available=lambda: True,
                device_count=lambda: 2,
                get_device_properties=lambda i: N(name=f"GPU no. {i}", total_memory=1024),
            )
            """
        )
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,4,2")
    monkeypatch.setattr(
        "fibcore.processes.machine.importlib.util.find_spec",
        lambda _: type("Spec", (), {"origin": str(package / "__init__.py")}),
    )
    assert machine.find_gpus() == (Gpu("6", "GPU no. 0", 1024), Gpu("4", "GPU no. 1", 1024))
    (package / "version.py").write_text("cuda: Optional[str] = None\nhip: Optional[str] = None\n")
    assert machine.find_gpus() == ()
    (package / "version.py").write_text("cuda: Optional[str] = '13.0'\n")
    (package / "__init__.py").write_text("raise ImportError('no libcudart')\n")
    with pytest.raises(FibcoreError, match="cannot say which GPUs") as caught:
        machine.find_gpus()
    assert "no libcudart" in (caught.value.found or "")


# --- the real process ----------------------------------------------------------------------------


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
import reference_tests_toy as toy
from fibcore.verification import verify

try:
    verify(
        dataset=Path(sys.argv[1]),
        device="cpu",
        registry=toy.registry(),
        jobs=1,
        progress=lambda step: print(step.definition, flush=True),
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
    command = [sys.executable, str(driver), str(dataset), str(Path(__file__).parent)]
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


def wait_for(condition: Callable[[], object], what: str) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {what}")


@pytest.mark.parametrize(
    "options",
    [
        {"jobs": 0},
        {"memory_bytes": 0},
        {"timeout_s": 0.0},
        {"timeout_s": float("nan")},
        {"jobs": 2, "dask": "127.0.0.1:8786"},
        {"dask": "nonsense"},
    ],
)
def test_wrong_usage(tmp_path: Path, options: dict[str, Any]) -> None:
    pytest.importorskip("distributed", reason="distributed is not installed")
    generate(tmp_path / "dataset", toy.definition())
    with pytest.raises(UsageError):
        verify(dataset=tmp_path / "dataset", registry=toy.registry(), **options)


def test_many_definitions_are_recorded_together(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = fake.folder / "dataset"
    names = [f"scale_{i:02}" for i in range(30)]
    toy.write(dataset, *(toy.definition(name) for name in names))
    toy.write_sglang(fake.folder / "sglang")
    add_reference_tests(dataset=dataset, all_=True, registry=toy.registry())
    taken = 0
    locked = Dataset.locked

    def counted(self: Dataset) -> Any:
        nonlocal taken
        taken += not self._depth
        return locked(self)

    monkeypatch.setattr(Dataset, "locked", counted)
    # The share decides, not this machine's speed: after the first, nothing is due before the end.
    monkeypatch.setattr(verification, "WRITING_SHARE", 1e9)
    report = verify(dataset=dataset, device="cpu", registry=toy.registry(), jobs=1)
    assert [d.name for d in report.definitions] == names
    assert 1 <= taken < 5
