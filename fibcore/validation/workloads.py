"""Checks of the workload files of a dataset, whoever wrote them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.dataset import BrokenFileError
from fibcore.dataset.files import below, lines, read_text, relative
from fibcore.dataset.layout import WORKLOADS, workload_file
from fibcore.errors import DatasetError
from fibcore.extras import need
from fibcore.model.definition import Definition, TensorSpec
from fibcore.model.dtypes import TABLE
from fibcore.model.json import decode
from fibcore.model.shapes import shape_of
from fibcore.regular_files import MAX_LINES_BYTES
from fibcore.validation.constraints import broken_constraints, can_be_evaluated, names_in
from fibcore.validation.problems import ValidationProblem, error, warning

_KINDS = ("random", "scalar", "safetensors")


@attrs.frozen
class CheckedWorkloads:
    """The result of checking workload files.

    Attributes:
        count: Lines that were looked at.
        problems: What is wrong.
    """

    count: int
    problems: tuple[ValidationProblem, ...]


class _Wrong(Exception):
    """A rule that a line breaks."""

    def __init__(
        self, place: str, message: str, expected: str | None = None, found: str | None = None
    ) -> None:
        super().__init__(message)
        self.place = place
        self.expected = expected
        self.found = found


def check_workloads(root: Path, definitions: Mapping[str, Definition]) -> CheckedWorkloads:
    """Check `workloads/<op_type>/<name>.jsonl` of some definitions.

    Every line is a workload of its file's definition: it has a size for each var axis, its inputs
    are the definition's, its tensors are there with the right shape and dtype, and constraints hold
    as far as sizes and tensors show. No two workloads of the files have one uuid.

    Args:
        root: The dataset folder.
        definitions: The definitions whose workloads to check, by name.
    """
    count = 0
    problems: list[ValidationProblem] = []
    seen: dict[str, str] = {}
    for definition in definitions.values():
        file = root / workload_file(definition)
        if not file.exists():
            continue
        path = relative(root, file)
        try:
            text = read_text(root, file, MAX_LINES_BYTES)
        except BrokenFileError as broken:
            problems.append(error(path, None, broken.message, broken.expected, broken.found))
            continue
        for number, line in lines(text):
            count += 1
            place = f"line {number}"
            try:
                workload = _workload(line, definition)
                problems += _content(root, path, place, workload, definition)
            except _Wrong as wrong:
                where = f"{place} {wrong.place}".rstrip()
                problems.append(error(path, where, str(wrong), wrong.expected, wrong.found))
                continue
            first = seen.setdefault(workload["uuid"], f"{path} {place}")
            if first != f"{path} {place}":
                message = "another workload has this uuid"
                problems.append(error(path, f"{place} $.workload.uuid", message, found=first))
    return CheckedWorkloads(count, tuple(problems))


def ownerless_files(
    root: Path, definitions: Mapping[str, Definition]
) -> Iterator[ValidationProblem]:
    """Find workload files that belong to no definition.

    Args:
        root: The dataset folder.
        definitions: All usable definitions of the dataset, by name.
    """
    known = {workload_file(definition) for definition in definitions.values()}
    folder = root / WORKLOADS
    for file in sorted(folder.rglob("*.jsonl")) if folder.is_dir() else ():
        path = relative(root, file)
        if path not in known:
            yield error(
                path,
                None,
                "no usable definition belongs to this file",
                expected="workloads/<op_type>/<name>.jsonl of a definition",
            )


def _workload(line: str, definition: Definition) -> dict[str, Any]:
    """The workload of a line, whose form is right."""
    try:
        data = decode(line)
    except ValueError as broken:
        raise _Wrong("", "not JSON", found=str(broken)) from None
    if not isinstance(data, dict) or not isinstance(data.get("workload"), dict):
        raise _Wrong("$", "not a workload", "an object with definition and workload")
    if data.get("definition") != definition.name:
        raise _Wrong(
            "$.definition",
            "the file and the field definition disagree",
            definition.name,
            repr(data.get("definition")),
        )
    for key in ("solution", "evaluation"):
        if data.get(key) is not None:
            raise _Wrong(f"$.{key}", "a workload has none; traces have", "null")
    workload: dict[str, Any] = data["workload"]
    for key, kind in (("axes", dict), ("inputs", dict), ("uuid", str)):
        if not isinstance(workload.get(key), kind) or not (kind is dict or workload[key]):
            raise _Wrong(f"$.workload.{key}", "missing or of another type", kind.__name__)
    return workload


def _content(
    root: Path, path: str, place: str, workload: dict[str, Any], definition: Definition
) -> list[ValidationProblem]:
    """Check sizes and inputs, and constraints where those are right."""
    axes, inputs = workload["axes"], workload["inputs"]
    if set(axes) - set(definition.const_axes) != set(definition.var_axes):
        wanted = ", ".join(definition.var_axes) or "none"
        raise _Wrong("$.workload.axes", "not the var axes", wanted, ", ".join(axes) or "none")
    for name, size in axes.items():
        if type(size) is not int or size < 1:
            raise _Wrong(f"$.workload.axes.{name}", "no size", "a positive number", repr(size))
        if definition.const_axes.get(name, size) != size:
            fixed = str(definition.const_axes[name])
            raise _Wrong(f"$.workload.axes.{name}", "a const axis", fixed, str(size))
    values: dict[str, Any] = dict(axes)
    needed = {
        name
        for constraint in definition.constraints
        if can_be_evaluated(constraint)
        for name in names_in(constraint)
    }
    found = []
    absent = [name for name in definition.inputs if name not in inputs]
    if absent:
        at = f"{place} $.workload.inputs"
        found.append(error(path, at, "an input is missing", ", ".join(absent)))
    for name, spec in definition.inputs.items():
        if spec.shape is not None and _may_count(spec.dtype) and _random(inputs.get(name)):
            message = "random integers are hardly ever valid offsets or indices"
            at = f"{place} $.workload.inputs.{name}"
            found.append(warning(path, at, message, "safetensors"))
    for name, given in inputs.items():
        where = f"$.workload.inputs.{name}"
        try:
            if name not in definition.inputs:
                have = ", ".join(definition.inputs)
                raise _Wrong(where, "the definition has no such input", have)
            spec = definition.inputs[name]
            shape = shape_of(spec, definition, axes)
            value = _input(root, where, given, spec, shape, read=name in needed)
            if value is not None:
                values[name] = value
        except _Wrong as wrong:
            at = f"{place} {wrong.place}"
            found.append(error(path, at, str(wrong), wrong.expected, wrong.found))
    if not any(problem.severity == "error" for problem in found):
        found += [
            error(path, place, "a constraint does not hold", expected=constraint, found=reason)
            for constraint, reason in broken_constraints(definition, values).items()
        ]
    return found


def _may_count(dtype: str) -> bool:
    """Whether offsets and indices can have a dtype; int8 holds values, or packed ones."""
    return TABLE[dtype].kind == "int" and TABLE[dtype].bits > 8


def _random(given: object) -> bool:
    """Whether the benchmark draws an input; it does so too where a workload does not name it."""
    return given is None or (isinstance(given, dict) and given.get("type") == "random")


def _input(
    root: Path,
    where: str,
    given: object,
    spec: TensorSpec,
    shape: tuple[int, ...] | None,
    *,
    read: bool,
) -> Any:
    """The value of an input; None where it is random or need not be read."""
    if not isinstance(given, dict) or given.get("type") not in _KINDS:
        raise _Wrong(where, "unknown kind of input", " or ".join(_KINDS), repr(given)[:100])
    if given["type"] == "random":
        return None
    if given["type"] == "scalar":
        value = given.get("value")
        if shape is not None or not isinstance(value, (bool, int, float)):
            wanted = "a number" if shape is None else "a tensor"
            raise _Wrong(where, "not what the definition has", wanted, repr(value)[:100])
        if TABLE[spec.dtype].kind == "int" and not isinstance(value, int):
            raise _Wrong(where, "not what the definition has", spec.dtype, repr(value))
        return value
    for key in ("path", "tensor_key"):
        if not isinstance(given.get(key), str) or not given[key]:
            raise _Wrong(f"{where}.{key}", "missing", "a string")
    return _tensor(root, where, given["path"], given["tensor_key"], spec, shape, read=read)


def _tensor(
    root: Path,
    where: str,
    path: str,
    key: str,
    spec: TensorSpec,
    shape: tuple[int, ...] | None,
    *,
    read: bool,
) -> Any:
    """Check a tensor's file against the definition; return its values where `read` asks for it."""
    need("bench", "tensors of workloads", "numpy", "safetensors")
    from safetensors import SafetensorError, safe_open

    try:
        file = below(root, path)
    except DatasetError as outside:
        raise _Wrong(f"{where}.path", outside.message, found=outside.found or path) from None
    if not file.is_file():
        raise _Wrong(f"{where}.path", "no such file", found=path)
    try:
        with safe_open(file, framework="numpy") as tensors:
            if key not in tensors.keys():  # noqa: SIM118 - it is no mapping
                have = ", ".join(tensors.keys())
                raise _Wrong(f"{where}.tensor_key", "the file has no such tensor", have, key)
            part = tensors.get_slice(key)
            have_shape, dtype = tuple(part.get_shape()), part.get_dtype()
            if have_shape != shape:
                wanted = "a scalar" if shape is None else str(list(shape))
                raise _Wrong(where, "another shape", wanted, str(list(have_shape)))
            tag = TABLE[spec.dtype].safetensors
            if dtype != tag:
                raise _Wrong(where, "another dtype", tag, str(dtype))
            return tensors.get_tensor(key) if read else None
    except (SafetensorError, OSError) as broken:
        raise _Wrong(f"{where}.path", "not a safetensors file", found=f"{path}: {broken}") from None
