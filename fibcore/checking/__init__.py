"""Holds tables of others, shapes and architectures, against what is derived from the source."""
