"""Certificates: whether workloads tell right implementations from wrong ones, at which tolerance.

`worker` runs implementations and counts the elements that miss each tolerance of a grid, `choosing`
finds the one that separates them, `certificate` keeps what was found, and `run` does all of it.
Nothing is imported here.
"""
