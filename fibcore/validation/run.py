"""Checks of a dataset folder: layout, schema, form, references, tags, duplicates.

Nothing of the dataset is executed, unless `execute` asks for it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from fibcore.dataset import Dataset
from fibcore.dataset.files import read_text, relative
from fibcore.errors import DatasetError, FibcoreError, PluginError, UsageError
from fibcore.model.definition import DTYPES, Definition
from fibcore.model.serving import STAGES
from fibcore.ops.checks import FILE_NAME
from fibcore.ops.registry import Registry, load_plugins
from fibcore.references.reading import REFERENCE_IMPORTS, foreign_imports, unasserted_axes
from fibcore.references.running import ReferenceRunner

Severity = Literal["error", "warning"]

TAG_CATEGORIES = ("ep", "fi_api", "model", "quantization", "stage", "status", "tp")
STATUSES = ("verified", "unverified")
WEIGHT_DTYPES = (*DTYPES, "int4", "uint4", "uint8")
"""What `quantization:` may name; wider than what a tensor of a definition may be."""

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


@attrs.frozen
class ValidationProblem:
    """Something that is wrong with a file of the dataset.

    Attributes:
        severity: "error" where the file breaks a rule of the format; "warning" where other tools
            will read it, but it is not as it should be.
        path: The file or folder, relative to the dataset.
        place: The place in it as JSON path or line; None for the whole file.
        message: What is wrong, as a sentence.
        expected: What would have been right.
        found: What was there instead.
    """

    severity: Severity
    path: str
    place: str | None
    message: str
    expected: str | None = None
    found: str | None = None

    def __str__(self) -> str:
        where = self.path if self.place is None else f"{self.path} {self.place}"
        text = f"{self.severity}: {where}: {self.message}"
        if self.expected is not None:
            text += f"\n  expected: {self.expected}"
        if self.found is not None:
            text += f"\n  found: {self.found}"
        return text


@attrs.frozen
class ValidationReport:
    """What `validate` found.

    Attributes:
        dataset: The folder.
        definitions: Number of definition files that were looked at, by op type.
        executed: Names of the definitions whose references ran.
        not_executed: Name to reason, where references were to run and this one could not.
        problems: All problems, by path.
        workloads: Number of workloads that were looked at.
        solutions: Number of solutions that were looked at.
    """

    dataset: Path
    definitions: Mapping[str, int]
    executed: tuple[str, ...]
    not_executed: Mapping[str, str]
    problems: tuple[ValidationProblem, ...]
    workloads: int = 0
    solutions: int = 0

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings do not count."""
        return not self.errors

    @property
    def errors(self) -> tuple[ValidationProblem, ...]:
        """The problems that break a rule."""
        return tuple(p for p in self.problems if p.severity == "error")

    @property
    def warnings(self) -> tuple[ValidationProblem, ...]:
        """The other problems."""
        return tuple(p for p in self.problems if p.severity == "warning")

    @property
    def counts(self) -> dict[str, int]:
        """How many definitions, workloads, solutions, executed references, errors and warnings."""
        return {
            "definitions": sum(self.definitions.values()),
            "workloads": self.workloads,
            "solutions": self.solutions,
            "executed": len(self.executed),
            "not_executed": len(self.not_executed),
            "errors": len(self.errors),
            "warnings": len(self.warnings),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "dataset": str(self.dataset),
            "ok": self.ok,
            "counts": self.counts,
            "definitions": dict(self.definitions),
            "executed": list(self.executed),
            "not_executed": dict(self.not_executed),
            "problems": [attrs.asdict(p) for p in self.problems],
        }


