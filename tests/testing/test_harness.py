"""The emitted conftest.py as a module, for tests of plugins."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from fibcore.testing.harness import harness


def test_it_is_loaded_once_and_works() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    module = harness()
    assert harness() is module
    one = torch.tensor([1.0])
    assert module.compare_tensors(one, one, 0.0, 0.0, 1.0).inside
    assert module.SGLangSource.__module__ == module.__name__
    # Tracebacks and pytest show its lines, though there is no such file.
    assert inspect.getsource(module.find_sglang).startswith("def find_sglang(")


def test_importing_it_needs_neither_torch_nor_pytest() -> None:
    code = "import fibcore.testing.harness, sys; print({'torch', 'pytest'} & set(sys.modules))"
    done = subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
