"""The definitions of an op type with all that is to be run of them."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from fibcore.verification.emitted.definitions import load_definition
from fibcore.verification.emitted.errors import BrokenDefinitionError
from fibcore.verification.emitted.places import DATASET


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
        return cast("dict[str, Any] | None", self.module.DEFINITIONS.get(self.name))

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
    """The definitions of a test module's op type, in order of their names, or the one of its own.

    A module that is written for one definition names it in ONLY.
    """
    key = str(module.__file__)
    if key not in _SUBJECTS:
        name = getattr(module, "ONLY", "*")
        files = sorted((DATASET / "definitions" / module.OP_TYPE).glob(f"{name}.json"))
        _SUBJECTS[key] = [_subject(path, module) for path in files]
    return _SUBJECTS[key]
