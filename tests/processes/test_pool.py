"""Tasks with answers: one worker that starts again where it ended, and several that share tasks."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from fibcore.processes.children import Program
from fibcore.processes.endings import Ending, How
from fibcore.processes.limits import Limits
from fibcore.processes.pool import Pool, Worker

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no process groups on Windows")

PROGRAM = Program(Path(__file__).parents[1] / "helpers" / "echo_worker.py")


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_worker_answers_and_starts_again_where_it_ended() -> None:
    with Worker(PROGRAM, Limits(60.0)) as worker:
        first = worker.call("pid")
        second = worker.call("pid")
        assert not isinstance(first, Ending)
        assert not isinstance(second, Ending)
        assert first["answer"] == second["answer"]
        assert (first["done"], second["done"]) == (0, 1)
        end = worker.call(["exit", 4])
        assert isinstance(end, Ending)
        assert end.sentence == "the process ended with exit status 4"
        worker.limits = Limits(0.2)
        end = worker.call(["sleep", 60])
        assert isinstance(end, Ending)
        assert end.how is How.TIMEOUT
        third = worker.call("pid")
        assert not isinstance(third, Ending)
        assert third["done"] == 0
        assert third["answer"] != first["answer"]
    assert not runs(third["answer"])


def test_every_process_gets_the_setup_first() -> None:
    with Worker(PROGRAM, Limits(60.0), setup=["setup"]) as worker:
        assert worker.call("one") == {"answer": None, "done": 1}
        assert isinstance(worker.call(["exit", 1]), Ending)
        assert worker.call("one") == {"answer": None, "done": 1}


def test_a_call_can_be_stopped() -> None:
    stop = threading.Event()
    with Worker(PROGRAM, Limits(60.0)) as worker:
        assert worker.call("one", stop) == {"answer": None, "done": 0}
        stop.set()
        end = worker.call(["sleep", 60], stop)
        assert isinstance(end, Ending)
        assert end.how is How.STOPPED


def test_workers_share_tasks_and_one_that_dies_costs_its_task_alone() -> None:
    tasks = {
        "slow": ["sleep", 1.0],
        "dies": ["exit", 3],
        **{f"n{i}": "pid" for i in range(6)},
    }
    with Pool(lambda: Worker(PROGRAM, Limits(60.0)), 2) as pool:
        found = dict(pool.map(tasks))
        assert set(found) == set(tasks)
        assert {k for k, v in found.items() if isinstance(v, Ending)} == {"dies"}
        assert list(pool.map({})) == []
        assert dict(pool.map({"again": "one"}))["again"]
    for key in tasks:
        answer = found[key]
        if not isinstance(answer, Ending) and answer["answer"] is not None:
            assert not runs(answer["answer"])


def test_leaving_a_pool_ends_its_processes() -> None:
    pids = []
    with Pool(lambda: Worker(PROGRAM, Limits(60.0)), 2) as pool:
        for _, answer in pool.map({"a": "pid", "b": ["sleep", 600]}):
            assert not isinstance(answer, Ending)
            pids.append(answer["answer"])
            break
    assert not any(map(runs, pids))
