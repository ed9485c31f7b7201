"""Baseline solutions: ground truths as files that flashinfer-bench builds and evaluates."""

from __future__ import annotations

from fibcore.benchmarking.solutions.add import add_solutions
from fibcore.benchmarking.solutions.report import AddSolutionsReport

__all__ = ["AddSolutionsReport", "add_solutions"]
