"""SGLang's functions, compiled alone."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
from fibcore.verification.emitted.errors import GroundTruthUnavailableError  # noqa: E402 - needs torch
from fibcore.verification.emitted.sglang_source import SGLangSource  # noqa: E402 - needs torch

SOURCE = """\ufeff
from sglang.nowhere import decorate, THERE
raise RuntimeError("imported")

@decorate
def helper(x: Missing) -> Missing:
    return x + 1

def outer(x):
    return helper(x) * scale

def defaulted(x, size=THERE):
    return x

if THERE:
    def branch(x):
        return 1
else:
    def branch(x):
        return 2

try:
    def tried(x):
        return 3
except ImportError:
    pass

def twice(x):
    return 1

def twice(x):
    return 2

class Layer(decorate.Base):
    size: Missing = THERE

    @decorate
    def forward(self, x: Optional[torch.Tensor] = None, y: Missing = 1):
        total: Missing = x
        return F.relu(total) * math.pi + self.bias
"""


@pytest.fixture
def source(tmp_path: Path) -> SGLangSource:
    package = tmp_path / "sglang"
    (package / "srt" / "layers").mkdir(parents=True)
    (package / "srt" / "layers" / "layer.py").write_text(SOURCE, encoding="utf-8")
    (package / "_version.py").write_text('__version__ = version = "1.2.3"\n')
    return SGLangSource(package)


FILE = "srt/layers/layer.py"


def test_method_alone(source: SGLangSource) -> None:
    forward = source(FILE, "Layer.forward")
    assert forward(SimpleNamespace(bias=1.0), torch.tensor(-1.0)).item() == 1.0
    assert source.version == "1.2.3"
    assert list(source.files) == [FILE]


def test_functions_together_and_namespace(source: SGLangSource) -> None:
    outer, _ = source.several(FILE, "outer", "helper", scale=10)
    assert outer(1) == 20
    helper = source(FILE, "helper")
    assert source(FILE, "outer", helper=helper, scale=2)(1) == 4


def test_definition_that_holds_is_the_last(source: SGLangSource) -> None:
    assert source(FILE, "twice")(0) == 2
    assert source(FILE, "tried")(0) == 3


@pytest.mark.parametrize(
    ("file", "qualname", "said"),
    [
        ("srt/layers/gone.py", "f", "no such file"),
        (FILE, "gone", "0 functions gone"),
        (FILE, "Gone.forward", "0 classes Gone"),
        (FILE, "Layer.gone", "0 functions Layer.gone"),
        (FILE, "branch", "2 functions branch"),
        (FILE, "defaulted", "need 'THERE'"),
    ],
)
def test_missing_function_is_unavailable(
    source: SGLangSource, file: str, qualname: str, said: str
) -> None:
    with pytest.raises(GroundTruthUnavailableError, match=said) as caught:
        source(file, qualname)
    assert "SGLang 1.2.3" in str(caught.value)


def test_has(source: SGLangSource) -> None:
    assert source.has(FILE, "Layer.forward")
    assert not source.has(FILE, "Layer.backward")


def test_digest_of_the_file_is_kept(source: SGLangSource) -> None:
    source(FILE, "helper")
    raw = (source.package / FILE).read_bytes()
    assert source.files == {FILE: hashlib.sha256(raw).hexdigest()}


def test_file_that_is_no_python_is_unavailable(source: SGLangSource) -> None:
    (source.package / "srt" / "broken.py").write_text("def f(:\n")
    with pytest.raises(GroundTruthUnavailableError, match="cannot be parsed"):
        source("srt/broken.py", "f")
