"""`pip install fibcore[ops]` from a folder of wheels: pip itself resolves what they ask for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Built, Environment

DATA = Path(__file__).parents[1] / "data"


def install(environment: Environment, index: Path, *what: str) -> str:
    """What pip prints as it installs from a folder alone."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    command += ["--python", str(environment.python), "install"]
    command += ["--no-index", "--find-links", str(index), *what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_line_installs_fibcore_and_every_plugin(
    built: Built, bare: Environment, op_plugin_names: tuple[str, ...], tmp_path: Path
) -> None:
    install(bare, built.wheels[0].parent, "fibcore[ops]")
    done = bare.fibcore("plugins", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    plugins = {p["name"]: p["status"] for p in json.loads(done.stdout)["plugins"]}
    assert plugins == dict.fromkeys(op_plugin_names, "active")
    model = ("--model-name", "tiny", "--config", DATA / "tiny_config.json", "--sglang", DATA)
    done = bare.fibcore("extract", *model, "--dataset", "d", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "d/definitions").rglob("*.json"))


def test_without_plugins_an_extraction_says_what_to_install(
    built: Built, bare: Environment, tmp_path: Path
) -> None:
    install(bare, built.wheels[0].parent, "fibcore")
    model = ("--model-name", "tiny", "--config", DATA / "tiny_config.json", "--sglang", DATA)
    done = bare.fibcore("extract", *model, "--dataset", "d", cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "fibcore[ops]" in done.stderr
