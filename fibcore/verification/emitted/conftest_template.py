"""What the reference tests in this folder share; needs pytest and torch and nothing else.

The test modules `test_<op_type>.py` beside this file hold tables (`OP_TYPE`, `GROUND_TRUTHS`,
`DEFINITIONS`), ground truths and an input generator. From them and from the definitions in
`definitions/<op_type>/*.json`, which are read when the tests are collected, this file makes

* `test_definition_loads[NAME]`: the file is a definition with a usable `run`;
* `test_agrees_with_ground_truth[NAME-CASE]`: `run` agrees with the first ground truth that can run
  on this machine, or the test is skipped with the reason of each one that cannot;
* `test_property[NAME-CASE-PROPERTY]`: what holds without any ground truth.

Options: `--device`, `--tolerance`, `--sglang`, `--definition`, `--evidence` (`pytest --help`).
SGLang's source is looked for in `--sglang`, the environment variable FIBCORE_SGLANG, the folder
`sglang` beside the dataset, the `repos_config.json` beside the dataset, and the installed package;
single functions are compiled from its text, and SGLang is never imported.
"""

from __future__ import annotations
import __future__

import argparse
import ast
import contextlib
import copy
import dataclasses
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import linecache
import math
import os
import platform
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

HERE = Path(os.path.abspath(__file__)).parent  # noqa: PTH100  (resolve() would leave a linked dataset)
DATASET = HERE.parents[1]

# (rtol, atol) by dtype of the output, as the dataset's conventions have them.
TOLERANCES = {
    "float64": (1e-5, 1e-5),
    "float32": (1e-5, 1e-5),
    "float16": (1e-3, 1e-3),
    "bfloat16": (1e-2, 8e-3),
}
# For every floating-point output of a kernel with fp8 (or narrower) inputs or outputs: rounding to
# three mantissa bits moves single elements far, so a share of them may lie outside.
FP8_TOLERANCE = (2e-1, 1e-1)
FP8_MATCHED_RATIO = 0.85

# What SGLang's files import from `typing`; a function's body may use them.
TYPING_NAMES = (
    *("Any", "Callable", "Dict", "Iterable", "List", "Literal", "NamedTuple", "Optional"),
    *("Sequence", "Set", "Tuple", "Type", "TypeVar", "Union", "cast"),
)

# What FlashInfer says where it would have to compile a kernel and cannot.
NOT_COMPILED = ("Ninja build failed", "Could not find nvcc", "JIT compilation is disabled")

WORST_SHOWN = 5
STRENGTH = ("flashinfer", "sglang", "torch")


# --- options -------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, except those that another conftest or plugin has already."""
    group = parser.getgroup("reference tests")
    options: list[tuple[str, dict[str, Any]]] = [
        (
            "--device",
            {
                "choices": ("auto", "cpu", "cuda"),
                "default": "auto",
                "help": "where references run; auto is CUDA where there is a GPU",
            },
        ),
        (
            "--tolerance",
            {"type": float, "metavar": "X", "help": "rtol and atol in place of the defaults"},
        ),
        (
            "--sglang",
            {
                "metavar": "PATH",
                "help": "SGLang's source: the repository, the folder that holds the package, or "
                "the package",
            },
        ),
        (
            "--definition",
            {
                "action": "append",
                "metavar": "NAME",
                "help": "test this definition alone (can be repeated)",
            },
        ),
        (
            "--evidence",
            {
                "metavar": "DIR",
                "help": "record what was run in DIR/<definition>.json; evidence that is there is "
                "added to",
            },
        ),
    ]
    for name, settings in options:
        if name in _option_names(parser):
            continue
        # A second dataset's conftest has added the option to this group, or a plugin to another.
        with contextlib.suppress(ValueError, argparse.ArgumentError):
            group.addoption(name, dest="reference_tests_" + name.strip("-"), **settings)


def _option_names(parser: pytest.Parser) -> set[str]:
    """Names of the options that other plugins have added, where pytest lets us see them."""
    groups = [*getattr(parser, "_groups", ()), getattr(parser, "_anonymous", None)]
    return {n for g in groups for option in getattr(g, "options", ()) for n in option.names()}


def _option(config: pytest.Config, name: str, default: Any = None) -> Any:
    # A conftest below the folder that pytest was called in is loaded too late to add options.
    value = config.getoption(name, default)
    return default if value is None else value


def pytest_configure(config: pytest.Config) -> None:
    """Check the options and, where evidence is wanted, start to record it."""
    sglang = _option(config, "--sglang")
    if sglang is not None and _sglang_package(Path(sglang)) is None:
        raise pytest.UsageError(f"--sglang {sglang}: no SGLang source there (no sglang/srt)")
    tolerance = _option(config, "--tolerance")
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0):
        raise pytest.UsageError(f"--tolerance {tolerance}: expected a number of at least 0")
    evidence, events = _option(config, "--evidence"), os.environ.get("FIBCORE_EVENTS")
    if (evidence or events) and not hasattr(config, "workerinput"):
        folder = config.invocation_params.dir / evidence if evidence else None
        recorder = Recorder(folder, Path(events) if events else None)
        config.pluginmanager.register(recorder, f"reference-test-evidence {HERE}")


def pytest_report_header(config: pytest.Config) -> str:
    """Say what the tests run on and where SGLang's source is."""
    device, reason = _device(config)
    package, where = find_sglang(_option(config, "--sglang"))
    sglang = f"SGLang {sglang_version(package)} at {package}" if package else f"no SGLang: {where}"
    return f"reference tests: {reason or machine(device)['device']['name']}; {sglang}"


def _device(config: pytest.Config) -> tuple[torch.device, str | None]:
    """The device to run on and, where there is none, the reason."""
    wanted = _option(config, "--device", "auto")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        return torch.device("cpu"), "--device cuda, but torch finds no CUDA GPU on this machine"
    return torch.device(wanted), None


# --- definitions ---------------------------------------------------------------------------------


class BrokenDefinitionError(Exception):
    """A definition's file is not what it should be: the path, the place, what is wrong."""