def validate(
    dataset: Path | str,
    *,
    execute: bool = False,
    op_type: Sequence[str] = (),
    definition_name: Sequence[str] = (),
    registry: Registry | None = None,
    timeout_s: float = 120.0,
) -> ValidationReport:
    """Check a dataset folder.

    Args:
        dataset: The folder that holds `definitions`.
        execute: Also run each reference on the smallest cases of its op type's test template, in
            a process of its own, and hold the outputs against the definition.
        op_type: Only these op types; all by default.
        definition_name: Only these definitions; all by default.
        registry: The plugins, which tell variants of a kernel apart and give test inputs; by
            default the installed ones.
        timeout_s: Seconds that a reference may take.

    Raises:
        DatasetError: the folder is not there or has no definitions.
        UsageError: no definition has one of the names or op types.
        FibcoreError: `execute` without torch.
    """
    root = Path(dataset)
    if not (root / "definitions").is_dir():
        raise DatasetError(
            "not a dataset folder",
            where=str(root),
            expected="a folder that holds the folder definitions",
            hint="fibcore clone-repos fetches or makes one",
        )
    plugins = registry if registry is not None else load_plugins()
    store = Dataset(root, variant=plugins.function_of)
    definitions, broken = store.read()
    wanted = _Wanted(op_type, definition_name)
    wanted.check(store, definitions, [e.path for e in broken])

    problems = [
        ValidationProblem("error", e.path, e.place, e.message, e.expected, e.found)
        for e in broken
        if wanted.path(e.path)
    ]
    problems += [p for p in _layout(root) if wanted.path(p.path)]
    problems += [p for p in _duplicates(store, definitions, plugins) if wanted.path(p.path)]
    chosen = [d for d in definitions if wanted.definition(d)]
    for definition in chosen:
        path = store.path(definition)
        text = read_text(root, path)
        problems += _check(definition, relative(root, path), text)
        problems += _contradictions(definition, relative(root, path), plugins)
    workloads, solutions, found = _benchmarking(root, definitions, wanted)
    problems += found
    executed: tuple[str, ...] = ()
    not_executed: dict[str, str] = {}
    if execute:
        executed, not_executed, found = _execute(store, chosen, plugins, timeout_s)
        problems += found
    looked_at = Counter(d.op_type for d in chosen)
    looked_at.update(Path(e.path).parent.name for e in broken if wanted.path(e.path))
    return ValidationReport(
        dataset=root,
        definitions=dict(sorted(looked_at.items())),
        executed=executed,
        not_executed=not_executed,
        problems=tuple(sorted(problems, key=lambda p: (p.path, p.severity))),
        workloads=workloads,
        solutions=solutions,
    )


@attrs.frozen
class _Wanted:
    """What part of the dataset to look at."""

    op_types: Sequence[str]
    names: Sequence[str]

    def definition(self, definition: Definition) -> bool:
        return self._fits(definition.op_type, definition.name)

    def path(self, path: str) -> bool:
        parts = path.split("/")
        if len(parts) < 3:  # definitions/op_type
            return not self.names and (not self.op_types or parts[-1] in self.op_types)
        return self._fits(parts[1], parts[2].removesuffix(".json"))

    def _fits(self, op_type: str, name: str) -> bool:
        return (not self.op_types or op_type in self.op_types) and (
            not self.names or name in self.names
        )

    def check(
        self, store: Dataset, definitions: Sequence[Definition], broken: Sequence[str]
    ) -> None:
        """Raise `UsageError` for a name that the dataset does not have."""
        paths = [relative(store.root, store.path(d)) for d in definitions] + list(broken)
        have = {
            "op type": {p.split("/")[1] for p in paths},
            "definition": {Path(p).name.removesuffix(".json") for p in paths},
        }
        for kind, names in (("op type", self.op_types), ("definition", self.names)):
            for name in names:
                if name not in have[kind]:
                    raise UsageError(
                        f"the dataset has no such {kind}",
                        where=str(store.root),
                        expected=_nearest(name, have[kind]),
                        found=repr(name),
                    )


def _nearest(name: str, known: set[str]) -> str | None:
    from rapidfuzz import process  # costs 40 ms, for an error message alone

    return ", ".join(match for match, _, _ in process.extract(name, sorted(known), limit=3)) or None


