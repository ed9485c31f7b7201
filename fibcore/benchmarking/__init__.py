"""Inputs of flashinfer-bench besides definitions: workloads and baseline solutions."""
