"""Workloads: the sizes that definitions are benchmarked with, as flashinfer-bench reads them.

`add` writes them, `checking` validates those of a dataset. Plugins draw lengths and tables from
`draws` and `sequences`. Nothing is imported here, so that naming a size needs no NumPy.
"""
