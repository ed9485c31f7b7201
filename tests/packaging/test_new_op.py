"""A new plugin, written by fibcore's wheel; its own beside that one serves a model."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Environment

DATA = Path(__file__).parents[1] / "data"
LAYER_NORM = """

class LayerNorm(nn.Module):
    def __init__(self, hidden_size, eps=1e-6, elementwise_affine=True, bias=True):
        super().__init__()

    def forward(self, x):
        return x
"""


@pytest.fixture
def model(tmp_path: Path) -> tuple[str | Path, ...]:
    """Options that name the made-up model, which has two LayerNorms here, of unlike epsilons."""
    source = Path(shutil.copytree(DATA, tmp_path / "source"))
    with (source / "sglang/srt/layers/layernorm.py").open("a") as file:
        file.write(LAYER_NORM)
    place = source / "sglang/srt/models/tiny.py"
    text = place.read_text()
    for have, wanted in (
        ("import RMSNorm", "import LayerNorm, RMSNorm"),
        (
            "        self.embed_tokens =",
            (
                "        self.last = LayerNorm(config.hidden_size)\n"
                "        self.wide = LayerNorm(config.vocab_size, eps=1e-3)\n{}"
            ),
        ),
        ("        return hidden_states\n", "        return self.wide(self.last(hidden_states))\n"),
    ):
        assert text.count(have) == 1
        text = text.replace(have, wanted.format(have))
    place.write_text(text)
    return ("--model-name", "tiny", "--config", DATA / "tiny_config.json", "--sglang", source)


def test_its_wheel_beside_fibcores_serves_a_model(
    environment: Callable[..., Environment],
    install_wheel: Callable[[Path, Environment], None],
    model: tuple[str | Path, ...],
    tmp_path: Path,
) -> None:
    def ok(done: subprocess.CompletedProcess[str]) -> str:
        assert done.returncode == 0, f"{done.args}\n{done.stdout}{done.stderr}"
        return done.stdout

    fresh = environment("verify")
    ok(fresh.fibcore("new-op", "shifted_norm", cwd=tmp_path))
    install_wheel(tmp_path / "op_shifted_norm", fresh)

    plugins = json.loads(ok(fresh.fibcore("plugins", "--json", cwd=tmp_path)))["plugins"]
    (own,) = (p for p in plugins if p["name"] == "shifted_norm")
    assert (own["status"], own["distribution"]) == ("active", "fibcore-op-shifted-norm")

    ok(fresh.fibcore("extract", *model, "--dataset", "d", cwd=tmp_path))
    ok(fresh.fibcore("add-tests", "--op-type", "shifted_norm", "--dataset", "d", cwd=tmp_path))
    command = ("verify", "--op-type", "shifted_norm", "--dataset", "d", "--json")
    report = json.loads(ok(fresh.fibcore(*command, cwd=tmp_path)))
    assert report["passed"] > 0
    assert report["failed"] == 0
    definitions = list((tmp_path / "d/definitions/shifted_norm").glob("*.json"))
    assert {path.stem for path in definitions} == {"shifted_norm_h64", "shifted_norm_h128"}
    for path in definitions:
        assert "status:verified" in json.loads(path.read_text())["tags"]