def _benchmarking(
    root: Path, definitions: Sequence[Definition], wanted: _Wanted
) -> tuple[int, int, list[ValidationProblem]]:
    """Numbers of workloads and solutions, and what is wrong with them."""
    from fibcore.validation.solutions import check_solutions, solution_files
    from fibcore.validation.workloads import check_workloads, strangers

    by_name = {d.name: d for d in definitions}
    checked = check_workloads(root, {n: d for n, d in by_name.items() if wanted.definition(d)})
    problems = list(checked.problems)
    if not (wanted.op_types or wanted.names):
        problems += strangers(root, by_name)
    files = [f for f in solution_files(root) if wanted.path(_definition_of(root, f))]
    problems += check_solutions(root, files, by_name)
    return checked.count, len(files), problems


def _definition_of(root: Path, solution: Path) -> str:
    """Where the definition of a solution is, as the solution's folders say."""
    parts = relative(root, solution).split("/")
    return "/".join(("definitions", *parts[2:4])) if len(parts) == 5 else "definitions/?/?"


def _layout(root: Path) -> Iterator[ValidationProblem]:
    """What lies in `definitions` and is no definition."""
    for folder in sorted((root / "definitions").iterdir()):
        name = relative(root, folder)
        if folder.name.startswith("."):
            continue
        if not folder.is_dir():
            message = "a file among the op types' folders, which no tool reads"
            yield ValidationProblem("warning", name, None, message)
            continue
        # A folder that cannot be read or leads elsewhere is an error of its own already.
        readable = not folder.is_symlink() and os.access(folder, os.R_OK | os.X_OK)
        for path in sorted(folder.iterdir()) if readable else ():
            if path.name.startswith("."):
                continue
            if path.is_dir():
                message = "a folder among the definitions of an op type, which no tool reads"
                yield ValidationProblem("warning", relative(root, path), None, message)
            elif path.suffix != ".json":
                message = "a file that is no definition"
                yield ValidationProblem(
                    "warning", relative(root, path), None, message, expected="<name>.json"
                )


def _duplicates(
    store: Dataset, definitions: Sequence[Definition], plugins: Registry
) -> Iterator[ValidationProblem]:
    """Definitions of one kernel under several names."""
    groups: dict[tuple[Any, ...], list[Definition]] = {}
    for definition in definitions:
        groups.setdefault(definition.structure(), []).append(definition)
    for group in groups.values():
        first: dict[str, Definition] = {}
        for definition in group if len(group) > 1 else ():
            path = relative(store.root, store.path(definition))
            try:
                variant = plugins.function_of(definition)
            except PluginError as error:
                yield ValidationProblem("error", path, None, error.message, found=error.found)
                continue
            kept = first.setdefault(variant, definition)
            if kept is not definition:
                message = "the dataset has this kernel under another name"
                yield ValidationProblem("warning", path, "$.name", message, found=kept.name)


def _check(definition: Definition, path: str, text: str) -> Iterator[ValidationProblem]:
    """The rules of one definition that its construction does not hold already."""
    for name, key in ((definition.name, "name"), (definition.op_type, "op_type")):
        if not FILE_NAME.fullmatch(name):
            message = "it cannot be a file name everywhere"
            yield ValidationProblem(
                "warning", path, f"$.{key}", message, "letters, digits, _ - + .", repr(name)
            )
    canonical = definition.to_json()
    if text != canonical:
        yield ValidationProblem(
            "warning",
            path,
            _first_difference(text, canonical),
            "not in canonical form",
            expected="the format's key order, tags sorted, UTF-8, 2-space indent, one newline at "
            "the end",
        )
    for finding in foreign_imports(definition.reference):
        yield ValidationProblem(
            "error",
            path,
            f"$.reference line {finding.line}",
            "the reference may need more than it should",
            expected="imports of " + ", ".join(sorted(REFERENCE_IMPORTS)) + " alone",
            found=finding.what,
        )
    missing = unasserted_axes(definition)
    if missing:
        yield ValidationProblem(
            "warning",
            path,
            "$.reference",
            "the reference does not seem to assert the size of const axes",
            found=", ".join(missing),
        )
    yield from _check_tags(definition, path)


