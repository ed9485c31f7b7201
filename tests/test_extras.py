"""Every API function that needs an extra says so at once, and every extra is declared."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fibcore
from fibcore.errors import FibcoreError, MissingPackageError
from fibcore.extras import EXTRAS, SOURCES, need
from fibcore.sources.finding import find_source

ROOT = Path(__file__).parents[1]
MODULES = {module: extra for extra, modules in EXTRAS.items() for module in modules}

Without = Callable[..., None]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Without:
    """A function that has modules of these names not be installed."""
    find = importlib.util.find_spec

    def hide(*names: str) -> None:
        monkeypatch.setattr(
            "fibcore.extras.importlib.util.find_spec",
            lambda name, *rest: None if name in names else find(name, *rest),
        )

    return hide


def test_the_error_names_package_and_extra(without: Without) -> None:
    without("jinja2", "pygments")
    with pytest.raises(MissingPackageError) as caught:
        need("report", "HTML pages", otherwise="leave it")
    assert str(caught.value) == (
        f"{sys.executable}: HTML pages need jinja2 and pygments\n"
        "  found: not installed: jinja2 and pygments\n"
        "  to do: pip install 'fibcore[report]', or leave it"
    )
    need("report", "Markdown", "markdown_it")


def references() -> None:
    from fibcore.references.running import ReferenceRunner

    ReferenceRunner()


def cluster() -> None:
    from fibcore.processes.cluster import connect

    with connect("127.0.0.1:9"):
        pass


CALLS: dict[str, Callable[[Path], Any]] = {
    "jinja2": lambda folder: fibcore.report(dataset=folder),
    "pygments": lambda folder: fibcore.survey(target_dir=folder),
    "markdown_it": lambda folder: fibcore.coverage("x", target_dir=folder, check=folder),
    "tree_sitter": lambda folder: fibcore.add_new_model("x", web_dir=folder),
    "tree_sitter_typescript": lambda folder: fibcore.add_new_model("x", web_dir=folder),
    "numpy": lambda folder: fibcore.add_workloads(dataset=folder, all_=True),
    "ml_dtypes": lambda folder: fibcore.add_workloads(dataset=folder, all_=True),
    "safetensors": lambda folder: fibcore.add_workloads(dataset=folder, all_=True),
    "distributed": lambda _: cluster(),
    "torch": lambda _: references(),
    "pytest": lambda folder: fibcore.verify(dataset=folder),
}


@pytest.mark.parametrize("module", CALLS)
def test_a_call_says_so_before_it_works(module: str, without: Without, tmp_path: Path) -> None:
    # What is asked for is not there either, which a call would find out next.
    without(module)
    with pytest.raises(MissingPackageError, match=module.replace("_", "-")) as caught:
        CALLS[module](tmp_path)
    assert f"fibcore[{MODULES[module]}]" in (caught.value.hint or "")


def test_coverage_without_pages_needs_no_extra(without: Without, tmp_path: Path) -> None:
    without(*MODULES)
    with pytest.raises(FibcoreError) as caught:
        fibcore.coverage("x", target_dir=tmp_path, dry_run=True)
    assert not isinstance(caught.value, MissingPackageError)


def test_every_extra_has_a_call() -> None:
    assert set(CALLS) == set(MODULES)


def project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    data: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: dict[str, Any] = data["project"]
    return found


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def test_extras_bring_what_they_are_asked_for() -> None:
    declared = project()["optional-dependencies"]
    distributions = {"markdown_it": "markdown-it-py"}
    for extra, modules in EXTRAS.items():
        wanted = {canonicalize_name(distributions.get(m, m)) for m in modules}
        assert wanted <= names(declared[extra]), extra
    (everything,) = declared["all"]
    assert Requirement(everything).extras == set(EXTRAS)


def test_large_packages_have_extras_of_their_own() -> None:
    declared = project()["optional-dependencies"]
    assert names(declared["sglang"]) == {"sglang"}
    assert names(declared["gpu"]) == {"fibcore", "flashinfer-python"}
    (verify,) = (r for r in map(Requirement, declared["gpu"]) if r.name == "fibcore")
    assert verify.extras == {"verify"}
    assert "selenium" not in names(declared["verify"])
    for package, extra in SOURCES.items():
        assert any(name.startswith(package) for name in names(declared[extra]))


def test_all_plugins_are_in_ops() -> None:
    plugins = {f"fibcore-{p.parent.name}" for p in ROOT.glob("plugins/*/pyproject.toml")}
    wanted = {canonicalize_name(name) for name in plugins}
    assert names(project()["optional-dependencies"]["ops"]) == wanted


def test_an_error_about_a_source_names_its_extra(tmp_path: Path) -> None:
    for package, extra in SOURCES.items():
        if importlib.util.find_spec(package) is None:
            with pytest.raises(FibcoreError) as caught:
                find_source("installed", tmp_path, package)
            assert f"pip install 'fibcore[{extra}]'" in (caught.value.hint or "")


def imports(tree: ast.Module) -> set[str]:
    """Top-level names of what a module imports, wherever; not what only type checkers see."""
    found = set()
    hidden = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found


# What draws workloads, which only `add_workloads` and tests of plugins call; a filter of pages;
# what runs in processes that `need` was called for, or in pytest.
EXEMPT = (
    *("ops/authoring", "pages/highlighting.py", "verification/emitted", "testing"),
    *("references/worker.py", "verification/pytest_worker.py", "verification/on_cluster.py"),
    *("benchmarking/certificates/worker.py", "processes/cluster.py"),
    *("benchmarking/recorded/dumps.py", "benchmarking/recorded/matching.py"),
)


def test_modules_that_import_packages_of_an_extra_ask_for_it() -> None:
    for path in (ROOT / "fibcore").rglob("*.py"):
        name = path.relative_to(ROOT / "fibcore").as_posix()
        used = {MODULES[m] for m in imports(ast.parse(path.read_bytes())) if m in MODULES}
        if used and not name.startswith(EXEMPT):
            text = path.read_text()
            for extra in used:
                assert f'need("{extra}", ' in text or "need_for_" in text, f"{name}: {extra}"


def test_the_core_declares_what_it_imports() -> None:
    declared = names(project()["dependencies"])
    distributions = {"git": "gitpython", "importlib_metadata": "importlib-metadata"}
    distributions["yaml"] = "pyyaml"
    for path in (ROOT / "fibcore").rglob("*.py"):
        for module in imports(ast.parse(path.read_bytes())):
            if module in sys.stdlib_module_names or module in MODULES or module == "fibcore":
                continue
            # jinja2's; a peer that the module itself looks for, and says so where it is missing.
            if module in ("markupsafe", "flashinfer_bench"):
                continue
            name = canonicalize_name(distributions.get(module, module))
            assert name in declared, f"{path}: {module}"
