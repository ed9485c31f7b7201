"""What runs generated reference tests, as a module: for tests of ground truths and tolerances."""

from __future__ import annotations

import functools
import linecache
import sys
from pathlib import Path
from types import ModuleType

from fibcore.verification import emitted

NAME = "fibcore_reference_tests_conftest"


@functools.cache
def harness() -> ModuleType:
    """The `conftest.py` that datasets get, loaded as a module; needs torch and pytest.

    Its functions are those of the modules in `fibcore.verification.emitted`; the ones that tests
    of plugins use are `find_sglang`, `SGLangSource`, `compare_tensors`, `tolerance_of` and
    `with_rounding`.
    """
    text = emitted.conftest_text()
    # The dataset that it believes to be in is the folder above `verification`, which is none.
    path = str(Path(emitted.__file__).with_name("conftest.py"))
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    module = ModuleType(NAME)
    module.__file__ = path
    sys.modules[NAME] = module  # dataclasses look their module up
    exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102  (our own)
    return module
