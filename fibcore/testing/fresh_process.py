"""A plugin in processes of its own: does the order of a set decide, what does it import?"""

from __future__ import annotations

import inspect
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree

Tree = tuple[ModelTree, Serving]

_PROCESS = """
import importlib, importlib.util, json, pickle, sys
job = pickle.load(sys.stdin.buffer)
sys.path[:] = job["path"]
if "pickle" in job["plugin"]:
    plugin = pickle.loads(job["plugin"]["pickle"])
else:
    name, file = job["plugin"]["name"], job["plugin"]["file"]
    try:
        plugin = importlib.import_module(name)
    except ModuleNotFoundError:
        spec = importlib.util.spec_from_file_location(name, file)
        plugin = importlib.util.module_from_spec(spec)
        sys.modules[name] = plugin
        spec.loader.exec_module(plugin)
from fibcore.ops.registry import load_plugins
registry = load_plugins(extra={"plugin": plugin}, discover=False)
extractions, definitions = [], {}
for tree, serving in pickle.loads(job["trees"]):
    found, errors = registry.extract(tree, serving)
    for error in errors:
        raise error
    extraction = found[0][1]
    extractions.append([
        [repr(kernel) for kernel in extraction.kernels],
        sorted(extraction.claimed),
        [repr(item) for item in (*extraction.not_covered, *extraction.problems)],
    ])
    for kernel in extraction.kernels:
        definitions[kernel.name] = registry.reference(kernel).to_json()
heavy = [name for name in job["heavy"] if name in sys.modules]
print(json.dumps({"extractions": extractions, "definitions": definitions, "heavy": heavy}))
"""

HEAVY = ("torch", "transformers", "numpy", "flashinfer", "sglang", "huggingface_hub", "triton")


def in_process(
    plugin: object, trees: Sequence[Tree], hash_seed: str, timeout_s: float
) -> dict[str, Any]:
    """What a plugin extracts and writes in a process of its own, and what that imported.

    Args:
        plugin: The plugin.
        trees: What to try it on.
        hash_seed: The process's PYTHONHASHSEED.
        timeout_s: Seconds that it may take.
    """
    reference: dict[str, Any]
    if isinstance(plugin, ModuleType):
        reference = {"name": plugin.__name__, "file": inspect.getfile(plugin)}
    else:
        reference = {"pickle": pickle.dumps(plugin)}
    job = {
        "path": [str(Path(p).resolve()) for p in sys.path],
        "plugin": reference,
        "trees": pickle.dumps(list(trees)),
        "heavy": HEAVY,
    }
    done = subprocess.run(  # noqa: S603  # this Python, our own script, the user's plugin
        [sys.executable, "-c", _PROCESS],
        input=pickle.dumps(job),
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, "in a process of its own:\n" + done.stderr.decode()[-2000:]
    reply: dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
    return reply
