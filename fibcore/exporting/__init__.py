"""Writes kernels in the formats of tuners and benchmarks."""
