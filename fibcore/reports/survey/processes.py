"""Surveys in processes of their own: what is sent to them, and what their answers are.

They are plain child processes and not `multiprocessing`'s, so that a script without a main guard
can call `fibcore.survey`, and so can a Dask worker, whose daemonic process may have no others.
"""

from __future__ import annotations

import base64
import logging
import pickle
import sys
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.processes.children import Program
from fibcore.processes.endings import Ending, How
from fibcore.processes.limits import Limits
from fibcore.processes.pool import Answer, Pool, Worker
from fibcore.reports.survey.report import Reason, SurveyedModel
from fibcore.reports.survey.task import Task
from fibcore.sources.tree import SourceTree

WORKER = Path(__file__).with_name("worker.py")
_LOG = logging.getLogger("fibcore.survey")


@attrs.frozen
class Setup:
    """What a process needs to know before its first task.

    Attributes:
        source: The SGLang source.
        disable_plugin: Plugins to leave out.
        logged: Whether somebody reads what is logged there, such as where a hook failed.
    """

    source: SourceTree
    disable_plugin: tuple[str, ...] = ()
    logged: bool = attrs.field(factory=lambda: _LOG.isEnabledFor(logging.DEBUG))


def make_worker(setup: Setup, limits: Limits) -> Worker:
    """A worker that looks at models with the modules and plugins of this process."""
    return Worker(
        Program(WORKER), limits, {"path": [str(p) for p in sys.path], "setup": _pickled(setup)}
    )


def examine_on(worker: Worker, task: Task, stop: threading.Event | None = None) -> SurveyedModel:
    """The row of a task; a process that ends before it has one gives a failed row.

    Args:
        worker: Of `make_worker`.
        task: The model.
        stop: Ends the process where it is set.
    """
    return _row(task, worker.call(_pickled(task), stop))


def examine_all(
    tasks: Mapping[int, Task], setup: Setup, jobs: int, limits: Limits
) -> Generator[tuple[int, SurveyedModel], None, None]:
    """Number and row of every task, as they come; closing the iterator ends the processes.

    Args:
        tasks: The models by number.
        setup: What every process is sent first.
        jobs: How many processes.
        limits: What each task may use.
    """
    jobs = min(jobs, max(len(tasks), 1))
    with Pool(lambda: make_worker(setup, limits), jobs) as pool:
        for number, answer in pool.map({n: _pickled(task) for n, task in tasks.items()}):
            yield number, _row(tasks[number], answer)


def _pickled(value: Any) -> str:
    return base64.b64encode(pickle.dumps(value)).decode()


def _row(task: Task, answer: Answer | Ending) -> SurveyedModel:
    if not isinstance(answer, Ending):
        for text in answer["log"]:
            _LOG.debug("%s", text)
        row: SurveyedModel = pickle.loads(base64.b64decode(answer["row"]))  # noqa: S301 - our own process
        return row
    if answer.how is How.TIMEOUT:
        return task.surveyed(
            "failed",
            reasons=(Reason("timeout", "", answer.sentence),),
            seconds=answer.seconds or 0.0,
        )
    line = answer.last_line if answer.how is How.DIED else None
    text = answer.sentence + (f": {line}" if line else "")
    return task.surveyed("failed", reasons=(Reason("process", "", text),))
