"""The manifest of one model's onboarding: what each phase found and did, to go on from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.dataset.files import write_elsewhere
from fibcore.errors import UsageError
from fibcore.model.json import decode
from fibcore.regular_files import read_bytes

FILE = "manifest.json"
VERSION = 1

PHASES = (
    *("repositories", "discovery", "definitions", "tests", "baselines", "workloads"),
    *("benchmark", "coverage", "web", "requests"),
)
"""What is done for a model, in this order; each reads what the ones before it wrote."""

DONE = "done"


@attrs.define
class Manifest:
    """What is known of a model and of its kernels.

    Attributes:
        model: The model's slug.
        hub_id: Its id on the Hub; None where it is not known.
        architecture: Its class.
        repositories: Repository to path, version, commit.
        discovery: SGLang's model file, and architectures that are new beside it.
        kernels: Definition to what is known of it: op type, existing or new, FlashInfer's function
            and trace template, where SGLang calls it, the states of its phases and links of pull
            requests.
        phases: Phase to "done", or what is in its way.
    """

    model: str
    hub_id: str | None = None
    architecture: str = ""
    repositories: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    discovery: dict[str, Any] = attrs.field(factory=dict)
    kernels: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    phases: dict[str, str] = attrs.field(factory=dict)

    @classmethod
    def read(cls, folder: Path, model: str) -> Manifest:
        """The manifest of a folder; an empty one where there is none.

        Raises:
            UsageError: the file is no manifest, or another model's.
        """
        path = folder / FILE
        if not path.exists():
            return cls(model)
        try:
            data = decode(read_bytes(path))
            if not isinstance(data, dict) or data.pop("version", None) != VERSION:
                raise ValueError(f"no manifest of version {VERSION}")
            kernels = {k.pop("definition"): k for k in data.pop("kernels", [])}
            found = cls(**data, kernels=kernels)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(
                "this is no manifest",
                where=str(path),
                found=str(error),
                hint="remove it to begin anew",
            ) from None
        if found.model != model:
            raise UsageError(
                "the manifest is of another model",
                where=str(path),
                expected=model,
                found=found.model,
            )
        return found

    def write(self, folder: Path) -> None:
        """Write the file, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        write_elsewhere(folder / FILE, text)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, kernels as a list."""
        data: dict[str, Any] = {"version": VERSION, **attrs.asdict(self)}
        data["kernels"] = [{"definition": name, **k} for name, k in sorted(self.kernels.items())]
        data["phases"] = {phase: self.phases.get(phase, "pending") for phase in PHASES}
        return data

    def new(self) -> tuple[str, ...]:
        """Names of the definitions that the dataset did not have."""
        return tuple(name for name, k in self.kernels.items() if k["state"] == "new")

    def mark(self, phase: str, states: Mapping[str, str]) -> None:
        """Note the state of a phase of kernels."""
        for name, state in states.items():
            if name in self.kernels:
                self.kernels[name]["phases"][phase] = state
