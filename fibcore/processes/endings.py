"""How worker processes end: one vocabulary for all work in other processes."""

from __future__ import annotations

import enum
import signal

import attrs

from fibcore.processes.sizes import GIB


class How(enum.Enum):
    """What ended a process before its work was done."""

    DIED = "died"
    """It ended by itself, or something outside of fibcore killed it."""

    TIMEOUT = "timeout"
    """It was killed, for a task took longer than allowed."""

    MEMORY = "memory"
    """It was killed, for it occupied more memory than allowed."""

    FAULT = "fault"
    """It said that it cannot go on (a lost GPU, a missing package) and ended by itself."""

    STOPPED = "stopped"
    """It was killed, for its work is not wanted any more."""


@attrs.frozen
class Ending:
    """How a process ended before its work was done.

    Attributes:
        how: The kind of end.
        reason: A predicate of "the process": "ended with signal 11 (SIGSEGV)".
        output: The beginning and the end of what it wrote during its last task.
        signal_number: The number of the signal that it died of; None where it did not die of one.
        seconds: The time limit that it passed; None where it passed none.
    """

    how: How
    reason: str
    output: str = ""
    signal_number: int | None = None
    seconds: float | None = None

    @property
    def killed_from_outside(self) -> bool:
        """Whether something else than fibcore killed it, as the system does without memory."""
        return self.how is How.DIED and self.signal_number == signal.SIGKILL

    @property
    def sentence(self) -> str:
        """The end as a sentence about one task."""
        if self.how is How.TIMEOUT and self.seconds is not None:
            return f"it took longer than {self.seconds:g} s and was ended"
        return "it was ended" if self.how is How.STOPPED else f"the process {self.reason}"

    @property
    def last_line(self) -> str | None:
        """The last line that the process wrote and that is not blank."""
        lines = (line.strip() for line in reversed(self.output.splitlines()))
        return next((line for line in lines if line), None)


def died(code: int, output: str) -> Ending:
    """The end of a process with this status, as `subprocess` gives it: negative for a signal."""
    number = -code if code < 0 else None
    return Ending(How.DIED, f"ended with {status_in_words(code)}", output, signal_number=number)


def timed_out(seconds: float, output: str) -> Ending:
    """The end of a process whose task took longer than `seconds`."""
    return Ending(How.TIMEOUT, f"timed out after {seconds:g} s", output, seconds=seconds)


def over_memory(used: int, limit: int, output: str) -> Ending:
    """The end of a process that occupied `used` bytes."""
    reason = f"used {used / GIB:.1f} GiB of memory, over the limit of {limit / GIB:.1f} GiB"
    return Ending(How.MEMORY, reason, output)


def status_in_words(code: int) -> str:
    """An exit status in words: "exit status 3", "signal 11 (SIGSEGV)"."""
    if code >= 0:
        return f"exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        return f"signal {-code}"
    memory = ", as when memory runs out" if name == "SIGKILL" else ""
    return f"signal {-code} ({name}{memory})"
