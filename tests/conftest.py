"""Fixtures of the core's tests: real SGLang sources, and a small one that was made up.

`python tests/conftest.py [VERSION]...` downloads the real sources and prints their folders; the
tests of the plugins find them there, or by the environment variable FIBCORE_SGLANG.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from fibcore.configs.model_config import ModelConfig
from fibcore.elaborate import elaborate
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree
from fibcore.ops.registry import Registry, load_plugins
from fibcore.sources.tree import Package, SourceTree

if TYPE_CHECKING:
    from browser import Browser
    from dask_cluster import Cluster

# Collections are time of the process, of which an elaboration may have so much and no more; with
# the usual limits they go through what all tests before have left.
gc.set_threshold(100_000, 50, 100)

SGLANG_VERSIONS = ("0.5.9", "0.5.23")

_CACHE = Path(os.environ.get("FIBCORE_TEST_CACHE") or Path.home() / ".cache" / "fibcore-tests")


class NoSourceError(Exception):
    """Why SGLang's source cannot be had."""


def sglang_folder(version: str) -> Path:
    """The folder that holds the `sglang` package of `version`; downloaded once per machine.

    Raises:
        NoSourceError: there is no network, or no place to keep it.
    """
    from filelock import FileLock

    folder = _CACHE / f"sglang-{version}"
    if (folder / "sglang").is_dir():
        return folder
    try:
        _CACHE.mkdir(parents=True, exist_ok=True)
        with FileLock(str(_CACHE / f"{version}.lock")):
            if not (folder / "sglang").is_dir():  # another process may have been here
                _download(version, folder)
    except OSError as error:
        raise NoSourceError(f"no place for downloads ({error}); set FIBCORE_TEST_CACHE") from error
    return folder


def _download(version: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=_CACHE) as scratch:
        # The source text is wanted, whatever interpreter the wheel is built for.
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.11"),
            *("--abi", "cp311", "--abi", "none", "--platform", "manylinux_2_34_x86_64"),
            *("--platform", "any", "--dest", scratch, f"sglang=={version}"),
        ]
        result = subprocess.run(  # noqa: S603 - our own command line
            command, capture_output=True, text=True, timeout=600, check=False
        )
        found = list(Path(scratch).glob("*.whl"))
        if result.returncode or not found:
            last = (result.stderr.strip().splitlines() or ["no wheel"])[-1]
            raise NoSourceError(f"SGLang {version} cannot be downloaded: {last}")
        partial = Path(scratch, "unpacked")
        with zipfile.ZipFile(found[0]) as wheel:
            wanted = [n for n in wheel.namelist() if n.startswith("sglang") and _is_text(n)]
            wheel.extractall(partial, wanted)
        partial.rename(folder)


def _is_text(name: str) -> bool:
    return name.endswith(".py") or ".dist-info/" in name


def _or_skip(version: str) -> Path:
    try:
        return sglang_folder(version)
    except NoSourceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session", autouse=True)
def _interrupts_arrive() -> None:
    """Let SIGINT end the processes that tests start and interrupt.

    A shell without job control starts what runs in the background with SIGINT ignored, and every
    process inherits that from the one that started it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def sglang() -> Callable[[str], Path]:
    """A function from a version of SGLang to the folder with its source; skips without network."""
    return _or_skip


@pytest.fixture(scope="session", params=SGLANG_VERSIONS)
def sglang_source(request: pytest.FixtureRequest) -> Path:
    """The folder with SGLang's real source, for each version that the tests know."""
    return _or_skip(request.param)


DATA = Path(__file__).with_name("data")


@pytest.fixture
def tiny_source(tmp_path: Path) -> Path:
    """A folder with a made-up SGLang that holds one small model, `tiny`; a test may change it."""
    folder = tmp_path / "tiny-source"
    shutil.copytree(DATA / "sglang", folder / "sglang")
    return folder


@pytest.fixture
def tiny_config(tmp_path: Path) -> Path:
    """The config.json of the model `tiny`; a test may change it."""
    path = tmp_path / "tiny-config.json"
    shutil.copy(DATA / "tiny_config.json", path)
    return path


_PROJECTS = (Path(__file__).parents[1] / "plugins").glob("op_*/pyproject.toml")
OP_PLUGINS = tuple(sorted(path.parent.name.removeprefix("op_") for path in _PROJECTS))


@pytest.fixture(scope="session")
def op_plugin_names() -> tuple[str, ...]:
    """The names of the project's own plugins."""
    return OP_PLUGINS


