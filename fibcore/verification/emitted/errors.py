"""What keeps a test from being run as it is meant to be."""

from __future__ import annotations


class BrokenDefinitionError(Exception):
    """A definition's file is not what it should be: the path, the place, what is wrong."""


class GroundTruthUnavailableError(LookupError):
    """This ground truth cannot run here; the message is the reason."""
