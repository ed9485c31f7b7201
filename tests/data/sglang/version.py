"""Stands for the version that its table of facts is taken from."""

__version__ = "0.5.9"
