"""The options of the reference tests."""

from __future__ import annotations

import argparse
import contextlib
import math
from pathlib import Path
from typing import Any

import pytest

from fibcore.verification.emitted.sglang_package import sglang_package

OPTIONS: dict[str, dict[str, Any]] = {
    "--device": {
        "choices": ("auto", "cpu", "cuda"),
        "default": "auto",
        "help": "where references run; auto is CUDA where there is a GPU",
    },
    "--tolerance": {
        "type": float,
        "metavar": "X",
        "help": "rtol and atol in place of the defaults",
    },
    "--sglang": {
        "metavar": "PATH",
        "help": "SGLang's source: the repository, the folder that holds the package, or the "
        "package",
    },
    "--definition": {
        "action": "append",
        "metavar": "NAME",
        "help": "test this definition alone (can be repeated)",
    },
    "--evidence": {
        "metavar": "DIR",
        "help": "record what was run in DIR/<definition>.json; evidence that is there is added to",
    },
}


def add_options(parser: pytest.Parser) -> None:
    """Add the options, except those that another conftest or plugin has already."""
    group = parser.getgroup("reference tests")
    others = _names_of_others(parser)
    for name, settings in OPTIONS.items():
        if name in others:
            continue
        # A second dataset's conftest has added the option to this group, or a plugin to another.
        with contextlib.suppress(ValueError, argparse.ArgumentError):
            group.addoption(name, dest="reference_tests_" + name.strip("-"), **settings)


def _names_of_others(parser: pytest.Parser) -> set[str]:
    """Names of the options that other plugins have added, where pytest lets us see them."""
    groups = [*getattr(parser, "_groups", ()), getattr(parser, "_anonymous", None)]
    return {n for g in groups for o in getattr(g, "options", ()) for n in o.names()}


def option(config: pytest.Config, name: str, default: Any = None) -> Any:
    """The value of an option; `default` where it was not given or does not exist.

    A conftest below the folder that pytest was called in is loaded too late to add options.
    """
    value = config.getoption(name, default)
    return default if value is None else value


def check_options(config: pytest.Config) -> None:
    """Check the values that argparse cannot check.

    Raises:
        pytest.UsageError: --sglang holds no source, or --tolerance is no number of at least 0.
    """
    sglang = option(config, "--sglang")
    if sglang is not None and sglang_package(Path(sglang)) is None:
        raise pytest.UsageError(f"--sglang {sglang}: no SGLang source there (no sglang/srt)")
    tolerance = option(config, "--tolerance")
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0):
        raise pytest.UsageError(f"--tolerance {tolerance}: expected a number of at least 0")
