"""Checks of a dataset folder."""