@pytest.fixture(scope="session")
def op_plugins() -> Registry:
    """The project's own plugins, installed or not; others that are installed stay out."""
    modules = {name: importlib.import_module(f"fibcore_op_{name}") for name in OP_PLUGINS}
    return load_plugins(extra=modules, discover=False)


@pytest.fixture(scope="session")
def plugins_but_embedding() -> Registry:
    """The project's plugins without that of embeddings: the made-up models run an op of none."""
    names = (name for name in OP_PLUGINS if name != "embedding")
    modules = {name: importlib.import_module(f"fibcore_op_{name}") for name in names}
    return load_plugins(extra=modules, discover=False)


@pytest.fixture(scope="session")
def installed_plugins() -> None:
    """Skips where another process would not find the project's plugins."""
    missing = set(OP_PLUGINS) - {p.name for p in load_plugins().plugins if p.status == "active"}
    if missing:
        pytest.skip(f"plugins are not installed: {', '.join(sorted(missing))} (make test does it)")


class Elaborator:
    """Elaborates made-up models: the made-up SGLang's layers, and a model file that a test writes.

    `tree(source)` elaborates the class that `source` registers with EntryClass. `attributes(body)`
    runs `body` as the constructor of such a class and gives what it assigns to self.
    """

    CONFIG: ClassVar[dict[str, Any]] = {
        "hidden_size": 64,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
    }

    def __init__(self, folder: Path) -> None:
        self.root = folder / "sglang"
        shutil.copytree(DATA / "sglang", self.root)

    def write(self, path: str, text: str) -> None:
        """Write a file of the package, `srt/layers/mlp.py`."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")

    def tree(
        self,
        source: str,
        *,
        config: Mapping[str, Any] | None = None,
        tp: int = 1,
        ep: int = 1,
        version: str | None = "0.5.9",
        packages: tuple[Package, ...] = (),
    ) -> ModelTree:
        """The tree of the model in `source`; its class is called Model."""
        self.write("srt/models/made.py", source)
        data = {**self.CONFIG, "architectures": ["Model"], "model_type": "made", **(config or {})}
        return elaborate(
            SourceTree(self.root, version, None, "made up", packages),
            ModelConfig("made", None, data, "given"),
            Serving(tp=tp, ep=ep),
        )

    def attributes(self, body: str, before: str = "", **options: Any) -> Mapping[str, Any]:
        """What the constructor `body` assigns to self, with the module-level code `before`."""
        source = (
            f"from torch import nn\nimport foreign\n{textwrap.dedent(before)}\n"
            "class Model(nn.Module):\n    def __init__(self, config):\n        super().__init__()\n"
            f"{textwrap.indent(textwrap.dedent(body), ' ' * 8)}\nEntryClass = Model\n"
        )
        return self.tree(source, **options).root.attributes


@pytest.fixture
def made(tmp_path: Path) -> Elaborator:
    """Elaborates made-up models; in them, what `foreign` holds is not known."""
    return Elaborator(tmp_path)


@pytest.fixture(scope="session", params=SGLANG_VERSIONS)
def real(request: pytest.FixtureRequest) -> Callable[..., ModelTree]:
    """A function from a config and serving sizes to the tree, for each real source."""
    folder = _or_skip(request.param)

    @functools.lru_cache(maxsize=8)  # a tree takes tens of megabytes
    def elaborated(config: str, tp: int, ep: int) -> ModelTree:
        source = SourceTree(folder / "sglang", request.param, None, "PyPI")
        return elaborate(
            source, ModelConfig("real", None, json.loads(config), "given"), Serving(tp=tp, ep=ep)
        )

    def tree(config: Mapping[str, Any], tp: int = 1, ep: int = 1) -> ModelTree:
        return elaborated(json.dumps(config), tp, ep)

    return tree


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A real browser without a window, see `helpers/browser.py`; skips where there is none."""
    from browser import started

    with started(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(scope="session")
def dask_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Dask cluster with two worker processes; a test may let them die, they start again."""
    pytest.importorskip("distributed", reason="distributed is not installed")
    from dask_cluster import Cluster

    cluster = Cluster(tmp_path_factory.mktemp("dask"), 2)
    yield cluster
    cluster.kill()


@pytest.fixture(autouse=True)
def no_sglang_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of the core say themselves where SGLang is; a variable of the caller says nothing."""
    monkeypatch.delenv("FIBCORE_SGLANG", raising=False)


def main(versions: list[str]) -> None:
    """Download SGLang's source and print where it is."""
    for version in versions:
        try:
            print(sglang_folder(version))  # noqa: T201
        except NoSourceError as error:  # noqa: PERF203 - each on its own
            print(f"{error}; tests that need it are skipped", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:] or list(SGLANG_VERSIONS))
