"""The process that looks at models, one after the other; `processes/child_side.py` runs this file.

Its first message has the import path and the `Setup`, every task is a `Task`, and the answer is its
`SurveyedModel`; all of them pickled, since both ends are fibcore. With the answer goes what was
logged meanwhile, as text: a traceback does not leave its process otherwise.
"""

from __future__ import annotations

import base64
import gc
import logging
import pickle
import sys
from typing import Any


def main(channel: Any) -> None:
    """Answer tasks until there are no more."""
    messages = iter(channel)
    first = next(messages, None)
    if first is None:
        return
    sys.path[:] = first["path"]
    from fibcore.ops.registry import load_plugins
    from fibcore.reports.survey.examine import examine

    gc.set_threshold(100_000, 50, 100)
    setup = _unpickled(first["setup"])
    registry = load_plugins(disable=setup.disable_plugin)
    log = _log() if setup.logged else []
    channel.send("ready")
    for message in messages:
        row = examine(_unpickled(message), setup.source, registry)
        channel.send("end", row=base64.b64encode(pickle.dumps(row)).decode(), log=log)
        log.clear()


def _log() -> list[str]:
    """Where everything that fibcore logs from now on is written down."""
    texts: list[str] = []
    handler, logger = logging.Handler(), logging.getLogger("fibcore")
    handler.emit = lambda record: texts.append(handler.format(record))  # type: ignore[method-assign]
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    logger.propagate = False
    return texts


def _unpickled(text: str) -> Any:
    return pickle.loads(base64.b64decode(text))  # noqa: S301 - from the process that started this