def load_definition(path: Path) -> dict[str, Any]:
    """The definition in a file, checked as far as the tests need it.

    Raises:
        BrokenDefinitionError: with the path and the place in the file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenDefinitionError(f"{path}: cannot be read: {error}") from None
    except json.JSONDecodeError as error:
        raise BrokenDefinitionError(
            f"{path}: line {error.lineno} column {error.colno}: not JSON: {error.msg}"
        ) from None

    def need(right: bool, place: str, message: str) -> None:
        if not right:
            raise BrokenDefinitionError(f"{path}: {place}: {message}")

    need(isinstance(data, dict), "$", "expected an object")
    for key, kind in (("name", str), ("op_type", str), ("reference", str)):
        need(isinstance(data.get(key), kind), f"$.{key}", "expected a string")
    for key in ("axes", "inputs", "outputs"):
        need(isinstance(data.get(key), dict), f"$.{key}", "expected an object")
    need(data["name"] == path.stem, "$.name", f"expected the file's name, found {data['name']!r}")
    folder = path.parent.name
    need(data["op_type"] == folder, "$.op_type", f"expected the folder's name, {folder!r}")
    need(bool(data["outputs"]), "$.outputs", "expected at least one output")
    for group in ("inputs", "outputs"):
        for name, spec in data[group].items():
            place = f"$.{group}.{name}"
            need(isinstance(spec, dict), place, "expected an object")
            need(isinstance(spec.get("dtype"), str), f"{place}.dtype", "expected a string")
            shape = spec.get("shape")
            need(shape is None or isinstance(shape, list), f"{place}.shape", "expected a list")
            for axis in shape or ():
                need(axis in data["axes"], f"{place}.shape", f"no such axis: {axis!r}")
    try:
        tree = ast.parse(data["reference"])
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise BrokenDefinitionError(f"{path}: $.reference line {line}: {error}") from None
    runs = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "run"]
    need(bool(runs), "$.reference", "no top-level function run")
    parameters = [a.arg for a in (*runs[-1].args.posonlyargs, *runs[-1].args.args)]
    need(
        parameters == list(data["inputs"]),
        "$.reference",
        f"run takes ({', '.join(parameters)}), expected ({', '.join(data['inputs'])})",
    )
    return typing.cast("dict[str, Any]", data)


def load_run(definition: Mapping[str, Any]) -> Callable[..., Any]:
    """`run` of a definition's reference, in a namespace of its own."""
    source, name = definition["reference"], f"<reference of {definition['name']}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"__name__": f"reference_of_{definition['name']}"}
    exec(compile(source, name, "exec", dont_inherit=True), namespace)  # noqa: S102  (it is the test)
    return typing.cast("Callable[..., Any]", namespace["run"])


def _narrow(dtype: str) -> bool:
    return dtype.startswith(("float8", "float4"))


def _fits_dtype(value: torch.Tensor, dtype: str) -> bool:
    if dtype == "float4_e2m1":  # torch packs two elements a byte
        return value.dtype in (torch.uint8, getattr(torch, "float4_e2m1fn_x2", torch.uint8))
    return value.dtype is getattr(torch, dtype, None)


def check_tensors(
    definition: Mapping[str, Any],
    group: str,
    values: Mapping[str, Any],
    sizes: dict[str, int],
    device: torch.device,
    what: str,
) -> None:
    """Assert that tensors have the dtype, rank and sizes that the definition gives them.

    Args:
        definition: The definition's JSON data.
        group: "inputs" or "outputs".
        values: Name to value.
        sizes: Sizes of axes as far as known; var axes that are met first here are added.
        device: Where tensors have to lie.
        what: Whose values these are, for messages.
    """
    __tracebackhide__ = True
    for name, spec in definition[group].items():
        value, dtype, shape = values[name], spec["dtype"], spec.get("shape")
        if shape is None and isinstance(value, (bool, int, float)):
            continue
        if not isinstance(value, torch.Tensor):
            raise AssertionError(f"{what}: {name} is a {type(value).__name__}, not a tensor")
        if not _fits_dtype(value, dtype):
            raise AssertionError(f"{what}: {name} has dtype {value.dtype}, expected {dtype}")
        if value.device.type != device.type:
            raise AssertionError(f"{what}: {name} is on {value.device}, expected {device}")
        found, axes = list(value.shape), list(shape or ())
        if len(found) != len(axes):
            raise AssertionError(f"{what}: {name} has shape {found}, expected [{', '.join(axes)}]")
        if dtype == "float4_e2m1" and found:
            found[-1] *= 2
        for axis, size in zip(axes, found, strict=True):
            given = definition["axes"][axis].get("value")
            wanted = sizes.setdefault(axis, size if given is None else given)
            if size != wanted:
                raise AssertionError(
                    f"{what}: {name} has shape {found}, expected "
                    f"[{', '.join(axes)}] with {axis} = {wanted}"
                )


def named_outputs(definition: Mapping[str, Any], result: Any, what: str) -> dict[str, Any]:
    """What a function returned, by output name.

    A tensor is a single output, a tuple or list has the outputs in order; a dict has them by name.
    """
    __tracebackhide__ = True
    names = list(definition["outputs"])
    if isinstance(result, dict):
        if set(result) != set(names):
            raise AssertionError(f"{what} returned {sorted(result)}, expected {names}")
        return {name: result[name] for name in names}
    values = list(result) if isinstance(result, (tuple, list)) else [result]
    if len(values) != len(names):
        raise AssertionError(
            f"{what} returned {len(values)} outputs, expected {len(names)}: {', '.join(names)}"
        )
    return dict(zip(names, values, strict=True))


def _overlaps(tensor: torch.Tensor) -> bool:
    """Whether elements share memory, by which a template makes large inputs small."""
    return tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()


def _clone(tensor: torch.Tensor) -> torch.Tensor:
    if not _overlaps(tensor):
        return tensor.clone()
    # clone() would give every element memory of its own, and there may be 10^11 of them.
    copy = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    storage = _bytes(tensor).clone().untyped_storage()
    return copy.set_(storage, tensor.storage_offset(), tensor.shape, tensor.stride())


