"""Spreading reference tests over processes: faults, limits, GPUs, and what is left behind.

The tests are played, see `fake_tests`.
"""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path

import pytest
from fake_tests import Fake
from waiting import running

from fibcore.errors import FibcoreError
from fibcore.processes.limits import Limits
from fibcore.processes.machine import Gpu
from fibcore.processes.sizes import GIB
from fibcore.verification.result import DefinitionResult
from fibcore.verification.slots import Slot, make_slots

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no process groups on Windows")


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


def test_what_needs_more_than_its_share_of_a_gpu_runs_again_alone(fake: Fake) -> None:
    slots = make_slots(gpus("7"), 4, jobs=2)
    runs = fake.run(["gpubig_1", "slow_1", "slow_2"], slots)
    assert {run.outcome for run in runs.values()} == {"passed"}
    assert fake.lines[-2:] == ["start 7 None", "7 gpubig_1"]  # with all of the GPU
    # A limit that the user gave is kept, and nothing is gained by another try.
    limited = make_slots(gpus("7"), 4, jobs=2, gpu_memory_bytes=GIB)
    runs = fake.run(["gpubig_2", "slow_1"], limited, alone_gpu=GIB)
    assert runs["gpubig_2"].outcome == "failed"
    assert fake.lines.count("7 gpubig_2") == 1


def test_killed_by_the_system_runs_again_alone(fake: Fake) -> None:
    slots = [Slot("CPU 0"), Slot("CPU 1")]
    runs = fake.run(["kill_1", "slow_1", "slow_2", "slow_3"], slots)
    assert "SIGKILL" in (runs["kill_1"].crash or "")
    assert fake.lines[-1] == "None kill_1"
    assert fake.lines.count("None kill_1") == 2


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
    def break_it(_: DefinitionResult) -> None:
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
    assert running(str(fake.folder / "fake_worker.py")) == []


def test_error_of_who_is_told_ends_the_processes(fake: Fake) -> None:
    def refuse(_: DefinitionResult) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fake.run(["a", "hang_1"], [Slot("CPU 0"), Slot("CPU 1")], finished=refuse)
    assert running(str(fake.folder / "fake_worker.py")) == []


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
