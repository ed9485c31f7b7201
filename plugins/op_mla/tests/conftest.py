"""Fixtures of the tests of latent attention, and the folder of what they share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from fibcore.testing.harness import harness

sys.path.insert(0, str(Path(__file__).parent))  # for mla_kit


@pytest.fixture(params=["0.5.9", "0.5.23"])
def load_sglang(request: pytest.FixtureRequest) -> Any:
    """What gives functions of SGLang's source, of both versions where the core's tests put them."""
    cache = os.environ.get("FIBCORE_TEST_CACHE") or Path.home() / ".cache" / "fibcore-tests"
    package = Path(cache) / f"sglang-{request.param}" / "sglang"
    if not package.is_dir():
        pytest.skip(f"the source of SGLang {request.param} is not in {cache}")
    return harness().SGLangSource(package)
