"""Tests that need not run again: nothing that their result depends on has changed since.

A recorded run holds a key of all that: the definition, the text of the tests, the options, the
Python packages, SGLang's source, and where it ran.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs

from fibcore.errors import DatasetError
from fibcore.model.definition import Definition
from fibcore.verification.add import FOLDER
from fibcore.verification.evidence import evidence_path, read_runs
from fibcore.verification.result import DefinitionResult
from fibcore.verification.slots import LocalRun

KEY = "unchanged_key"
DONE = ("passed", "skipped")
"""Results that stay; what failed or was cut short is tried again."""

PACKAGES = ("torch", "numpy", "pytest", "flashinfer-python", "apache-tvm-ffi", "sglang", "triton")
"""Distributions that tests import, as far as they are installed."""


class UnchangedTests:
    """Tells which definitions of a run were tested as they would be now."""

    def __init__(
        self, work: LocalRun, definitions: Iterable[Definition], sglang: Path | None
    ) -> None:
        """Read what all definitions share.

        Args:
            work: What is to be run on this machine.
            definitions: The definitions of the dataset.
            sglang: The folder of SGLang's source; None where there is none.
        """
        folder = work.dataset / FOLDER
        shared = {
            "options": list(work.options),
            "places": sorted({slot.gpu or "CPU" for slot in work.slots}),
            "gpu driver": _text(Path("/proc/driver/nvidia/version")),
            "machine": [platform.machine(), platform.node(), platform.system()],
            "python": sys.version,
            "packages": {name: _version(name) for name in PACKAGES},
            "sglang": "" if sglang is None else _state_of(sglang),
            "helpers": {
                path.name: _text(path)
                for path in sorted(folder.glob("*.py"))
                if not path.name.startswith("test_")
            },
        }
        texts = {key: _text(work.dataset / path) for key, path in work.modules.items()}
        known = {definition.name: definition for definition in definitions}
        self.keys = {
            name: _digest(
                {
                    **shared,
                    "module": texts.get(name, texts.get(op_type)),
                    "definition": _tested(known[name]),
                }
            )
            for name, op_type in work.definitions.items()
            if name in known  # the others are files that hold no definition
        }
        self.dataset = work.dataset

    def found(self, name: str) -> DefinitionResult | None:
        """The recorded result of a definition whose tests need not run again; None of others."""
        key = self.keys.get(name)
        if key is None:
            return None
        try:
            runs = read_runs(self.dataset / evidence_path(name))
        except DatasetError:  # a run of the tests says what is wrong with the file
            return None
        for run in runs:
            if run.get(KEY) == key and run["result"] in DONE and "tests" in run:
                return DefinitionResult(name, evidence=run, unchanged=True)
        return None

    def marked(self, result: DefinitionResult) -> Mapping[str, Any] | None:
        """The evidence of a definition's tests, with the key of what it holds for."""
        if result.evidence is None or result.name not in self.keys:
            return result.evidence
        return {**result.evidence, KEY: self.keys[result.name]}


def _tested(definition: Definition) -> str:
    """The definition without its tags, which say how its tests ended."""
    return attrs.evolve(definition, tags=()).to_json()


def _state_of(root: Path) -> str:
    """A digest of which Python files a folder has, how large they are and when they changed."""
    entries = []
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".py"):
                path = os.path.join(folder, name)  # noqa: PTH118 - thousands of files
                about = os.stat(path)  # noqa: PTH116
                entries.append((path, about.st_size, about.st_mtime_ns))
    return _digest(entries)


def _digest(data: object) -> str:
    text = json.dumps(data, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
