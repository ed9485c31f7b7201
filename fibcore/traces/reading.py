"""What FlashInfer's tracing wrote: one JSON file a kernel, in a form near to the dataset's.

`FLASHINFER_TRACE_DUMP=1` makes FlashInfer write `<name>.json` into `FLASHINFER_TRACE_DUMP_DIR` when
a traced function is first called with a new set of constant sizes
(flashinfer-python 0.7.4, `flashinfer/api_logging.py` and `flashinfer/trace/template.py`). Files
are read as data; nothing in them is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.errors import TraceError
from fibcore.model.json import decode
from fibcore.regular_files import read_bytes

UNKNOWN = "unknown"
"""The dtype that tracing writes for a tensor that the traced call was not given."""

KNOWN_KEYS = frozenset(
    ("name", "description", "op_type", "tags", "axes", "constraints", "inputs", "outputs")
) | {"reference"}
"""Keys of a definition."""

TRACE_KEYS = ("check", "init")
"""Keys that tracing adds: how to compare outputs and how to make inputs, as source text."""


@attrs.frozen
class TracedTensor:
    """A tensor or scalar as the dump describes it.

    Attributes:
        shape: Axis names; None for a scalar.
        dtype: As in the dump, "unknown" included.
        optional: Whether the traced function can be called without it.
        description: For people.
    """

    shape: tuple[str, ...] | None
    dtype: str
    optional: bool = False
    description: str | None = None


@attrs.frozen(eq=False)
class TraceFile:
    """One file of a dump, whose parts have the right types; nothing else is checked.

    Attributes:
        file: Path below the dump's folder, with forward slashes.
        sha256: Of the file's bytes.
        name: The kernel's name.
        op_type: FlashInfer's op type.
        description: For people.
        tags: As in the dump.
        axes: Axis name to ("const" or "var", value or None, description).
        inputs: Input name to tensor.
        outputs: Output name to tensor.
        constraints: As in the dump.
        reference: Source text; None where the dump has none.
        extra: Keys that a definition does not have, with the place of each.
    """

    file: str
    sha256: str
    name: str
    op_type: str
    description: str | None
    tags: tuple[str, ...]
    axes: Mapping[str, tuple[str, int | None, str | None]]
    inputs: Mapping[str, TracedTensor]
    outputs: Mapping[str, TracedTensor]
    constraints: tuple[str, ...]
    reference: str | None
    extra: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """The values of const axes that have one."""
        return {name: value for name, (_, value, _) in self.axes.items() if value is not None}

    def tag_values(self, category: str) -> tuple[str, ...]:
        """The values of the tags of one category."""
        prefix = category + ":"
        return tuple(tag[len(prefix) :] for tag in self.tags if tag.startswith(prefix))


@attrs.frozen
class Trace:
    """A dump.

    Attributes:
        root: Its folder, or its one file.
        files: The files that can be read, by path.
        broken: One error for each of the others.
    """

    root: Path
    files: tuple[TraceFile, ...]
    broken: tuple[TraceError, ...]


def read_trace(path: str | Path) -> Trace:
    """Read a folder of dumps with all folders below it (one a rank, for instance), or one file.

    Raises:
        TraceError: there is no such folder, or no JSON file in it.
    """
    root = Path(path)
    if root.is_file():
        paths = [root]
    elif root.is_dir():
        paths = sorted(
            p
            for p in root.rglob("*.json")
            if not any(part.startswith(".") for part in p.relative_to(root).parts) and p.is_file()
        )
    else:
        raise TraceError("there is no such file or folder", where=str(root))
    if not paths:
        raise TraceError(
            "no dump",
            where=str(root),
            expected="the files <name>.json that FlashInfer's tracing writes",
            found="no JSON file",
            hint="run the workload with FLASHINFER_TRACE_DUMP=1 FLASHINFER_TRACE_DUMP_DIR=DIR",
        )
    files: list[TraceFile] = []
    broken: list[TraceError] = []
    for file in paths:
        name = file.name if root.is_file() else file.relative_to(root).as_posix()
        try:
            files.append(_read(file, name))
        except TraceError as error:
            broken.append(error)
    return Trace(root, tuple(files), tuple(broken))


def _read(path: Path, name: str) -> TraceFile:
    if name.encode(errors="replace") != name.encode(errors="surrogateescape"):
        raise TraceError("the file's name is not UTF-8", where=ascii(name)[1:-1])
    try:
        raw = read_bytes(path)
    except OSError as error:
        found = error.strerror or str(error)
        raise TraceError("cannot read the file", where=name, found=found) from None
    try:
        data = decode(raw, strict=True)
    except json.JSONDecodeError as error:
        raise TraceError(
            "not JSON",
            where=f"{name} line {error.lineno} column {error.colno}",
            found=error.msg,
            hint="a process that was ended while it wrote leaves such a file; trace again",
        ) from None
    except ValueError as error:  # not UTF-8, twice a key, beyond all measure
        raise TraceError("not JSON", where=name, found=str(error)) from None
    return _Reader(name, raw).file(data)


class _Reader:
    """Turns the JSON of one file into a `TraceFile`; errors name the place."""

    def __init__(self, name: str, raw: bytes) -> None:
        self.name = name
        self.raw = raw
        self.extra: list[str] = []

    def file(self, data: object) -> TraceFile:
        whole = self._object(data, "$")
        for key in ("name", "op_type", "axes", "inputs", "outputs"):
            if key not in whole:
                raise TraceError(
                    "not a trace of a kernel", where=self.name, expected=f"the key {key}"
                )
        self.extra += [f"$.{key}" for key in whole if key not in KNOWN_KEYS]
        description = self._text(whole.get("description"), "$.description", optional=True)
        return TraceFile(
            file=self.name,
            sha256=hashlib.sha256(self.raw).hexdigest(),
            name=self._text(whole["name"], "$.name") or "",
            op_type=self._text(whole["op_type"], "$.op_type") or "",
            description=description or None,
            tags=self._texts(whole.get("tags", []), "$.tags"),
            axes={
                name: self._axis(axis, f"$.axes.{name}")
                for name, axis in self._object(whole["axes"], "$.axes").items()
            },
            inputs=self._tensors(whole["inputs"], "$.inputs"),
            outputs=self._tensors(whole["outputs"], "$.outputs"),
            constraints=self._texts(whole.get("constraints", []), "$.constraints"),
            reference=self._text(whole.get("reference"), "$.reference", optional=True),
            extra=tuple(self.extra),
        )

    def _axis(self, value: object, place: str) -> tuple[str, int | None, str | None]:
        axis = self._object(value, place)
        self._only(axis, ("type", "value", "description"), place)
        kind = self._text(axis.get("type"), f"{place}.type")
        size = axis.get("value")
        if kind not in ("const", "var"):
            raise self._wrong(f"{place}.type", "const or var", kind)
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
            raise self._wrong(f"{place}.value", "an integer of at least 0", size)
        if size is not None and kind == "var":
            raise self._wrong(f"{place}.value", "no value for a var axis", size)
        said = self._text(axis.get("description"), f"{place}.description", optional=True)
        return kind, size, said or None

    def _tensors(self, value: object, place: str) -> dict[str, TracedTensor]:
        found = {}
        for name, entry in self._object(value, place).items():
            here = f"{place}.{name}"
            spec = self._object(entry, here)
            self._only(spec, ("shape", "dtype", "description", "optional"), here)
            shape = spec.get("shape")
            optional = spec.get("optional", False)
            if not isinstance(optional, bool):
                raise self._wrong(f"{here}.optional", "true or false", optional)
            said = self._text(spec.get("description"), f"{here}.description", optional=True)
            found[name] = TracedTensor(
                shape=None if shape is None else self._texts(shape, f"{here}.shape"),
                dtype=self._text(spec.get("dtype"), f"{here}.dtype") or "",
                optional=optional,
                description=said or None,
            )
        return found

    def _only(self, data: Mapping[str, Any], keys: tuple[str, ...], place: str) -> None:
        self.extra += [f"{place}.{key}" for key in data if key not in keys]

    def _object(self, value: object, place: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(place, "an object", value)
        return value

    def _texts(self, value: object, place: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(place, "a list of strings", value)
        return tuple(value)

    def _text(self, value: object, place: str, *, optional: bool = False) -> str | None:
        if value is None and optional:
            return None
        if not isinstance(value, str):
            raise self._wrong(place, "a string", value)
        return value

    def _wrong(self, place: str, expected: str, found: object) -> TraceError:
        return TraceError(
            "not as FlashInfer writes it",
            where=f"{self.name} {place}",
            expected=expected,
            found=repr(found)[:80],
        )
