"""The process that looks at models, one after the other; `processes.py` starts it.

It reads a `Setup` and then tasks from standard input, and answers each task with its row, both
pickled. When its input ends it ends too, whatever it is doing: whoever started it is gone.
"""

from __future__ import annotations

import gc
import os
import pickle
import queue
import sys
import threading
from typing import BinaryIO

import attrs

from fibcore.reports.survey.plan import Task
from fibcore.sources.tree import SourceTree


@attrs.frozen
class Setup:
    """What a process needs to know before its first task.

    Attributes:
        source: The SGLang source.
        disable_plugin: Plugins to leave out.
    """

    source: SourceTree
    disable_plugin: tuple[str, ...] = ()


def main() -> None:
    """Answer tasks until the input ends."""
    from fibcore.ops.registry import load_plugins
    from fibcore.reports.survey.examine import examine

    gc.set_threshold(100_000, 50, 100)
    # What a plugin prints must not stand between answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    setup: Setup = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this
    registry = load_plugins(disable=setup.disable_plugin)
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, tasks), daemon=True).start()
    while True:
        row = examine(tasks.get(), setup.source, registry)
        pickle.dump(row, answers)
        answers.flush()


def _read(stream: BinaryIO, tasks: queue.SimpleQueue[Task]) -> None:
    try:
        while True:
            tasks.put(pickle.load(stream))  # noqa: S301 - likewise
    except (EOFError, OSError, pickle.UnpicklingError):
        os._exit(0)
