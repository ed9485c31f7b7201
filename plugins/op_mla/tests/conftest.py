"""Fixtures of the tests of latent attention, and the folder of what they share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from fibcore.plugin import Definition
from fibcore.testing.harness import harness
from fibcore.testing.mutations import with_constants

sys.path.insert(0, str(Path(__file__).parent))  # for mla_kit


def small_definitions() -> list[Definition]:
    """One of each reference, so small that tests take milliseconds, with steps as small."""
    from mla_kit import small_definitions as by_name

    return [
        with_constants(definition, CPU_KEY_CHUNK=64, GPU_KEY_CHUNK=128)
        if "decode" in definition.name
        else with_constants(definition, CPU_BOUNDS=(8, 64, 2**16), GPU_BOUNDS=(16, 128, 2**12))
        for definition in by_name().values()
    ]


@pytest.fixture(params=["0.5.9", "0.5.23"])
def load_sglang(request: pytest.FixtureRequest) -> Any:
    """What gives functions of SGLang's source, of both versions where the core's tests put them."""
    cache = os.environ.get("FIBCORE_TEST_CACHE") or Path.home() / ".cache" / "fibcore-tests"
    package = Path(cache) / f"sglang-{request.param}" / "sglang"
    if not package.is_dir():
        pytest.skip(f"the source of SGLang {request.param} is not in {cache}")
    return harness().SGLangSource(package)
