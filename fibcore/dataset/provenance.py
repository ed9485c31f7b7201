"""Where a definition's numbers come from: `reports/provenance/<name>.json`.

One file a definition. Every model, with every way it is served, has an entry of its own that a
later run replaces; docs/provenance.md describes the format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.dataset.files import BrokenFileError, below, read_text, relative, write_text
from fibcore.errors import ServingError
from fibcore.model.definition import Definition
from fibcore.model.kernel import Fact, Scalar, Use
from fibcore.model.layer_paths import expand_paths, group_uses
from fibcore.model.serving import Serving
from fibcore.model.tree import SourcePlace

SCHEMA_VERSION = 1
FOLDER = "reports/provenance"


@attrs.frozen
class ProvenanceEntry:
    """Why one model, served in one way, needs a kernel.

    Attributes:
        model: Model slug.
        hub_id: Where the config comes from; None for a config file.
        architecture: The architecture class.
        serving: The parallel sizes, and of the options those that are to be recorded
            (`DeclaredOptions.recorded`).
        source_version: Version or commit of the SGLang source.
        facts: Every const axis by name, and other constants of the kernel.
        uses: The layers that run it.
        kernel: The name that the plugin gave the kernel, which is the definition's unless the
            dataset has the kernel under another one.
    """

    model: str
    hub_id: str | None
    architecture: str
    serving: Serving
    source_version: str | None
    facts: Mapping[str, Fact]
    uses: tuple[Use, ...]
    kernel: str | None = None


@attrs.frozen
class ImportEntry:
    """The file of another tool that a definition was imported from.

    Attributes:
        tool: What wrote the file: "flashinfer.trace".
        file: Its path below the folder that was imported.
        sha256: Of its bytes; the same file imported again is the same entry.
        fi_apis: The FlashInfer functions that were traced.
        model: Model slug that the import was told; None where none was.
        repairs: What was wrong in the file and was repaired, one sentence each.
        kernel: The name in the file, which is the definition's unless the dataset has the kernel
            under another one.
    """

    tool: str
    file: str
    sha256: str
    fi_apis: tuple[str, ...] = ()
    model: str | None = None
    repairs: tuple[str, ...] = ()
    kernel: str | None = None


@attrs.frozen
class ConstantDifference:
    """A constant that is no axis and in which models that share a definition differ (an epsilon).

    Attributes:
        name: Its name.
        values: (value, models that have it), in the order of model names.
    """

    name: str
    values: tuple[tuple[Scalar, tuple[str, ...]], ...]

    def __str__(self) -> str:
        sides = (f"{value!r} for {', '.join(models)}" for value, models in self.values)
        return f"{self.name} is " + ", ".join(sides)


@attrs.frozen
class Provenance:
    """All that is recorded about one definition.

    Attributes:
        name: The definition's name.
        op_type: Its op type.
        entries: By model, then by how it is served.
        differing: Constants in which the models differ; the definition has the first one's.
        imports: Files of other tools that have the definition.
    """

    name: str
    op_type: str
    entries: tuple[ProvenanceEntry, ...]
    differing: tuple[ConstantDifference, ...] = ()
    imports: tuple[ImportEntry, ...] = ()


@attrs.frozen
class Record:
    """A provenance file as it is to be written.

    Attributes:
        path: The file.
        text: What it is to hold.
        differing: Constants in which the models differ.
    """

    path: Path
    text: str
    differing: tuple[ConstantDifference, ...]


def path_of(root: Path, name: str) -> Path:
    """The provenance file of the definition `name` in the dataset at `root`.

    Raises:
        DatasetError: the name leads out of the dataset.
    """
    return below(root, f"{FOLDER}/{name}.json")


def read_provenance(root: Path, name: str) -> Provenance | None:
    """What is recorded about the definition `name`; None where nothing is.

    Raises:
        BrokenFileError: the file is not one that fibcore wrote.
    """
    path = path_of(root, name)
    data = _read(root, path)
    return None if data is None else _from_data(root, path, data)


def write_provenance(
    root: Path, definition: Definition, entry: ProvenanceEntry | ImportEntry
) -> bool:
    """Record `entry` for `definition`, in the place of an earlier one of that model and serving.

    Returns:
        Whether the file changed.

    Raises:
        DatasetError: the file cannot be written, or the one that is there is broken.
    """
    record = with_entry(root, definition, entry)
    return write_text(root, record.path, record.text)


def with_entry(root: Path, definition: Definition, entry: ProvenanceEntry | ImportEntry) -> Record:
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
        new = _entry_to_data(entry, definition)
        key = _entry_key(entry, definition)
        if known.get(key, new).get("serving") != new["serving"]:
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
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    return Record(path, text, _from_data(root, path, data).differing)


def _from_data(root: Path, path: Path, data: Mapping[str, Any]) -> Provenance:
    try:
        entries = tuple(
            _entry_from_data(model, entry)
            for model, servings in data["models"].items()
            for entry in servings.values()
        )
        imports = tuple(_import_from_data(entry) for entry in data.get("imports", ()))
        return Provenance(data["name"], data["op_type"], entries, _differing(entries), imports)
    except (KeyError, TypeError, ValueError, AttributeError, ServingError) as error:
        raise _not_ours(root, path, f"{type(error).__name__}: {error}") from error


def _differing(entries: Iterable[ProvenanceEntry]) -> tuple[ConstantDifference, ...]:
    """Constants of several values; never an axis, whose size makes the definition."""
    sides: dict[str, dict[Scalar, dict[str, None]]] = {}
    for entry in entries:
        for name, proof in entry.facts.items():
            sides.setdefault(name, {}).setdefault(proof.value, {})[entry.model] = None
    return tuple(
        ConstantDifference(name, tuple((v, tuple(models)) for v, models in values.items()))
        for name, values in sorted(sides.items())
        if len(values) > 1
    )


def _read(root: Path, path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    text = read_text(root, path)
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise _not_ours(root, path, f"{error.msg} at {place}") from None
    except (ValueError, RecursionError) as error:
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
    # One model may need the kernel under two names, of which the dataset has one.
    if entry.kernel not in (None, definition.name):
        key += f":{entry.kernel}"
    return key


def _numeric(item: tuple[str, object]) -> list[tuple[int, str]]:
    """Sorts tp8 before tp16."""
    return [(int(n), word) for word, n in re.findall(r"([^0-9]*)([0-9]+)", item[0])] + [
        (0, item[0])
    ]


def _entry_to_data(entry: ProvenanceEntry, definition: Definition) -> dict[str, Any]:
    options = dict(sorted(entry.serving.options.items()))
    data: dict[str, Any] = {
        "hub_id": entry.hub_id,
        "architecture": entry.architecture,
        "serving": {"tp": entry.serving.tp, "ep": entry.serving.ep, **options},
        "source": {"name": "sglang", "version": entry.source_version},
    }
    if entry.kernel is not None and entry.kernel != definition.name:
        data["kernel"] = entry.kernel
    axes = [name for name in definition.const_axes if name in entry.facts]
    others = sorted(set(entry.facts) - set(axes))
    data["constants"] = {
        name: _fact_to_data(entry.facts[name], name in definition.const_axes)
        for name in (*axes, *others)
    }
    groups = group_uses(entry.uses)
    data["layers"] = {
        "count": sum(len(expand_paths(paths)) for paths, _, _ in groups),
        "uses": [
            {"paths": paths, "class": cls, "place": str(place)} for paths, cls, place in groups
        ],
    }
    return data


def _fact_to_data(proof: Fact, axis: bool) -> dict[str, Any]:
    data: dict[str, Any] = {
        "value": proof.value,
        "axis": axis,
        "origins": list(proof.origins),
        "place": str(proof.place),
    }
    if proof.note:
        data["note"] = proof.note
    return data


def _entry_from_data(model: str, data: Mapping[str, Any]) -> ProvenanceEntry:
    options = dict(data["serving"])
    tp, ep = options.pop("tp"), options.pop("ep")
    facts = {
        name: Fact(
            constant["value"],
            tuple(constant["origins"]),
            _place(constant["place"]),
            constant.get("note", ""),
        )
        for name, constant in data["constants"].items()
    }
    uses = tuple(
        Use(path, use["class"], _place(use["place"]))
        for use in data["layers"]["uses"]
        for path in expand_paths(use["paths"])
    )
    return ProvenanceEntry(
        model=model,
        hub_id=data["hub_id"],
        architecture=data["architecture"],
        serving=Serving(tp=tp, ep=ep, options=options),
        source_version=data["source"]["version"],
        facts=facts,
        uses=uses,
        kernel=data.get("kernel"),
    )


def _with_import(
    imports: list[dict[str, Any]], entry: ImportEntry, definition: Definition
) -> list[dict[str, Any]]:
    """The imports with one more, unless the same file was imported for the same model before."""
    data: dict[str, Any] = {"tool": entry.tool, "file": entry.file, "sha256": entry.sha256}
    data["fi_apis"] = list(entry.fi_apis)
    if entry.model is not None:
        data["model"] = entry.model
    if entry.kernel is not None and entry.kernel != definition.name:
        data["kernel"] = entry.kernel
    data["repairs"] = list(entry.repairs)

    def key(item: Mapping[str, Any]) -> tuple[str, str, str]:
        return (str(item.get("tool")), str(item.get("sha256")), str(item.get("model", "")))

    if any(key(known) == key(data) for known in imports):
        return imports
    return sorted([*imports, data], key=lambda item: (str(item.get("file")), *key(item)))


def _import_from_data(data: Mapping[str, Any]) -> ImportEntry:
    return ImportEntry(
        tool=data["tool"],
        file=data["file"],
        sha256=data["sha256"],
        fi_apis=tuple(data["fi_apis"]),
        model=data.get("model"),
        repairs=tuple(data["repairs"]),
        kernel=data.get("kernel"),
    )


def _place(text: str) -> SourcePlace:
    file, _, line = text.rpartition(":")
    return SourcePlace(file, int(line))
