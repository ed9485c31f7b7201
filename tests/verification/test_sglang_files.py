"""What of SGLang's source goes along with tests that run elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from fibcore.verification.sglang_files import files_named_in

MODULE = """
FILE = "srt/layers/a.py"
OTHERS = ["srt/layers/missing.py", "../../secret.py", "srt/layers", "srt/linked.py", "not a path"]
def truth(load_sglang):
    return load_sglang("srt/layers/b.py", "f")
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "repos" / "sglang" / "python" / "sglang"
    (folder / "srt" / "layers").mkdir(parents=True)
    for name in ("a", "b", "c"):
        (folder / "srt" / "layers" / f"{name}.py").write_text(f"# {name}\n")
    (tmp_path / "repos" / "sglang" / "secret.py").write_text("secret = 1\n")
    (folder / "srt" / "linked.py").symlink_to(tmp_path / "repos" / "sglang" / "secret.py")
    return folder


def test_named_files_go_along_and_no_others(package: Path) -> None:
    (package / "version.py").write_text("__version__ = '1'\n")
    assert files_named_in(MODULE, package) == {
        "sglang/srt/__init__.py": b"",
        "sglang/srt/layers/a.py": b"# a\n",
        "sglang/srt/layers/b.py": b"# b\n",
        "sglang/version.py": b"__version__ = '1'\n",
    }
    assert "sglang/version.py" in files_named_in("this is no Python", package)


def test_version_goes_along(package: Path) -> None:
    git = package.parent.parent / ".git"
    (git / "refs").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/main\n")
    (git / "refs" / "main").write_text("0123456789abcdef\n")
    assert files_named_in("", package)[".git/HEAD"] == b"0123456789abcdef\n"
    (package.parent / "sglang-0.7.dist-info").mkdir()
    assert "sglang-0.7.dist-info/METADATA" in files_named_in("", package)
