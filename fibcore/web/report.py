"""What adding a model to the site found and did, as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from fibcore.model.json import to_data
from fibcore.web.entry import Change
from fibcore.web.modules import WebModule


@attrs.frozen
class AddModelReport:
    """The result of `fibcore.add_new_model`.

    Attributes:
        path: The file.
        dry_run: Whether nothing was written.
        model: The entry's id, the model slug.
        architecture: The model's class.
        constants: Where its config came from.
        source: Version or commit of the SGLang source.
        sizes: The (TP, EP) pairs whose kernels are listed; counts are those of the first.
        modules: The model's modules.
        change: What became of the entry.
        diff: Unified diff of the file; empty where nothing changes.
        not_in_dataset: Definitions that are listed and that the dataset does not have yet.
        notes: What a reader should know although nothing is missing.
        failures: Why the entry is not whole, one line each.
    """

    path: Path
    dry_run: bool
    model: str
    architecture: str
    constants: str
    source: str
    sizes: tuple[tuple[int, int], ...]
    modules: tuple[WebModule, ...]
    change: Change
    diff: str
    not_in_dataset: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 where something of the model is missing, else 0."""
        return 1 if self.failures else 0

    @property
    def counts(self) -> dict[str, int]:
        """How many modules, layers and definitions the entry has."""
        return {
            "modules": len(self.modules),
            "layers": sum(m.type == "layer" for m in self.modules),
            "definitions": len({d for m in self.modules for d in m.definitions}),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        data = to_data(self)
        return {
            **data,
            "sizes": [{"tp": tp, "ep": ep} for tp, ep in self.sizes],
            "counts": self.counts,
            "exit_code": self.exit_code,
        }
