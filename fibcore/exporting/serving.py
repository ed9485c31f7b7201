"""The kernels of models that an export is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from fibcore.configs.catalogue import slugify
from fibcore.extraction.findings import Findings, find_models
from fibcore.extraction.report import Refused
from fibcore.extraction.request import Request
from fibcore.ops.exports import ServedKernel
from fibcore.workspace import Workspace


@attrs.frozen
class Found:
    """Kernels of several models.

    Attributes:
        kernels: Every kernel with a definition, model by model.
        refused: Models that could not be looked at.
        failures: What of the others is not complete, in a line each.
    """

    kernels: tuple[ServedKernel, ...]
    refused: tuple[Refused, ...]
    failures: tuple[str, ...]


def found_kernels(
    names: Sequence[str], workspace: Workspace, request: Request, configs: Sequence[Path] = ()
) -> Found:
    """The kernels of models, and of the models of config files.

    Args:
        names: The models, as for `fibcore.extract`; none for the one of the launch line.
        workspace: The source and the plugins.
        request: How they are served, and which op types are wanted.
        configs: Files of configs, each of a model that is called after its file.

    Raises:
        UsageError: there is no model.
    """
    source, registry, progress = workspace.source(), workspace.registry, workspace.progress
    several: list[Findings] = []
    if names or not configs:
        several.append(find_models(names, source, request, registry, progress=progress))
    for path in configs:
        asked = attrs.evolve(request, config=path)
        slug = slugify(path.parent.name if path.name == "config.json" else path.stem)
        several.append(find_models([slug], source, asked, registry, progress=progress))
    return Found(
        kernels=tuple(served for found in several for served in _served(found)),
        refused=tuple(refused for found in several for refused in found.refused),
        failures=tuple(text for found in several for text in _failures(found)),
    )


def _served(found: Findings) -> Iterable[ServedKernel]:
    for model in found.models:
        for one in model.defined:
            definition = found.derived[one.key].definition
            yield ServedKernel(model.report.slug, model.serving, one.kernel, definition)


def _failures(found: Findings) -> Iterable[str]:
    for model in found.models:
        label = model.report.label
        for missing in model.report.missing:
            yield f"{label}: missing: {missing}"
        for remark in model.report.problems:
            yield f"{label}: undecided: {remark}"
        for error in model.report.errors:
            yield f"{label}: {error}"