def _contradictions(
    definition: Definition, path: str, plugins: Registry
) -> Iterator[ValidationProblem]:
    """Sizes that, as the op type's plugin knows, cannot go together."""
    try:
        found = plugins.identify(definition).contradictions
    except PluginError as error:
        yield ValidationProblem("error", path, None, error.message, found=error.found)
        return
    for text in found:
        message = "the sizes contradict each other"
        yield ValidationProblem("error", path, "$.axes", message, found=text)


def _first_difference(text: str, canonical: str) -> str:
    pairs = zip(text.split("\n"), canonical.split("\n"), strict=False)
    same = 0
    for have, want in pairs:
        if have != want:
            break
        same += 1
    return f"line {same + 1}"


def _check_tags(definition: Definition, path: str) -> Iterator[ValidationProblem]:
    def problem(
        severity: Severity, message: str, expected: str | None = None, found: str | None = None
    ) -> ValidationProblem:
        return ValidationProblem(severity, path, "$.tags", message, expected, found)

    for tag in definition.tags:
        category, _, value = tag.partition(":")
        if category not in TAG_CATEGORIES:
            yield problem("warning", "unknown category", ", ".join(TAG_CATEGORIES), tag)
        elif category in ("tp", "ep") and not re.fullmatch("[1-9][0-9]*", value):
            yield problem("error", "not a parallel size", f"{category}:8", tag)
        elif category == "stage" and value not in STAGES:
            yield problem("error", "unknown stage", " or ".join(STAGES), tag)
        elif category == "quantization" and value not in WEIGHT_DTYPES:
            yield problem("warning", "unknown dtype", ", ".join(WEIGHT_DTYPES), tag)
        elif category == "fi_api" and not _DOTTED.fullmatch(value):
            yield problem("warning", "not a qualified name", "flashinfer.norm.rmsnorm", tag)
        elif category == "model" and (value != value.strip() or " " in value):
            yield problem("warning", "not a model slug", "model:llama-3.1-8b", tag)
    statuses = definition.tag_values("status")
    allowed = " or ".join(f"status:{s}" for s in STATUSES)
    if not statuses:
        yield problem("warning", "no status", allowed, "none")
    elif len(statuses) > 1:
        yield problem("error", "more than one status", allowed, ", ".join(statuses))
    elif statuses[0] not in STATUSES:
        yield problem("error", "unknown status", allowed, f"status:{statuses[0]}")


def _execute(
    store: Dataset, definitions: Sequence[Definition], plugins: Registry, timeout_s: float
) -> tuple[tuple[str, ...], dict[str, str], list[ValidationProblem]]:
    """Run the references: who ran, who could not and why, what went wrong."""
    executed: list[str] = []
    not_executed: dict[str, str] = {}
    problems: list[ValidationProblem] = []
    with ReferenceRunner(timeout_s=timeout_s) as runner:
        for definition in definitions:
            source = template_source(plugins, definition.op_type)
            if isinstance(source, FibcoreError):
                not_executed[definition.name] = source.message
                continue
            outcome = runner.run(definition.to_dict(), source)
            if outcome.cases:
                executed.append(definition.name)
            elif not outcome.problems:
                not_executed[definition.name] = "the test template has no case for it"
            path = relative(store.root, store.path(definition))
            for p in outcome.problems:
                place = "$.reference" if p.case is None else f"$.reference with inputs {p.case}"
                message = f"{p.message} ({p.check})"
                problems.append(
                    ValidationProblem("error", path, place, message, p.expected, p.found)
                )
    return tuple(executed), not_executed, problems


def template_source(plugins: Registry, op_type: str) -> str | FibcoreError:
    """The source of an op type's test template; the error where there is none."""
    try:
        template = plugins.test_template(op_type)
    except PluginError as error:
        return error
    if template is None:
        return PluginError(f"no plugin gives test inputs for {op_type}")
    return template.source
