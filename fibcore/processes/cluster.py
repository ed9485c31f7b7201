"""Work on a Dask cluster: connecting to it, one task for each of many things, ending them.

`distributed` (the extra `dask`) is imported when a cluster is asked for and not before. What runs
on a worker is a function of fibcore, so fibcore has to be installed there, in this version; tasks
carry all the data that they need, since workers may not share a file system with the caller.

`run_on_cluster` is what the rooms use. A task's function gets an event besides its item. Dask
cannot end what runs on a worker; so the event is set where the caller stops or is interrupted, and
the function ends the processes that it has started.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from fibcore.errors import FibcoreError
from fibcore.processes.connection import (
    ClusterError,
    connect,
    described,
    scheduler_address,
    timeout_error,
)
from fibcore.progress import Progress, report

if TYPE_CHECKING:
    from distributed import Client, Future

LOST_S = 300.0
"""Seconds to wait for new workers where all are gone; they may be starting again."""

POLL_S = 0.02
ASK_S = 5.0
"""Seconds without a result after which the scheduler is asked whether it has workers."""

T = TypeVar("T")
R = TypeVar("R")


class WorkerDiedError(ClusterError):
    """The worker that ran a task is gone, however often it was tried."""


@attrs.frozen
class TaskResult(Generic[R]):
    """What came of one task.

    Attributes:
        name: The task's name, as it was given.
        value: What the function returned; None where it did not.
        error: Why there is no value: what the function raised, or what became of the worker.
    """

    name: str
    value: R | None = None
    error: FibcoreError | None = None


def run_on_cluster(
    address: str,
    function: Callable[[T, threading.Event], R],
    items: Mapping[str, T],
    *,
    check: Callable[[Client], None] | None = None,
    at_end: Callable[[], object] | None = None,
    step: str = "working on the cluster",
    progress: Progress | None = None,
) -> Generator[TaskResult[R], None, None]:
    """Run `function(item, stop)` on the workers of a cluster for every item; results as they come.

    Closing the generator ends the work: what has not begun is cancelled, and `stop` is set for what
    runs.

    Args:
        address: Of the scheduler, see `connect`.
        function: A top-level function of an installed module, for workers import it by name.
        items: Name to argument; both have to be picklable.
        check: Called with the client before the first task; may raise.
        at_end: A top-level function that is called on every worker when all is over.
        step: What `progress` calls the work.
        progress: Called with the number of tasks that are done.

    Yields:
        As `map_tasks`.

    Raises:
        UsageError: the address is none.
        ClusterError: the cluster cannot be used, or was lost.
    """
    call = _Call(uuid.uuid4().hex, function)
    with connect(address) as client:
        if check is not None:
            check(client)
        try:
            with closing(map_tasks(client, call, items, step=step, progress=progress)) as results:
                yield from results
        except BaseException:
            _on_workers(client, stop_tasks, call.id)
            raise
        finally:
            if at_end is not None:
                _on_workers(client, at_end)


_running: dict[str, list[threading.Event]] = {}
_lock = threading.Lock()


@attrs.frozen
class _Call(Generic[T, R]):
    """A function that `stop_tasks` can reach where it runs."""

    id: str
    function: Callable[[T, threading.Event], R]

    def __call__(self, item: T) -> R:
        stop = threading.Event()
        with _lock:
            _running.setdefault(self.id, []).append(stop)
        try:
            return self.function(item, stop)
        finally:
            with _lock:
                _running[self.id].remove(stop)
                if not _running[self.id]:
                    del _running[self.id]


def stop_tasks(call: str) -> int:
    """End what runs here of a call of `run_on_cluster`; how many tasks that were."""
    with _lock:
        events = list(_running.get(call, ()))
    for event in events:
        event.set()
    return len(events)


def worker_address() -> str | None:
    """The address of the Dask worker that this is called on; None elsewhere."""
    from distributed import get_worker

    try:
        return str(get_worker().address)
    except ValueError:
        return None


def _on_workers(client: Client, function: Callable[..., object], *arguments: object) -> None:
    """Call a function on all workers that still answer."""
    if client.status == "running":
        with suppress(OSError, timeout_error()):
            client.run(function, *arguments, on_error="ignore")


def map_tasks(
    client: Client,
    function: Callable[[T], R],
    items: Mapping[str, T],
    *,
    step: str = "working on the cluster",
    progress: Progress | None = None,
) -> Generator[TaskResult[R], None, None]:
    """Run `function(item)` on the cluster's workers for every item; results as they come.

    A task that raises gives a result with an error, and so does one whose worker dies (after the
    retries that the scheduler is configured for, `distributed.scheduler.allowed-failures`); the
    others go on. Where several tasks lost their workers, all but one may only have waited there:
    each of them is run once more, one after the other, before it is given up. Whoever stops
    iterating, or is interrupted, cancels what has not begun.

    Args:
        client: Of `connect`.
        function: A top-level function of an installed module, for workers import it by name.
        items: Name to argument; both have to be picklable.
        step: What `progress` calls the work.
        progress: Called with the number of tasks that are done.

    Yields:
        One result for each item, in the order in which they end.

    Raises:
        ClusterError: the connection to the scheduler was lost, or there are no workers any more;
            what is missing did not run, or its result is lost.
    """
    report(progress, step, 0, len(items))
    done = 0
    died = []
    for result in _submitted(client, function, items):
        if isinstance(result.error, WorkerDiedError):
            died.append(result)
            continue
        done += 1
        yield result
        report(progress, step, done, len(items))
    for result in died:
        last = result
        if len(died) > 1:
            (last,) = _submitted(client, function, {result.name: items[result.name]})
        done += 1
        yield last
        report(progress, step, done, len(items))


def _submitted(
    client: Client, function: Callable[[T], R], items: Mapping[str, T]
) -> Iterator[TaskResult[R]]:
    from distributed import as_completed

    names: dict[object, str] = {}
    futures: list[Future] = []
    try:
        for name, item in items.items():
            # One attempt for each name: the same call again is to run again.
            future = client.submit(function, item, pure=False)
            names[future.key] = name
            futures.append(future)
        ended = as_completed(futures, loop=client.loop)
        asked = time.monotonic()
        alone_since: float | None = None
        while ended.count():
            if ended.has_ready():
                future = next(ended)
                result: TaskResult[R] = _result(names[future.key], future, client)
                future.release()  # the worker need not keep what was fetched
                yield result
            elif time.monotonic() - asked < ASK_S:
                time.sleep(POLL_S)
            else:
                # Without workers the scheduler waits for new ones, for ever.
                asked = time.monotonic()
                alone_since = None if client.nthreads() else alone_since or asked
                if alone_since is not None and asked - alone_since >= LOST_S:
                    raise ClusterError(
                        "the Dask cluster has no workers any more",
                        where=scheduler_address(client),
                        found=f"{ended.count()} tasks are left",
                        hint="workers that die start again if they have a nanny, as they do by "
                        "default",
                    )
    finally:
        left = [future for future in futures if not future.done()]
        if left and client.status == "running":
            with suppress(OSError, timeout_error()):
                client.cancel(left, force=True)


def _result(name: str, future: Future, client: Client) -> TaskResult[R]:
    from distributed import KilledWorker

    if future.cancelled() or future.status == "lost":
        raise ClusterError(
            "the connection to the Dask scheduler was lost, or somebody cancelled the tasks",
            where=scheduler_address(client),
            found=f"{name}: {future.status}",
        )
    error = future.exception()
    if error is None:
        return TaskResult(name, value=future.result())
    if isinstance(error, KilledWorker):
        died = WorkerDiedError(
            "the Dask worker that ran it died",
            where=name,
            found=f"{error.allowed_failures + 1} workers died with it, the last one at "
            f"{error.last_worker.address}",
            hint="the worker's log says more; it may have run out of memory",
        )
        return TaskResult(name, error=died)
    if isinstance(error, FibcoreError):
        return TaskResult(name, error=error)
    failed = ClusterError("the task failed on its Dask worker", where=name, found=described(error))
    return TaskResult(name, error=failed)
