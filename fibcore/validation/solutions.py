"""Checks of the solution files of a dataset, whoever wrote them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from fibcore.dataset import BrokenFileError
from fibcore.dataset.files import read_text, relative
from fibcore.dataset.layout import SOLUTIONS, solution_file
from fibcore.model.definition import MAX_REFERENCE, Definition
from fibcore.model.json import decode
from fibcore.validation.problems import ValidationProblem, error

LANGUAGES = ("python", "triton", "cpp", "cuda", "tilelang")


def solution_files(root: Path) -> list[Path]:
    """The files of all solutions, sorted."""
    folder = root / SOLUTIONS
    return sorted(folder.rglob("*.json")) if folder.is_dir() else []


def check_solutions(
    root: Path, files: list[Path], definitions: Mapping[str, Definition]
) -> tuple[ValidationProblem, ...]:
    """Check solution files: their form, their place, their entry point, names that differ.

    Args:
        root: The dataset folder.
        files: The files to look at.
        definitions: All usable definitions of the dataset, by name.
    """
    problems: list[ValidationProblem] = []
    names: dict[str, str] = {}
    for file in files:
        path = relative(root, file)
        try:
            data = decode(read_text(root, file))
        except BrokenFileError as broken:
            problems.append(error(path, None, broken.message, broken.expected, broken.found))
            continue
        except ValueError as broken:
            problems.append(error(path, None, "not JSON", found=str(broken)))
            continue
        found = list(_check(path, data, definitions))
        problems += found
        if isinstance(data, dict) and isinstance(data.get("name"), str):
            first = names.setdefault(data["name"], path)
            if first != path:
                message = "another solution has this name"
                problems.append(error(path, "$.name", message, found=first))
    return tuple(problems)


def _check(
    path: str, data: Any, definitions: Mapping[str, Definition]
) -> Iterator[ValidationProblem]:
    if not isinstance(data, dict):
        yield error(path, "$", "a solution is a JSON object", found=type(data).__name__)
        return
    missing = [
        f"$.{key}"
        for key in ("name", "definition", "author")
        if not isinstance(data.get(key), str) or not data[key]
    ]
    spec, sources = data.get("spec"), data.get("sources")
    if not isinstance(spec, dict) or not isinstance(spec.get("entry_point"), str):
        missing.append("$.spec.entry_point")
    texts = _texts(sources)
    if texts is None:
        missing.append("$.sources")
    for place in missing:
        yield error(path, place, "missing or of another type")
    if missing or not isinstance(spec, dict) or texts is None:
        return
    if spec.get("language") not in LANGUAGES:
        found = repr(spec.get("language"))
        yield error(path, "$.spec.language", "unknown language", ", ".join(LANGUAGES), found)
    definition = definitions.get(data["definition"])
    if definition is None:
        yield error(path, "$.definition", "no such definition", found=data["definition"])
        return
    wanted = solution_file(data["author"], definition, data["name"])
    if path != wanted:
        yield error(path, None, "not where its fields say", expected=wanted)
    yield from _entry(path, spec, texts, definition)


def _texts(sources: object) -> dict[str, str] | None:
    """Path to text of the source files; None where they are not in the format."""
    if not isinstance(sources, list) or not sources:
        return None
    found = {}
    for source in sources:
        if not isinstance(source, dict):
            return None
        name, text = source.get("path"), source.get("content")
        if not isinstance(name, str) or not isinstance(text, str) or not (name and text):
            return None
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or name in found:
            return None
        found[name] = text
    return found


def _entry(
    path: str, spec: Mapping[str, Any], texts: Mapping[str, str], definition: Definition
) -> Iterator[ValidationProblem]:
    """Whether the entry point is there, and takes what the definition gives."""
    place = "$.spec.entry_point"
    file, separator, function = spec["entry_point"].partition("::")
    if not separator or file not in texts:
        expected = " or ".join(f"{name}::run" for name in texts)
        yield error(path, place, "no such source file", expected, spec["entry_point"])
        return
    if spec.get("language") != "python":
        return
    if len(texts[file]) > MAX_REFERENCE:
        found = f"{len(texts[file])} characters"
        yield error(path, f"$.sources {file}", "too long", f"at most {MAX_REFERENCE}", found)
        return
    try:
        module = ast.parse(texts[file])
    except (SyntaxError, ValueError, RecursionError, MemoryError) as broken:
        yield error(path, f"$.sources {file}", "does not parse", found=str(broken))
        return
    defined = [n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == function]
    if not defined:
        return  # it may be imported or assigned
    args = defined[-1].args
    # flashinfer-bench hands outputs over too unless this says no; the default is yes.
    handed = [*definition.inputs]
    if spec.get("destination_passing_style", True):
        handed += definition.outputs
    have = [a.arg for a in (*args.posonlyargs, *args.args)]
    if args.vararg is None and len(have) != len(handed):
        yield error(
            path,
            f"$.sources {file}",
            f"{function} takes another number of parameters",
            ", ".join(handed),
            ", ".join(have) or "none",
        )
