"""How the statements that are running are taken."""

from __future__ import annotations

import attrs


@attrs.frozen
class Mode:
    """What holds for everything that is called from here, as long as it runs.

    Attributes:
        forward: Whether a forward pass is followed, and not a constructor. What it computes are
            tensors, which are not known, so a statement that raises is lost alone: the error is of
            this evaluation, not of the source.
        guarded: Whether a `try` is around: then an error may be the source's way to find its path,
            and has to reach the handler.
    """

    forward: bool = False
    guarded: bool = False

    @property
    def loses_statements(self) -> bool:
        """Whether a statement that raises is lost alone."""
        return self.forward and not self.guarded


BUILDING = Mode()
FORWARD = Mode(forward=True)
_GUARDED = {
    False: Mode(forward=False, guarded=True),
    True: Mode(forward=True, guarded=True),
}


def guarded(mode: Mode) -> Mode:
    """The mode inside of a `try`."""
    return _GUARDED[mode.forward]


def following(mode: Mode, *, forward: bool) -> Mode:
    """The mode with a forward pass followed or not; what guards it stays."""
    return _GUARDED[forward] if mode.guarded else FORWARD if forward else BUILDING
