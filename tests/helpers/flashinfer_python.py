"""Interpreters that have FlashInfer: this one, and those that FIBCORE_FLASHINFER names.

The variable separates them as PATH is separated; each needs torch too.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

INTERPRETERS = (
    sys.executable,
    *filter(None, os.environ.get("FIBCORE_FLASHINFER", "").split(os.pathsep)),
)


def run(python: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of ours with one of them."""
    return subprocess.run(  # noqa: S603 - our own programs
        [python, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def usable(python: str, module: str = "flashinfer") -> str:
    """The interpreter, where it can import the module; the test is skipped where not."""
    done = run(python, "-c", f"import {module}")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"{python} cannot import {module}: {last}")
    return python