def clone_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of the inputs that share no memory with them."""
    return {n: _clone(v) if isinstance(v, torch.Tensor) else v for n, v in inputs.items()}


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    if _overlaps(tensor):
        everything = torch.empty(0, dtype=torch.uint8, device=tensor.device)
        return everything.set_(tensor.untyped_storage())
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def same_bits(a: Any, b: Any) -> bool:
    """Whether an input and a copy of it are the same, NaN for NaN and bit for bit."""
    if not isinstance(a, torch.Tensor):
        return type(a) is type(b) and (a == b or (a != a and b != b))
    if a.shape != b.shape or a.dtype is not b.dtype:
        return False
    if _overlaps(a) and a.stride() != b.stride():
        return False
    return torch.equal(_bytes(a), _bytes(b))


# --- SGLang's source -----------------------------------------------------------------------------


class GroundTruthUnavailableError(LookupError):
    """This ground truth cannot run here; the message is the reason."""


def _sglang_package(path: Path) -> Path | None:
    """The `sglang` package in a repository, in a folder that holds it, or at `path` itself."""
    for candidate in (path / "python" / "sglang", path / "sglang", path):
        if (candidate / "srt").is_dir():
            return candidate
    return None


def find_sglang(option: str | None) -> tuple[Path | None, str]:
    """SGLang's package folder, found without importing it, or None and where it was looked for."""
    if option is not None:
        return _sglang_package(Path(option)), f"--sglang {option} holds no SGLang source"
    variable = os.environ.get("FIBCORE_SGLANG")
    if variable:
        return (
            _sglang_package(Path(variable)),
            "the environment variable FIBCORE_SGLANG names no SGLang source",
        )
    for folder in dict.fromkeys((DATASET.parent, DATASET.resolve().parent)):
        for candidate in (folder / "sglang", *_configured_sglang(folder / "repos_config.json")):
            package = _sglang_package(candidate)
            if package is not None:
                return package, str(candidate)
    spec = importlib.util.find_spec("sglang")  # a top-level name: finds without importing
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(location) / "srt").is_dir():
            return Path(location), location
    return None, (
        "SGLang's source was not found (looked at --sglang, FIBCORE_SGLANG, the folder sglang and "
        "repos_config.json beside the dataset, and the installed packages)"
    )


def _configured_sglang(config: Path) -> list[Path]:
    """The places that `repos_config.json` may mean by SGLang's path."""
    try:
        path = json.loads(config.read_text(encoding="utf-8"))["repositories"]["sglang"]["path"]
        # "./repos/sglang" is relative to the folder that holds repos/, where the clone was made.
        return [config.parent.parent / path, config.parent / path]
    except (OSError, ValueError, KeyError, TypeError):
        return []


