"""Says that a command is at work, where nothing has been said for some seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

SECONDS = 4.5
"""Nothing is silent for longer than 5 seconds, the time to notice it included."""


class Heartbeat:
    """Calls a function whenever nothing has been heard for some seconds.

    Use as a context manager. The work itself need not know: a thread keeps the time, and programs
    that are waited for (pip, git, pytest) hold nothing up.

    Args:
        say: Called with the seconds since the work began, in the thread.
        seconds: The longest silence.
    """

    def __init__(self, say: Callable[[float], None], seconds: float = SECONDS) -> None:
        self._say = say
        self._seconds = seconds
        self._begun = self._heard = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_time, name="heartbeat", daemon=True)

    def heard(self) -> None:
        """Something was said."""
        self._heard = time.monotonic()

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _keep_time(self) -> None:
        while not self._over.wait(max(self._heard + self._seconds - time.monotonic(), 0.01)):
            now = time.monotonic()
            if now - self._heard >= self._seconds:
                self._heard = now
                self._say(now - self._begun)
