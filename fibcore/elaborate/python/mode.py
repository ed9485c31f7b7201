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
        caught: Names of the exceptions that handlers around catch. Such an error may be the
            source's way to find its path, and has to reach its handler.
    """

    forward: bool = False
    caught: frozenset[str] = frozenset()

    def loses(self, kinds: frozenset[str]) -> bool:
        """Whether a statement that raises is lost alone.

        Args:
            kinds: The names of the exception's class and of the classes it derives from.
        """
        return self.forward and self.caught.isdisjoint(kinds)


BUILDING = Mode()
FORWARD = Mode(forward=True)


def guarded(mode: Mode, caught: frozenset[str]) -> Mode:
    """The mode inside of a `try` with handlers for these exceptions."""
    return mode if caught <= mode.caught else Mode(mode.forward, mode.caught | caught)


def following(mode: Mode, *, forward: bool) -> Mode:
    """The mode with a forward pass followed or not; what guards it stays."""
    if mode.caught:
        return mode if mode.forward is forward else Mode(forward, mode.caught)
    return FORWARD if forward else BUILDING
