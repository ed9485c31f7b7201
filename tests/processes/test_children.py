"""One worker process: what it hears and says, how it ends, and what its limits do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import running, wait_for

from fibcore.processes import children
from fibcore.processes.children import Child, Program
from fibcore.processes.endings import Ending, How, status_in_words
from fibcore.processes.limits import Limits

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no process groups on Windows")

WORKER = Path(__file__).parents[1] / "helpers" / "echo_worker.py"
MIB = 1 << 20


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Any]:
    """A function that starts a child; all are ended with the test."""
    made: list[Child] = []

    def start(*arguments: str, **limits: Any) -> Child:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(
            Child(Program(WORKER, arguments), Limits(**{"timeout_s": 60.0, **limits}), folder)
        )
        return made[-1]

    yield start
    for child in made:
        child.kill()


def events(child: Child, until: str = "end") -> list[Any]:
    """The events of a child up to one of a kind, or to its end."""
    found: list[Any] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        gone = child.ended()
        found += child.poll()
        if gone or any(event["event"] == until for event in found):
            return found
        time.sleep(0.005)
    raise AssertionError(f"no {until}: {found}")


def ending(child: Child) -> Ending:
    events(child, "nothing")
    found = child.ending()
    assert found is not None
    return found


def test_tasks_and_answers(started: Any) -> None:
    child = started()
    child.feed("one")
    assert child.busy
    assert [e["event"] for e in events(child)] == ["ready", "end"]
    assert (child.ready, child.busy, child.done) == (True, False, 1)
    child.feed(["sleep", 0.01])
    assert events(child)[-1] == {"event": "end", "answer": None, "done": 1}
    child.close()
    assert events(child, "nothing") == []
    assert child.ended()
    assert child.ending() is None


def test_tasks_have_an_empty_input_and_fibcore_out_of_sight(started: Any) -> None:
    child = started()
    child.feed("read")
    assert events(child)[-1]["answer"] == ""
    child.feed("modules")
    assert events(child)[-1]["answer"] == []


def test_the_log_is_about_the_present_task(started: Any) -> None:
    child = started()
    child.feed("first")
    events(child)
    assert child.output() == "doing first"
    child.feed(["write", "\n".join(str(n) for n in range(100))])
    events(child)
    lines = child.output().splitlines()
    assert lines[0] == "doing write"
    assert lines[children.FIRST_LINES] == "..."
    assert lines[-1] == "99"
    assert len(lines) == children.FIRST_LINES + 1 + children.LAST_LINES


@pytest.mark.parametrize(
    ("task", "reason", "number"),
    [
        (["exit", 7], "ended with exit status 7", None),
        (["exit", 0], "ended with exit status 0", None),
        (["signal", 9], "ended with signal 9 (SIGKILL, as when memory runs out)", 9),
        (["signal", 6], "ended with signal 6 (SIGABRT)", 6),
        (["crash"], "ended with signal 11 (SIGSEGV)", 11),
    ],
)
def test_a_process_that_dies(started: Any, task: Any, reason: str, number: int | None) -> None:
    child = started()
    child.feed(task)
    found = ending(child)
    assert (found.how, found.reason, found.signal_number) == (How.DIED, reason, number)
    assert found.sentence == f"the process {reason}"
    assert found.killed_from_outside is (number == signal.SIGKILL)
    assert f"doing {task[0]}" in found.output


def test_a_process_that_does_not_begin(started: Any) -> None:
    child = started("broken")
    child.feed("one")
    assert ending(child).last_line == "RuntimeError: broken from the start"


def test_a_process_that_hangs_ends_with_what_it_started(started: Any) -> None:
    seconds = f"600.{os.getpid()}{time.monotonic_ns() % 10**6}"
    child = started(timeout_s=0.5)
    child.feed(["hang", seconds])
    found = ending(child)
    assert (found.how, found.seconds) == (How.TIMEOUT, 0.5)
    assert found.reason == "timed out after 0.5 s"
    assert found.sentence == "it took longer than 0.5 s and was ended"
    assert found.output == "doing hang"
    wait_for(lambda: not running(seconds), "the end of what it started")


def test_time_is_the_tasks_alone(started: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    child = started("late", timeout_s=0.3)
    for _ in range(2):
        child.feed(["sleep", 0.1])  # before it is ready: the start does not count
        assert events(child)[-1]["event"] == "end"
        time.sleep(0.4)  # nor does the time between two tasks
    assert list(child.poll()) == []
    assert not child.ended()
    monkeypatch.setattr(children, "START_S", 0.2)
    late = started("unready")
    late.feed("one")
    assert ending(late).reason == "timed out after 0.2 s"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read in /proc")
def test_a_process_over_its_memory(started: Any) -> None:
    child = started(memory_bytes=200 * MIB)
    child.feed(["hoard", 400 * MIB])
    found = ending(child)
    assert found.how is How.MEMORY
    assert "of memory, over the limit of 0.2 GiB" in found.reason
    assert not found.killed_from_outside


def test_a_process_that_cannot_go_on(started: Any) -> None:
    child = started()
    child.feed("fault")
    found = ending(child)
    assert (found.how, found.reason, found.output) == (How.FAULT, "lost its way", "doing fault")
    assert not child.ready


def test_a_process_that_is_stopped(started: Any) -> None:
    child = started()
    child.feed(["sleep", 600])
    child.stop()
    found = child.ending()
    assert found is not None
    assert (found.how, found.sentence) == (How.STOPPED, "it was ended")


def test_a_process_that_does_not_end_by_itself_is_ended(
    started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "CLOSE_S", 0.2)
    child = started("unready")
    child.close()
    assert events(child, "nothing") == []
    assert child.ending() is None


def test_a_parent_that_is_gone_takes_its_children_along(tmp_path: Path) -> None:
    seconds = f"600.{os.getpid()}{time.monotonic_ns() % 10**6}"
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from fibcore.processes.children import Child, Program\n"
        "from fibcore.processes.limits import Limits\n"
        "child = Child(Program(Path(sys.argv[1])), Limits(600.0), Path(sys.argv[2]))\n"
        "child.feed(['hang', sys.argv[3]])\ntime.sleep(600)\n"
    )
    parent = subprocess.Popen(  # noqa: S603  (our own code)
        [sys.executable, "-c", code, str(WORKER), str(tmp_path), seconds]
    )
    # The parent's own command line has the number, too.
    wait_for(lambda: f"sleep {seconds} " in running(seconds), "the task")
    parent.kill()
    parent.wait()
    wait_for(lambda: not running(seconds), "the end of the child and of what it started")


def test_environment_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["lib", "/opt"]))
    monkeypatch.setenv("UNWANTED", "x")
    program = Program(WORKER, environment={"A": "1"}, without=("UNWANTED",), cwd=Path("/"))
    found = children._environment(program, Path("events"))
    assert found["PYTHONPATH"] == os.pathsep.join([str(tmp_path / "lib"), "/opt"])
    assert found["A"] == "1"
    assert "UNWANTED" not in found
    assert found["FIBCORE_EVENTS"] == str(tmp_path / "events")


def test_signals_without_a_name() -> None:
    assert status_in_words(-63) == "signal 63"