@functools.cache
def sglang_version(package: Path) -> str:
    """The version of SGLang's source: its version file, its metadata or its git commit."""
    for name in ("_version.py", "version.py"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = (package / name).read_text(encoding="utf-8")
            found = re.search(r"^__version__\b[^\n]*=\s*[\"']([^\"']+)[\"']", text, re.MULTILINE)
            if found:
                return found[1]
    for metadata in sorted(package.parent.glob("sglang-*.dist-info")):
        return metadata.name[len("sglang-") : -len(".dist-info")]
    for folder in (package.parent, package.parent.parent):
        with contextlib.suppress(OSError):
            head = (folder / ".git" / "HEAD").read_text(encoding="utf-8").strip()
            if head.startswith("ref: "):
                head = (folder / ".git" / head[5:]).read_text(encoding="utf-8").strip()
            return f"git {head[:12]}"
    return "of unknown version"


@functools.cache
def _parsed(path: Path) -> tuple[ast.Module, str]:
    raw = path.read_bytes()
    return ast.parse(raw.decode("utf-8-sig"), str(path)), hashlib.sha256(raw).hexdigest()


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The statement lists inside an `if`, `try` or `with`, which do not open a scope."""
    if isinstance(statement, (ast.If, ast.Try, ast.With)):
        yield statement.body
        yield getattr(statement, "orelse", [])
        yield getattr(statement, "finalbody", [])
        for handler in getattr(statement, "handlers", []):
            yield handler.body


def _named(body: Sequence[ast.stmt], name: str) -> list[Any]:
    """Functions and classes called `name`; a later one in the same block replaces an earlier."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    direct = [s for s in body if isinstance(s, kinds) and s.name == name]
    if direct:
        return direct[-1:]
    return [found for s in body for block in _blocks(s) for found in _named(block, name)]


class SGLangSource:
    """Gives single functions of SGLang, compiled from its text; nothing of SGLang is imported.

    Attributes:
        package: The folder of the package.
        version: Its version, commit or "of unknown version".
        files: SHA-256 of each file that a function was taken from.
    """

    def __init__(self, package: Path) -> None:
        self.package = package
        self.version = sglang_version(package)
        self.files: dict[str, str] = {}

    def __call__(self, file: str, qualname: str, /, **namespace: Any) -> Callable[..., Any]:
        """One function or method, alone, as a plain function.

        Decorators are left out and annotations are not evaluated. Its globals are torch, nn, F,
        math and the names of `typing`, and `namespace`.

        Args:
            file: Path below the package: "srt/layers/layernorm.py".
            qualname: "function" or "Class.method" (whose first parameter is then `self`).
            **namespace: More globals: constants, stand-ins, functions loaded before.

        Raises:
            GroundTruthUnavailableError: (a LookupError) this version of SGLang does not have it.
        """
        return self.several(file, qualname, **namespace)[0]

    def several(self, file: str, /, *qualnames: str, **namespace: Any) -> list[Callable[..., Any]]:
        """Several functions of one file that see each other, and `namespace`, as globals."""
        scope: dict[str, Any] = {
            **{n: getattr(typing, n) for n in TYPING_NAMES},
            "torch": torch,
            "nn": torch.nn,
            "F": torch.nn.functional,
            "math": math,
            **namespace,
            "__name__": "sglang_source",
            "__sglang__": self,
        }
        loaded = []
        for qualname in qualnames:
            node = self._find(file, qualname)
            node.decorator_list = []
            path = str(self.package / file)
            code = compile(
                ast.Module([node], []),
                path,
                "exec",
                # What is annotated with names that are not here must not be evaluated.
                flags=__future__.annotations.compiler_flag,
                dont_inherit=True,
            )
            try:
                exec(code, scope)  # noqa: S102  (one function of the ground truth's source)
            except NameError as error:
                raise self._missing(file, f"defaults of {qualname} need {error.name!r}") from None
            loaded.append(scope[node.name])
        return loaded

    def has(self, file: str, qualname: str) -> bool:
        """Whether this version of SGLang has a function, for ground truths of several versions."""
        try:
            self._find(file, qualname)
        except GroundTruthUnavailableError:
            return False
        return True

    def _missing(self, file: str, what: str) -> GroundTruthUnavailableError:
        return GroundTruthUnavailableError(f"SGLang {self.version}: {file}: {what}")

    def _find(self, file: str, qualname: str) -> Any:
        try:
            tree, digest = _parsed(self.package / file)
        except OSError:
            raise self._missing(file, "no such file") from None
        except (SyntaxError, ValueError) as error:
            raise self._missing(file, f"cannot be parsed: {error}") from None
        body: Sequence[ast.stmt] = tree.body
        *classes, function = qualname.split(".")
        for name in classes:
            found = [n for n in _named(body, name) if isinstance(n, ast.ClassDef)]
            if len(found) != 1:
                raise self._missing(file, f"{len(found)} classes {name}, expected one")
            body = found[0].body
        found = [n for n in _named(body, function) if not isinstance(n, ast.ClassDef)]
        if len(found) != 1:
            raise self._missing(file, f"{len(found)} functions {qualname}, expected one")
        self.files[file] = digest
        return copy.deepcopy(found[0])


# --- ground truths -------------------------------------------------------------------------------


def why_unavailable(truth: Mapping[str, Any], device: torch.device, sglang: str | None) -> str:
    """Why a ground truth cannot run here, as far as can be told before it runs; "" if it can."""
    if truth["device"] == "cuda":
        if device.type != "cuda":
            there = torch.cuda.is_available()
            return "needs CUDA: " + ("run with --device cuda" if there else "no GPU was found")
        have = torch.cuda.get_device_capability(device)
        low, high = truth["min_capability"], truth["max_capability"]
        if (low and have < tuple(low)) or (high and have > tuple(high)):
            ends = [f"sm{c[0]}{c[1]}" if c else "any" for c in (low, high)]
            return (
                f"needs compute capability {ends[0]} to {ends[1]}, "
                f"{torch.cuda.get_device_name(device)} has sm{have[0]}{have[1]}"
            )
    for package in truth["packages"]:
        reason = _why_not_importable(package)
        if reason:
            return reason
    if truth["kind"] == "sglang":
        found, reason = find_sglang(sglang)
        return "" if found else reason
    return ""


@functools.cache
def _why_not_importable(package: str) -> str:
    if importlib.util.find_spec(package.partition(".")[0]) is None:
        return f"the package {package} is not installed"
    try:
        importlib.import_module(package)
    except Exception as error:  # noqa: BLE001  (whatever a package raises is the reason to give)
        return f"the package {package} cannot be imported: {type(error).__name__}: {error}"
    return ""


@functools.cache
def _package_versions(packages: tuple[str, ...]) -> str:
    distributions = importlib.metadata.packages_distributions()
    names = dict.fromkeys(d for p in packages for d in distributions.get(p.partition(".")[0], ()))
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _lacks_name(error: NameError) -> bool:
    """Whether a function of SGLang's source, and not the ground truth around it, lacks a name."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and "__sglang__" in trace.tb_frame.f_globals


def _why_not_runnable(error: Exception, version: str) -> str | None:
    """Why a ground truth that raised could not do it here; None where it should have."""
    if isinstance(error, (GroundTruthUnavailableError, NotImplementedError, ImportError)):
        return str(error) or type(error).__name__
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "it needs more memory than this GPU has"
    if type(error) is NameError and _lacks_name(error):
        return f"{version}: {error}"
    if isinstance(error, FileNotFoundError) or any(text in str(error) for text in NOT_COMPILED):
        return f"its kernel cannot be compiled here: {str(error).strip().splitlines()[0]}"
    return None


def run_ground_truth(
    module: ModuleType, truth: Mapping[str, Any], inputs: Mapping[str, Any], sglang: str | None
) -> tuple[Any, dict[str, Any]]:
    """What a ground truth returns, and who it was: name, kind, version, source files.

    Raises:
        GroundTruthUnavailableError: it cannot run here after all.
        AssertionError: it raised; nothing was compared.
    """
    __tracebackhide__ = True
    who: dict[str, Any] = {"name": truth["name"], "kind": truth["kind"]}
    arguments: list[Any] = []
    if truth["kind"] == "sglang":
        package, reason = find_sglang(sglang)
        if package is None:
            raise GroundTruthUnavailableError(reason)
        loader = SGLangSource(package)
        arguments.append(loader)
        who.update(version=f"sglang {loader.version}", files=loader.files)
    else:
        own = truth["packages"] and _package_versions(tuple(truth["packages"]))
        who["version"] = own or f"torch {torch.__version__}"
    try:
        result = getattr(module, truth["entry"])(*arguments, **inputs)
    except Exception as error:
        obstacle = _why_not_runnable(error, who["version"])
        if obstacle is not None:
            raise GroundTruthUnavailableError(obstacle) from None
        raise AssertionError(
            f"the ground truth {truth['name']} raised {type(error).__name__}: {error}\n"
            "  nothing was compared"
        ) from error
    who["files"] = dict(sorted(who["files"].items())) if "files" in who else {}
    return result, who


# --- comparison ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How two tensors differ: figures for reports, and `text`, which people read."""

    inside: bool
    figures: dict[str, Any]
    text: str


def tolerance_of(
    definition: Mapping[str, Any], name: str, module: Any, override: float | None
) -> tuple[float, float, float]:
    """(rtol, atol, least fraction of elements inside) of an output.

    In order: the override (for rtol and atol), the template's TOLERANCES and MATCHED_RATIO by
    output name and by dtype, the defaults. Integers and booleans have to be equal, whatever the
    override.
    """
    dtype = definition["outputs"][name]["dtype"]
    own, ratios = getattr(module, "TOLERANCES", {}), getattr(module, "MATCHED_RATIO", {})
    default: tuple[float, float] = (0.0, 0.0)
    default_ratio = 1.0
    if dtype.startswith(("float", "bfloat")):
        default = TOLERANCES.get(dtype, FP8_TOLERANCE)
        specs = (*definition["inputs"].values(), *definition["outputs"].values())
        if any(_narrow(spec["dtype"]) for spec in specs):
            default, default_ratio = FP8_TOLERANCE, FP8_MATCHED_RATIO
    rtol, atol = own.get(name, own.get(dtype, default))
    if override is not None and dtype.startswith(("float", "bfloat")):
        rtol = atol = override
    return rtol, atol, ratios.get(name, ratios.get(dtype, default_ratio))


def _number(value: torch.Tensor | float) -> float | None:
    """Three significant digits, which a report needs; None for what is not finite."""
    number = float(value)
    return float(f"{number:.3g}") if math.isfinite(number) else None


def compare_tensors(
    actual: torch.Tensor, expected: torch.Tensor, rtol: float, atol: float, ratio: float
) -> Comparison:
    """Compare element by element: inside is |actual - expected| <= atol + rtol * |expected|.

    NaN is equal to NaN alone, and an infinity to the same infinity alone, whatever `ratio` is.
    Where every element is NaN on both sides nothing was compared, and that is not inside.
    """
    a, e = actual.detach().to(torch.float64), expected.detach().to(torch.float64)
    finite = torch.isfinite(a) & torch.isfinite(e)
    error = torch.where(finite, (a - e).abs(), 0.0)
    allowed = atol + rtol * torch.where(finite, e.abs(), 0.0)
    equal = (a == e) | (a.isnan() & e.isnan())
    outside = torch.where(finite, error > allowed, ~equal)
    count, bad = a.numel(), int(outside.sum())
    compared = int(finite.sum())
    nonzero = finite & (e != 0)
    relative = error[nonzero] / e[nonzero].abs()
    af, ef = a[finite], e[finite]
    norms = float(af.norm() * ef.norm())
    cosine = float(af @ ef) / norms if norms else float(torch.equal(af, ef))
    nothing = count > 0 and bool((a.isnan() & e.isnan()).all())
    strange = int((outside & ~finite).sum())
    inside = not (nothing or strange) and (bad == 0 or (count - bad) / count >= ratio)
    figures = {
        "elements": count,
        "outside": bad,
        "max_abs_error": _number(error.max()) if compared else None,
        "mean_abs_error": _number(error.sum() / compared) if compared else None,
        "max_rel_error": _number(relative.max()) if relative.numel() else None,
        "mean_rel_error": _number(relative.mean()) if relative.numel() else None,
        "cosine_similarity": round(cosine, 6) if compared else None,
        "rtol": rtol,
        "atol": atol,
        "matched_ratio": ratio,
    }
    lines = [
        f"outside tolerance: {bad} of {count} elements ({bad / max(count, 1):.3%})",
        f"tolerance: rtol {rtol:g}, atol {atol:g}, at least {ratio:.0%} of the elements inside",
        f"absolute error: max {figures['max_abs_error']}, mean {figures['mean_abs_error']}",
        f"relative error: max {figures['max_rel_error']}, mean {figures['mean_rel_error']}",
        f"cosine similarity: {figures['cosine_similarity']}",
    ]
    if strange:
        lines.append(f"NaN or infinite on one side only, or of other sign: {strange} elements")
    if nothing:
        lines.append("every element is NaN on both sides: nothing was compared")
    if bad:
        excess = torch.where(finite, error - allowed, torch.inf)
        excess = torch.where(outside, excess, -torch.inf).reshape(-1)
        lines.append("worst elements:")
        for flat in torch.topk(excess, min(WORST_SHOWN, bad)).indices.tolist():
            index = [int(i) for i in torch.unravel_index(torch.tensor(flat), a.shape)]
            got, want = float(a.reshape(-1)[flat]), float(e.reshape(-1)[flat])
            lines.append(f"  {index}: got {got:.6g}, expected {want:.6g}")
    return Comparison(inside, figures, "\n".join("  " + line for line in lines))


def _precision(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps if dtype.is_floating_point else 0.0


# --- what is tested ------------------------------------------------------------------------------


@functools.cache
def machine(device: torch.device) -> dict[str, Any]:
    """Device and software, for evidence; nothing that tells one host of a kind from another."""
    about: dict[str, Any] = {"type": device.type, "name": f"CPU ({platform.machine()})"}
    software = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "system": platform.system(),
    }
    if device.type == "cuda":
        about["name"] = torch.cuda.get_device_name(device)
        about["capability"] = list(torch.cuda.get_device_capability(device))
        software["cuda"] = str(torch.version.cuda)
    return {"device": about, "software": software}


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A definition as a test module sees it: where it comes from and all that is to be run."""

    path: Path
    module: ModuleType
    definition: dict[str, Any] | None
    broken: str | None
    cases: tuple[dict[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The definition's name, which is its file's."""
        return self.path.stem

    @property
    def entry(self) -> dict[str, Any] | None:
        """What the test module's table says of the definition; None where it is not there."""
        return typing.cast("dict[str, Any] | None", self.module.DEFINITIONS.get(self.name))

    @property
    def properties(self) -> list[Callable[..., None]]:
        """The property checks of the op type."""
        return list(getattr(self.module, "PROPERTIES", ()))

    @property
    def expected_tests(self) -> int:
        """How many tests this definition has when none is deselected."""
        return 1 + len(self.cases) * (1 + len(self.properties))

    def record(self, kind: str, **more: Any) -> dict[str, Any]:
        """The beginning of what evidence keeps of one test."""
        reference = self.definition["reference"] if self.definition else ""
        return {
            "dataset": str(DATASET),
            "definition": self.name,
            "op_type": self.module.OP_TYPE,
            "reference_sha256": hashlib.sha256(reference.encode()).hexdigest(),
            "expected_tests": self.expected_tests if self.broken is None else None,
            "kind": kind,
            **more,
        }


def _subject(path: Path, module: ModuleType) -> Subject:
    try:
        definition = load_definition(path)
    except BrokenDefinitionError as error:
        return Subject(path, module, None, str(error))
    try:
        cases = [dict(case) for case in module.cases(copy.deepcopy(definition))]
        ids = [case["id"] for case in cases]
        if not cases or len(set(ids)) != len(ids) or not all(isinstance(i, str) for i in ids):
            raise ValueError(f"expected cases with unique ids, found {ids}")
    except Exception as error:  # noqa: BLE001  (reported as a failing test; other definitions go on)
        return Subject(
            path, module, definition, f"cases() of the template: {type(error).__name__}: {error}"
        )
    return Subject(path, module, definition, None, tuple(cases))


_SUBJECTS: dict[str, list[Subject]] = {}


def subjects(module: ModuleType) -> list[Subject]:
    """The definitions of a test module's op type, in order of their names."""
    key = str(module.__file__)
    if key not in _SUBJECTS:
        files = sorted((DATASET / "definitions" / module.OP_TYPE).glob("*.json"))
        _SUBJECTS[key] = [_subject(path, module) for path in files]
    return _SUBJECTS[key]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each definition, case and property."""
    fixtures = {"definition_file", "agreement", "property_check"}
    for fixture in fixtures & set(metafunc.fixturenames):
        known = subjects(metafunc.module)
        parameters: list[tuple[Any, ...]]
        if fixture == "definition_file":
            parameters = [(s,) for s in known]
        elif fixture == "agreement":
            parameters = [(s, case) for s in known for case in s.cases]
        else:
            parameters = [(s, c, p) for s in known for c in s.cases for p in s.properties]
        ids = [
            "-".join([p[0].name, *(c["id"] for c in p[1:2]), *(f.__name__ for f in p[2:])])
            for p in parameters
        ]
        if not parameters:
            reason = f"no definition in {DATASET / 'definitions' / metafunc.module.OP_TYPE}"
            if known:
                reason = "nothing to run: no case, or no property check, or no file that loads"
            parameters = [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
            ids = ["none"]
        metafunc.parametrize(fixture, parameters, ids=ids, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the definitions that `--definition` names."""
    wanted = _option(config, "--definition")
    if not wanted:
        return
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    names: set[str] = {path.stem for path in DATASET.glob("definitions/*/*.json")}
    for item in items:
        values = getattr(getattr(item, "callspec", None), "params", {}).values()
        own = [v[0].name for v in values if isinstance(v, tuple) and hasattr(v[0], "entry")]
        names.update(own)
        mine = HERE in item.path.parents
        (kept if not mine or any(name in wanted for name in own) else dropped).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept
    unknown = sorted(set(wanted) - names)
    if unknown:
        raise pytest.UsageError(f"--definition: no definition {', '.join(unknown)} in {DATASET}")


class _Test:
    """What the three kinds of tests have in common: device, options and the record for evidence."""

    def __init__(self, request: pytest.FixtureRequest, kind: str, **more: Any) -> None:
        self.subject: Subject = request.param[0]
        config = request.config
        self.device, no_device = _device(config)
        self.sglang = _option(config, "--sglang")
        self.tolerance = _option(config, "--tolerance")
        self.record = self.subject.record(kind, **more, **machine(self.device))
        if self.tolerance is not None:
            self.record["tolerance"] = self.tolerance
        request.node.user_properties.append(("reference_test", self.record))
        if no_device and kind != "definition":
            pytest.skip(no_device)

    @property
    def definition(self) -> dict[str, Any]:
        """A copy of the definition's data, which no test can change for another."""
        return copy.deepcopy(typing.cast("dict[str, Any]", self.subject.definition))

    def generator(self, case: Mapping[str, Any]) -> torch.Generator:
        """A generator whose seed depends on the definition and the case alone."""
        digest = hashlib.sha256(f"{self.subject.name}\0{case['id']}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class DefinitionFile(_Test):
    """One definition's file."""

    def check(self) -> None:
        """Assert that the file is a definition whose reference can be executed."""
        __tracebackhide__ = True
        if self.subject.broken is not None:
            raise AssertionError(self.subject.broken)
        load_run(self.definition)


class Agreement(_Test):
    """One definition and one case, to be compared with a ground truth."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.case: dict[str, Any] = copy.deepcopy(request.param[1])
        self.node = request.node
        super().__init__(request, "agreement", case=self.case["id"])

    def check(self) -> None:
        """Assert that `run` agrees with the first ground truth that can run here; skip if none."""
        __tracebackhide__ = True
        subject, definition = self.subject, self.definition
        entry = subject.entry
        if entry is None:
            pytest.skip(
                f"{subject.name} was not there when these tests were generated: "
                f"fibcore add-reference-tests --definition-name {subject.name}"
            )
        truths = [subject.module.GROUND_TRUTHS[key] for key in entry["ground_truths"]]
        if not truths:
            pytest.skip(f"there is no ground truth for {subject.name}")
        reasons = self.record["unavailable"] = {}
        usable = []
        for truth in truths:
            reason = why_unavailable(truth, self.device, self.sglang)
            if reason:
                reasons[truth["name"]] = reason
            else:
                usable.append(truth)
        if usable:
            try:
                inputs = self.inputs(definition)
            except torch.cuda.OutOfMemoryError:
                pytest.skip("the inputs need more memory than this GPU has")
            outputs = self.reference_outputs(definition, inputs)
        for truth in usable:
            try:
                result, who = self.ground_truth(truth, inputs)
            except GroundTruthUnavailableError as error:
                reasons[truth["name"]] = str(error)
                continue
            self.compare(definition, outputs, result, who, entry["tolerance"])
            return
        pytest.skip("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))

    def inputs(self, definition: Mapping[str, Any]) -> dict[str, Any]:
        """The case's inputs, checked against the definition."""
        __tracebackhide__ = True
        make = self.subject.module.make_inputs
        inputs = make(self.definition, self.case, self.device, self.generator(self.case))
        if list(inputs) != list(definition["inputs"]):
            raise AssertionError(
                f"make_inputs of the template gives {list(inputs)}, "
                f"expected {list(definition['inputs'])}"
            )
        self.sizes: dict[str, int] = {}
        check_tensors(
            definition, "inputs", inputs, self.sizes, self.device, "make_inputs of the template"
        )
        axes = definition["axes"]
        self.record["sizes"] = {n: s for n, s in self.sizes.items() if axes[n]["type"] == "var"}
        return typing.cast("dict[str, Any]", inputs)

    def reference_outputs(
        self, definition: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The reference's outputs, with their count, shapes and dtypes checked."""
        __tracebackhide__ = True
        own = clone_inputs(inputs)
        with torch.no_grad():
            result = load_run(definition)(*own.values())
            self.synchronize()
        changed = [name for name in inputs if not same_bits(inputs[name], own[name])]
        if changed:
            raise AssertionError(f"the reference changed its inputs: {', '.join(changed)}")
        outputs = named_outputs(definition, result, "the reference")
        check_tensors(
            definition, "outputs", outputs, self.sizes, self.device, "outputs of the reference"
        )
        return outputs

    def ground_truth(
        self, truth: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """What the ground truth makes of copies of the inputs (it may work in place)."""
        __tracebackhide__ = True
        with torch.no_grad():
            result, who = run_ground_truth(
                self.subject.module, truth, clone_inputs(inputs), self.sglang
            )
            self.synchronize()
        return result, who

    def synchronize(self) -> None:
        """Wait for the GPU, so that an error is raised where it was caused."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def compare(
        self,
        definition: Mapping[str, Any],
        outputs: Mapping[str, Any],
        result: Any,
        who: Mapping[str, Any],
        tolerance: float | None,
    ) -> None:
        """Assert that every output that the ground truth gives is within tolerance."""
        __tracebackhide__ = True
        self.record["ground_truth"] = dict(who)
        self.node.user_properties.append(("ground_truth", who["name"]))
        if tolerance is not None:
            self.record.setdefault("tolerance", tolerance)
        title = f"the ground truth {who['name']}"
        expected = named_outputs(definition, result, title)
        if all(value is None for value in expected.values()):
            raise AssertionError(f"{title} gave no output: nothing was compared")
        figures = self.record["outputs"] = {}
        problems = []
        for name, value in expected.items():
            if value is None:
                self.record.setdefault("not_compared", []).append(name)
                continue
            actual = outputs[name]
            if not isinstance(actual, torch.Tensor) or not isinstance(value, torch.Tensor):
                raise AssertionError(f"{title} gives a {type(value).__name__} for {name}")
            if value.shape != actual.shape:
                raise AssertionError(
                    f"{name} has shape {list(actual.shape)}, {title} gives {list(value.shape)}"
                )
            floating = actual.dtype.is_floating_point
            if floating != value.dtype.is_floating_point or _precision(value.dtype) > _precision(
                actual.dtype
            ):
                raise AssertionError(f"{title} gives {name} as {value.dtype}, not {actual.dtype}")
            figures[name] = {"elements": actual.numel()}
            try:
                self.compare_output(definition, name, actual, value.to(actual.device), tolerance)
            except AssertionError as error:
                problems.append(str(error))
        if problems:
            first = f"{self.subject.name}, case {self.case['id']}: differs from {title}"
            raise AssertionError("\n".join([first, *problems]))

    def compare_output(
        self,
        definition: Mapping[str, Any],
        name: str,
        actual: torch.Tensor,
        expected: torch.Tensor,
        tolerance: float | None,
    ) -> None:
        """Assert that one output is within tolerance, or what the template's `compare` asserts."""
        __tracebackhide__ = True
        module = self.subject.module
        override = tolerance if self.tolerance is None else self.tolerance
        rtol, atol, ratio = tolerance_of(definition, name, module, override)

        def check(actual: torch.Tensor, expected: torch.Tensor) -> None:
            __tracebackhide__ = True
            comparison = compare_tensors(actual, expected, rtol, atol, ratio)
            self.record["outputs"][name] = comparison.figures
            if not comparison.inside:
                raise AssertionError(f"output {name}:\n{comparison.text}")

        if hasattr(module, "compare"):
            module.compare(self.definition, self.case, name, actual, expected, check)
        else:
            check(actual, expected)


class PropertyCheck(_Test):
    """One definition, one case and one property."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.case: dict[str, Any] = copy.deepcopy(request.param[1])
        self.function: Callable[..., None] = request.param[2]
        name = self.function.__name__
        super().__init__(request, "property", case=self.case["id"], property=name)

    def check(self) -> None:
        """Let the property assert what it has to."""
        __tracebackhide__ = True
        run = load_run(self.definition)
        with torch.no_grad():
            result: object = self.function(
                run, self.definition, self.case, self.device, self.generator(self.case)
            )
        if result is not None:
            raise AssertionError(
                f"{self.function.__name__} returned {result!r}; a property asserts and returns "
                "nothing"
            )


@pytest.fixture
def definition_file(request: pytest.FixtureRequest) -> DefinitionFile:
    """The file of a definition, to be checked."""
    return DefinitionFile(request, "definition")


@pytest.fixture
def agreement(request: pytest.FixtureRequest) -> Iterator[Agreement]:
    """A definition and a case, to be compared with a ground truth."""
    test = Agreement(request)
    yield test
    if test.device.type == "cuda":
        torch.cuda.empty_cache()  # the next definition may need all of the GPU's memory


@pytest.fixture
def property_check(request: pytest.FixtureRequest) -> PropertyCheck:
    """A definition, a case and a property, to be checked."""
    return PropertyCheck(request)


# --- reports and evidence ------------------------------------------------------------------------


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Say with `-v` which ground truth a reference agreed with."""
    if report.when == "call" and report.passed:
        for key, value in getattr(report, "user_properties", ()):
            if key == "ground_truth":
                return "passed", ".", f"PASSED (agrees with {value})"
    return None


def strongest_kind(run: Mapping[str, Any]) -> str | None:
    """The kind of the best ground truth in a run; None where nothing was compared."""
    kinds = [truth["kind"] for truth in run["ground_truths"]]
    return min(kinds, key=STRENGTH.index) if kinds else None


def merge_run(runs: Sequence[Mapping[str, Any]], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Evidence of a definition with one more run.

    Runs of another reference are dropped. A run replaces the one of the same device and the same
    kind of ground truth, except that one which was cut short does not replace a whole one.
    """

    def key(run: Mapping[str, Any]) -> tuple[str, str, str]:
        return run["device"]["type"], run["device"]["name"], strongest_kind(run) or ""

    kept = [dict(r) for r in runs if r["reference_sha256"] == new["reference_sha256"]]
    same = [r for r in kept if key(r) == key(new)]
    if new["result"] == "incomplete" and any(r["result"] != "incomplete" for r in same):
        return kept
    return sorted([*(r for r in kept if key(r) != key(new)), dict(new)], key=key)


class Recorder:
    """Collects what the tests say of each definition and writes it as evidence.

    Args:
        folder: Where `<definition>.json` files go; None for none.
        events: A file that gets a JSON line for every event, for who watches; None for none.
    """

    def __init__(self, folder: Path | None, events: Path | None) -> None:
        self.folder = folder
        self.events = events
        self.records: dict[str, list[dict[str, Any]]] = {}
        self.written: dict[str, int] = {}

    def event(self, **data: Any) -> None:
        """Append one line to the events."""
        if self.events is not None:
            with self.events.open("a", encoding="utf-8") as file:
                file.write(json.dumps(data) + "\n")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Say how many tests there are."""
        self.event(event="collected", total=len(session.items))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Say which module cannot be collected."""
        if report.failed:
            self.event(event="error", nodeid=report.nodeid, message=report.longreprtext)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Say which test runs, in case it takes the process with it."""
        self.event(event="start", nodeid=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test found."""
        decides = report.when == "call" or report.outcome != "passed"
        record = dict(report.user_properties).get("reference_test")
        if not decides or not isinstance(record, dict) or record["dataset"] != str(DATASET):
            return
        record = {**record, "result": report.outcome}
        if report.skipped:
            where = report.longrepr
            text = where[2] if isinstance(where, tuple) else str(where)
            record["reason"] = text.removeprefix("Skipped: ")
        elif report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            record["reason"] = (crash.message if crash else report.longreprtext)[:4000]
        self.event(event="test", nodeid=report.nodeid, record=record)
        own = self.records.setdefault(record["definition"], [])
        own.append(record)
        if len(own) == record["expected_tests"]:
            self.write(record["definition"])

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write what was cut short, too."""
        for name in sorted(self.records):
            if self.written.get(name) != len(self.records[name]):
                self.write(name)
        self.event(event="finished", exitstatus=int(exitstatus))

    def write(self, name: str) -> None:
        """Write the evidence of one definition, beside what is there already."""
        records = self.records[name]
        self.written[name] = len(records)
        # A definition that does not load has no reference that evidence could be about.
        if self.folder is None or records[0]["expected_tests"] is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.json"
        runs: list[dict[str, Any]] = []
        if path.exists():
            runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
        evidence = {
            "definition": name,
            "op_type": records[0]["op_type"],
            "runs": merge_run(runs, summarize(records)),
        }
        draft = path.with_name(f".{name}.{os.getpid()}.tmp")
        draft.write_text(json.dumps(evidence, indent=2, ensure_ascii=False) + "\n", "utf-8")
        draft.replace(path)


def summarize(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One run of a definition's tests, as evidence keeps it."""
    first = records[0]
    counts = {r: sum(x["result"] == r for x in records) for r in ("passed", "failed", "skipped")}
    cases: list[dict[str, Any]] = []
    properties: list[dict[str, Any]] = []
    truths: dict[str, dict[str, Any]] = {}
    for record in records:
        entry = {"case": record.get("case"), "result": record["result"]}
        if "reason" in record:
            entry["reason"] = record["reason"]
        if record["kind"] == "property":
            properties.append({"property": record["property"], **entry})
        elif record["kind"] == "agreement":
            for key in ("sizes", "tolerance", "outputs", "not_compared", "unavailable"):
                if record.get(key):
                    entry[key] = record[key]
            if "ground_truth" in record:
                truth = record["ground_truth"]
                entry["ground_truth"] = truth["name"]
                known = truths.setdefault(truth["name"], {**truth, "files": {}})
                known["files"].update(truth["files"])
            cases.append(entry)
    agreed = any(
        case["result"] == "passed"
        and any(output["elements"] for output in case.get("outputs", {}).values())
        for case in cases
    )
    if counts["failed"]:
        result = "failed"
    elif len(records) < first["expected_tests"]:
        result = "incomplete"
    else:
        result = "passed" if agreed else "skipped"
    for truth in truths.values():
        if not truth["files"]:
            del truth["files"]
    return {
        "reference_sha256": first["reference_sha256"],
        "result": result,
        "device": first["device"],
        "software": first["software"],
        "ground_truths": [truths[name] for name in sorted(truths)],
        "tests": counts,
        "cases": sorted(cases, key=lambda case: case["case"]),
        "properties": sorted(properties, key=lambda entry: (entry["case"], entry["property"])),
    }
