"""Where a definition's numbers come from: models that need it, constants and their origins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from fibcore.model.kernel import Fact, Scalar, Use
from fibcore.model.serving import Serving


@attrs.frozen
class ProvenanceEntry:
    """The need of one model, served in one way, for a kernel.

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
        model: Model slug that was given with the import; None where none was.
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
        values = (f"{value!r} for {', '.join(models)}" for value, models in self.values)
        return f"{self.name} is " + ", ".join(values)


@attrs.frozen
class Provenance:
    """The provenance of one definition.

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


def differing_constants(entries: Iterable[ProvenanceEntry]) -> tuple[ConstantDifference, ...]:
    """Find constants of several values; never an axis, whose size makes the definition."""
    found: dict[str, dict[Scalar, dict[str, None]]] = {}
    for entry in entries:
        for name, proof in entry.facts.items():
            found.setdefault(name, {}).setdefault(proof.value, {})[entry.model] = None
    return tuple(
        ConstantDifference(name, tuple((v, tuple(models)) for v, models in values.items()))
        for name, values in sorted(found.items())
        if len(values) > 1
    )
