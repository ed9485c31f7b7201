"""Numbers of tokens that kernels over rows are benchmarked with."""

from __future__ import annotations

TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
"""A decode batch of one up to a full prefill chunk."""
