"""The files `reports/provenance/<name>.json`, one a definition.

Every model, with every way it is served, has an entry of its own that a later run replaces;
docs/provenance.md describes the format, which the classes here spell out key by key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.dataset.files import BrokenFileError, below, read_text, relative, write_text
from fibcore.dataset.layout import provenance_file
from fibcore.dataset.provenance import (
    ConstantDifference,
    ImportEntry,
    Provenance,
    ProvenanceEntry,
    differing_constants,
)
from fibcore.errors import ServingError
from fibcore.model.definition import Definition
from fibcore.model.forms import DataError
from fibcore.model.json import configure, decode, from_data, to_data, to_text
from fibcore.model.kernel import Fact, Scalar, Use
from fibcore.model.launch import DEFAULT_GPU, Launch
from fibcore.model.layer_paths import count_paths, expand_paths, group_uses
from fibcore.model.options import OptionValue
from fibcore.model.serving import Serving
from fibcore.model.tree import SourcePlace

SCHEMA_VERSION = 1
MAX_PATHS_OF_A_FILE = 1_000_000


@attrs.frozen
class ProvenanceFile:
    """A provenance file before it is written.

    Attributes:
        path: The file.
        text: Its text.
        differing: Constants in which the models differ.
    """

    path: Path
    text: str
    differing: tuple[ConstantDifference, ...]


@attrs.frozen
class _Source:
    name: str
    version: str | None


@attrs.frozen
class _Constant:
    value: Scalar
    axis: bool
    origins: tuple[str, ...]
    place: SourcePlace
    note: str = ""


@attrs.frozen
class _Uses:
    paths: str
    cls: str
    place: SourcePlace


@attrs.frozen
class _Layers:
    count: int
    uses: tuple[_Uses, ...]


@attrs.frozen(kw_only=True)
class _Entry:
    """One model, served in one way."""

    hub_id: str | None
    architecture: str
    serving: Mapping[str, OptionValue]
    source: _Source
    kernel: str | None = None
    constants: Mapping[str, _Constant]
    layers: _Layers


@attrs.frozen(kw_only=True)
class _Import:
    tool: str
    file: str
    sha256: str
    fi_apis: tuple[str, ...]
    model: str | None = None
    kernel: str | None = None
    repairs: tuple[str, ...]


@attrs.frozen(kw_only=True)
class _Document:
    schema_version: int
    name: str
    op_type: str
    models: Mapping[str, Mapping[str, _Entry]]
    imports: tuple[_Import, ...] = ()


configure(_Constant, optional=("note",))
configure(_Entry, optional=("kernel",))
configure(_Import, optional=("model", "kernel"))
configure(_Uses, renamed={"cls": "class"})


def path_of(root: Path, name: str) -> Path:
    """The provenance file of the definition `name` in the dataset at `root`.

    Raises:
        DatasetError: the name leads out of the dataset.
    """
    return below(root, provenance_file(name))


def read_provenance(root: Path, name: str) -> Provenance | None:
    """Read the provenance of the definition `name`; None where there is none.

    Raises:
        BrokenFileError: the file is not one that fibcore wrote.
    """
    path = path_of(root, name)
    data = _read(root, path)
    return None if data is None else _from_document(root, path, data)


def write_provenance(
    root: Path, definition: Definition, entry: ProvenanceEntry | ImportEntry
) -> bool:
    """Record `entry` for `definition`, in the place of an earlier one of that model and serving.

    Returns:
        Whether the file changed.

    Raises:
        DatasetError: the file cannot be written, or the one that is there is broken.
    """
    file = with_entry(root, definition, entry)
    return write_text(root, file.path, file.text)


def with_entry(
    root: Path, definition: Definition, entry: ProvenanceEntry | ImportEntry
) -> ProvenanceFile:
    """The file of `definition` once `entry` is recorded; writes nothing.

    Raises:
        BrokenFileError: the file that is there is broken.
    """
    path = path_of(root, definition.name)
    data = _read(root, path) or {}
    models = data.get("models", {})
    if not isinstance(models, dict) or not all(isinstance(m, dict) for m in models.values()):
        raise _not_ours(root, path, "models is not an object of objects")
    imports = data.get("imports", [])
    if not isinstance(imports, list) or not all(isinstance(i, dict) for i in imports):
        raise _not_ours(root, path, "imports is not a list of objects")
    if isinstance(entry, ImportEntry):
        imports = _with_import(imports, entry, definition)
    else:
        known = models.setdefault(entry.model, {})
        new = to_data(_from_entry(entry, definition))
        key = _entry_key(entry, definition)
        there = known.get(key)
        if isinstance(there, dict) and there.get("serving") != new["serving"]:
            # Another option has the same word.
            key = _entry_key(entry, definition, named=True)
        known[key] = new
    data = {
        "schema_version": SCHEMA_VERSION,
        "name": definition.name,
        "op_type": definition.op_type,
        "models": {m: dict(sorted(models[m].items(), key=_numeric)) for m in sorted(models)},
    }
    if imports:
        data["imports"] = imports
    return ProvenanceFile(path, to_text(data), _from_document(root, path, data).differing)


def _read(root: Path, path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    text = read_text(root, path)
    try:
        data = decode(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise _not_ours(root, path, f"{error.msg} at {place}") from None
    except ValueError as error:
        raise _not_ours(root, path, str(error)) from None
    if not isinstance(data, dict) or data.get("schema_version") != SCHEMA_VERSION:
        raise _not_ours(root, path, f"no object with schema_version {SCHEMA_VERSION}")
    return data


def _not_ours(root: Path, path: Path, found: str) -> BrokenFileError:
    return BrokenFileError(
        "not a provenance file that this fibcore wrote",
        path=relative(root, path),
        found=found,
        hint="remove it; extracting the models again writes it anew",
    )


def _entry_key(entry: ProvenanceEntry, definition: Definition, *, named: bool = False) -> str:
    key = f"tp{entry.serving.tp}-ep{entry.serving.ep}"
    for name, value in sorted(entry.serving.options.items()):
        key += f"-{name}={value}" if named else f"-{value}"
    if entry.serving.gpu != DEFAULT_GPU:
        key += f" {entry.serving.gpu}"
    if entry.serving.launch is not None and entry.serving.launch.line:
        key += f" {entry.serving.launch.line}"
    # One model may need the kernel under two names, of which the dataset has one.
    if entry.kernel not in (None, definition.name):
        key += f":{entry.kernel}"
    return key


def _numeric(item: tuple[str, object]) -> list[tuple[int, str]]:
    """Sorts tp8 before tp16."""
    return [(int(n), word) for word, n in re.findall(r"([^0-9]*)([0-9]+)", item[0])] + [
        (0, item[0])
    ]


def _from_document(root: Path, path: Path, data: Mapping[str, Any]) -> Provenance:
    try:
        document = from_data(_Document, data)
        _check_counts(document)
        entries = tuple(
            _to_entry(model, entry)
            for model, servings in document.models.items()
            for entry in servings.values()
        )
    except (DataError, ServingError, ValueError) as error:
        raise _not_ours(root, path, str(error)) from error
    imports = tuple(ImportEntry(**attrs.asdict(item)) for item in document.imports)
    differing = differing_constants(entries)
    return Provenance(document.name, document.op_type, entries, differing, imports)


def _check_counts(document: _Document) -> None:
    """Refuse patterns that stand for more paths than any models have, before they are expanded."""
    uses = [u for m in document.models.values() for e in m.values() for u in e.layers.uses]
    if sum(count_paths(u.paths) for u in uses) > MAX_PATHS_OF_A_FILE:
        raise ValueError(f"paths of more than {MAX_PATHS_OF_A_FILE} modules")


def _from_entry(entry: ProvenanceEntry, definition: Definition) -> _Entry:
    sizes = definition.const_axes
    axes = [name for name in sizes if name in entry.facts]
    others = sorted(set(entry.facts) - set(axes))
    groups = group_uses(entry.uses)
    count = sum(count_paths(paths) for paths, _, _ in groups)
    return _Entry(
        hub_id=entry.hub_id,
        architecture=entry.architecture,
        serving={
            "tp": entry.serving.tp,
            "ep": entry.serving.ep,
            **dict(sorted(entry.serving.options.items())),
            **_as_launched(entry.serving),
        },
        source=_Source("sglang", entry.source_version),
        kernel=_other_name(entry.kernel, definition),
        constants={
            name: _Constant(fact.value, name in sizes, fact.origins, fact.place, fact.note)
            for name, fact in ((name, entry.facts[name]) for name in (*axes, *others))
        },
        layers=_Layers(count, tuple(_Uses(*group) for group in groups)),
    )


def _as_launched(serving: Serving) -> dict[str, OptionValue]:
    """What else than sizes says how a model is served, where it is not the default."""
    found: dict[str, OptionValue] = {}
    if serving.gpu != DEFAULT_GPU:
        found["gpu"] = serving.gpu
    if serving.launch is not None and serving.launch.line:
        found["launch"] = serving.launch.line
    return found


def _to_entry(model: str, entry: _Entry) -> ProvenanceEntry:
    options = dict(entry.serving)
    sizes: dict[str, Any] = {name: options.pop(name, None) for name in ("tp", "ep")}
    sizes["gpu"] = options.pop("gpu", DEFAULT_GPU)
    line = options.pop("launch", None)
    sizes["launch"] = None if line is None else Launch(str(line))
    return ProvenanceEntry(
        model=model,
        hub_id=entry.hub_id,
        architecture=entry.architecture,
        serving=Serving(**sizes, options=options),
        source_version=entry.source.version,
        facts={
            name: Fact(constant.value, constant.origins, constant.place, constant.note)
            for name, constant in entry.constants.items()
        },
        uses=tuple(
            Use(path, uses.cls, uses.place)
            for uses in entry.layers.uses
            for path in expand_paths(uses.paths)
        ),
        kernel=entry.kernel,
    )


def _other_name(kernel: str | None, definition: Definition) -> str | None:
    """The kernel's own name where it is not the definition's."""
    return None if kernel == definition.name else kernel


def _with_import(
    imports: list[dict[str, Any]], entry: ImportEntry, definition: Definition
) -> list[dict[str, Any]]:
    """The imports with one more, unless the same file was imported for the same model before."""
    fields = attrs.asdict(entry, recurse=False)
    data = to_data(_Import(**{**fields, "kernel": _other_name(entry.kernel, definition)}))

    def key(item: Mapping[str, Any]) -> tuple[str, str, str]:
        return (str(item.get("tool")), str(item.get("sha256")), str(item.get("model", "")))

    if any(key(known) == key(data) for known in imports):
        return imports
    return sorted([*imports, data], key=lambda item: (str(item.get("file")), *key(item)))
