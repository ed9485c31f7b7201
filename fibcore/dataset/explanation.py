"""`fibcore.explain`: a definition, and the proof of its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from fibcore.dataset import Dataset, Provenance, ProvenanceEntry
from fibcore.errors import DatasetError, UsageError, nearest
from fibcore.keywords import api
from fibcore.model.definition import Definition
from fibcore.model.layer_paths import group_uses
from fibcore.ops.options import DeclaredOptions
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack


@attrs.frozen
class Explanation:
    """A definition and the proof of its numbers.

    Attributes:
        definition: The definition as the dataset has it.
        provenance: What is recorded of it; None where another tool wrote the definition.
        options: The options that op types declare, of which only other values are recorded.
    """

    definition: Definition
    provenance: Provenance | None
    options: DeclaredOptions = attrs.field(factory=DeclaredOptions)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        record = self.provenance
        entries = () if record is None else record.entries
        return {
            "name": self.definition.name,
            "op_type": self.definition.op_type,
            "description": self.definition.description,
            "tags": list(self.definition.tags),
            "axes": self.definition.to_dict()["axes"],
            "provenance": [_entry(entry, self.options) for entry in entries],
            "imports": [] if record is None else [attrs.asdict(i) for i in record.imports],
            "differing": [] if record is None else [str(d) for d in record.differing],
        }


@api(Where)
def explain(name: str, **where: Unpack[Where]) -> Explanation:
    """Say where the numbers of a definition come from.

    Args:
        name: The definition.
        **where: Where the dataset is; see `fibcore.workspace.Where`.

    Raises:
        UsageError: the dataset has no such definition; the nearest ones are named.
        DatasetError: there is no dataset, or the definition or its record is broken.
    """
    workspace = Workspace.of(**where)
    root = workspace.dataset_folder
    if not root.is_dir():
        raise DatasetError(
            "there is no dataset",
            where=str(root),
            hint="fibcore extract-kernel-definitions makes one; --dataset names another",
        )
    store = Dataset(root)
    definition = store.get(name)
    if definition is None:
        near = nearest(name, [d.name for d in store.read().definitions])
        raise UsageError(
            "the dataset has no such definition",
            where=str(root),
            expected=", ".join(near) or "a dataset with definitions",
            found=repr(name),
        )
    return Explanation(definition, store.provenance(name), workspace.registry.options)


def _entry(entry: ProvenanceEntry, declared: DeclaredOptions) -> dict[str, Any]:
    usual = {o.name: o.default for o in declared.values() if not o.several}
    groups = group_uses(entry.uses)
    return {
        "model": entry.model,
        "hub_id": entry.hub_id,
        "architecture": entry.architecture,
        "source_version": entry.source_version,
        "tp": entry.serving.tp,
        "ep": entry.serving.ep,
        **usual,
        **entry.serving.options,
        "gpu": entry.serving.gpu,
        "launch": None if entry.serving.launch is None else entry.serving.launch.line,
        "kernel": entry.kernel,
        "constants": {
            name: {
                "value": fact.value,
                "origins": list(fact.origins),
                "place": str(fact.place),
                "note": fact.note,
            }
            for name, fact in entry.facts.items()
        },
        "layers": len({use.path for use in entry.uses}),
        "uses": [
            {"paths": paths, "class": cls, "place": str(place)} for paths, cls, place in groups
        ],
    }
