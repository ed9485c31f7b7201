"""A worker process's side of the protocol; `children.py` is the other side.

This file is run as a script, with the file of a worker and the worker's arguments:

    python child_side.py WORKER.py [ARGUMENT...]

It imports nothing but the standard library, for workers run other people's code and must not have
fibcore within reach. The worker's `main(channel)` is called, and its result is the exit status.

Standard input brings the tasks, one JSON value a line; its end says that there are no more.
Answers are JSON objects with a key `event`, appended one a line to the file that FIBCORE_EVENTS
names. `ready`, `end` and `fault` belong to the protocol, all others to the worker:

    {"event": "ready"}                      it is set up; the clock of the first task starts
    {"event": "end", …}                     it is done with a task; what comes with it is the answer
    {"event": "fault", "reason": SENTENCE}  it cannot go on and is going to end

What the process prints is no answer but goes to a log, which holds the present task alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FAULT = 70
"""Exit status of a worker that cannot go on."""


class Channel:
    """What a worker hears and says.

    A parent that is gone while a task runs will not come back for its answer: the process ends,
    with all that it started.

    Args:
        events: The file of the answers.
        arguments: The worker's own arguments.
    """

    def __init__(self, events: Path, arguments: Sequence[str] = ()) -> None:
        self.events = events
        self.arguments = list(arguments)
        # The code that runs here gets an empty standard input: it must neither read the tasks nor
        # close them, and what it starts must not hold them open.
        self._stream = os.fdopen(os.dup(0), encoding="utf-8")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self._tasks: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._busy = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._stream:
            self._tasks.put(line)
        if self._busy:
            if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
                os.killpg(os.getpid(), signal.SIGKILL)
            os._exit(FAULT)
        self._tasks.put(None)

    def __iter__(self) -> Iterator[Any]:
        """The tasks, as they come; the process counts as busy until the next one is asked for."""
        while True:
            self._busy = False
            line = self._tasks.get()
            if line is None:
                return
            self._busy = True
            empty_log()
            yield json.loads(line)

    def send(self, event: str, **data: Any) -> None:
        """Append an event."""
        with self.events.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **data}) + "\n")


def empty_log() -> None:
    """Empty the log (standard output and error), so that it is about the next task alone."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with contextlib.suppress(OSError):  # a terminal or a pipe, when someone tries a worker by hand
        os.ftruncate(1, 0)


def load(path: Path) -> Any:
    """The module in a worker's file, under a name that no other module has."""
    spec = importlib.util.spec_from_file_location(f"_worker_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> int:
    """Run the worker that the command line names; its exit status."""
    here = Path(__file__).resolve().parent
    # A script's folder comes first; names of its modules must not hide those of others.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    with contextlib.suppress(OSError):
        # If memory runs out, the system ends this process and not the one that watches it.
        Path("/proc/self/oom_score_adj").write_text("500")
    _, worker, *arguments = sys.argv
    channel = Channel(Path(os.environ["FIBCORE_EVENTS"]), arguments)
    return int(load(Path(worker)).main(channel) or 0)


if __name__ == "__main__":
    sys.exit(main())
