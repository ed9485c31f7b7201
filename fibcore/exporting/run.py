"""`fibcore.export`: kernels of models in a format of another tool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.dataset.files import write_bytes, write_elsewhere
from fibcore.errors import UsageError, nearest
from fibcore.exporting import kernelbench, shapes, sol_execbench
from fibcore.exporting.devices import devices
from fibcore.exporting.report import ExportReport, FormatInfo
from fibcore.exporting.serving import found_kernels
from fibcore.extraction.find import few_collections
from fibcore.extraction.report import source_label
from fibcore.extraction.request import ModelsAsked, Request
from fibcore.keywords import api, part, several, user_path
from fibcore.model.launch import gpu_of
from fibcore.ops.exports import Exported, ExportFormat, ExportRequest
from fibcore.ops.registry import Registry
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
"""The rows (tokens) at which shapes are wanted where none are named: decode to prefill."""


def export_formats(**where: Unpack[Where]) -> tuple[FormatInfo, ...]:
    """The formats that there are, by name.

    Raises:
        FibcoreError: a plugin cannot be loaded.
    """
    registry = Workspace.of(**where).registry
    return tuple(
        FormatInfo(name, parts[0].description, _op_types(parts))
        for name, parts in sorted(_formats(registry).items())
    )


@api(ModelsAsked, options=True)
def export(
    format: str,  # noqa: A002 - what users call it
    model_name: str | Sequence[str] = (),
    *,
    configs: str | Path | None = None,
    output: str | Path | None = None,
    rows: int | Sequence[int] = (),
    gpu: str | Sequence[str] = (),
    shipped: str | Path | None = None,
    **asked: Unpack[ModelsAsked],
) -> ExportReport:
    """Write the kernels of models in a format of another tool.

    Args:
        format: The format, one of `export_formats`.
        model_name: One model or several, as for `fibcore.extract`.
        configs: A folder of `config.json` files besides, or one: a model each.
        output: The folder to write files to; none are written without it.
        rows: The rows (tokens) at which a shape is wanted; 1 to 8192 by default.
        gpu: The GPUs that keys of tuned configs are for: "H100", or what its driver reports.
            Models are served on the first of them that facts describe; where definitions lack its
            formats (MI300), and by default, as on an H100, which has the same sizes.
        shipped: Folder of the consumer's source, in which tuned configs lie; SGLang's own for its
            formats.
        **asked: How the models are served, and where; see `ModelsAsked`, `Wanted` and `Where`.

    Raises:
        UsageError: there is no such format, name, folder or option.
        SourceError: there is no source to elaborate.
        FibcoreError: files cannot be written.
    """
    workspace = Workspace.of(**part(Where, asked))
    chosen = attrs.evolve(Request.of_models(workspace.registry, asked), gpu=_serves(several(gpu)))
    parts = _chosen(format, _formats(workspace.registry))
    request = _request(chosen, parts)
    if configs is None:
        chosen.check_named(several(model_name))
    files = () if configs is None else _config_files(user_path(configs, "--configs"))
    source = workspace.source()
    with few_collections():
        found = found_kernels(several(model_name), workspace, request, files)
    written = [
        one.write(
            ExportRequest(
                kernels=tuple(
                    served
                    for served in found.kernels
                    if not one.op_types or served.kernel.op_type in one.op_types
                ),
                rows=several(rows) or ROWS,
                devices=devices(several(gpu)),
                shipped=_shipped(one, source.root, shipped),
            )
        )
        for one in parts
    ]
    folder = None if output is None else user_path(output, "--output")
    if folder is not None:
        _write(folder, written)
    return ExportReport(
        format=format,
        source=source_label(source),
        output=None if folder is None else str(folder),
        tables=tuple(written),
        models=tuple(dict.fromkeys(served.model for served in found.kernels)),
        refused=found.refused,
        failures=found.failures,
    )


def _serves(names: Sequence[str]) -> str:
    """The GPU that models are served on: definitions have no formats of MI300's 8-bit numbers."""
    named = [name for name in names if gpu_of([name]) != "MI300"]
    return gpu_of(named)


def _formats(registry: Registry) -> Mapping[str, list[ExportFormat]]:
    """All formats by name; several parts of one where several plugins write it."""
    own = (
        ExportFormat(shapes.NAME, "sizes of all kernels, as CSV and JSON", (), shapes.write),
        ExportFormat(
            kernelbench.NAME,
            "references as modules of KernelBench",
            (),
            kernelbench.KernelBench(registry).write,
        ),
        ExportFormat(
            sol_execbench.NAME,
            "problems of SOL-ExecBench: definitions, workloads with tolerances, a solution",
            (),
            sol_execbench.SolExecBench(registry).write,
        ),
    )
    found: dict[str, list[ExportFormat]] = {}
    for one in (*own, *(one for _, one in registry.exports())):
        found.setdefault(one.name, []).append(one)
    return found


def _chosen(name: str, formats: Mapping[str, list[ExportFormat]]) -> list[ExportFormat]:
    if name not in formats:
        raise UsageError(
            "there is no such format",
            where="FORMAT",
            expected=", ".join(nearest(name, formats)),
            found=name,
            hint="fibcore export lists all formats",
        )
    return formats[name]


def _op_types(parts: Iterable[ExportFormat]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(op_type for one in parts for op_type in one.op_types))


def _request(chosen: Request, parts: Sequence[ExportFormat]) -> Request:
    """What of the models the format wants, at the options that it wants."""
    options = {name: value for one in parts for name, value in one.options.items()}
    wanted = _op_types(parts)
    if wanted and chosen.op_types and not set(wanted) & set(chosen.op_types):
        raise UsageError(
            "the format has none of these op types",
            where="--op-type",
            expected=", ".join(wanted),
            found=", ".join(chosen.op_types),
        )
    op_types = tuple(t for t in wanted if t in chosen.op_types) if chosen.op_types else wanted
    return attrs.evolve(
        chosen, op_types=op_types or chosen.op_types, options={**chosen.options, **options}
    )


def _config_files(folder: Path) -> tuple[Path, ...]:
    if folder.is_file():
        return (folder,)
    found = tuple(
        path
        for path in sorted(folder.rglob("*.json"))
        if not any(name.startswith(".") for name in path.relative_to(folder).parts)
    )
    if not found:
        raise UsageError(
            "no configs in this folder", where="--configs", expected="*.json", found=str(folder)
        )
    return found


def _shipped(one: ExportFormat, sglang: Path, folder: str | Path | None) -> frozenset[str] | None:
    """Names of the tuned configs below the consumer's source; None where it has none at all."""
    if not one.consumer:
        return None
    if folder is None:
        if one.consumer != "sglang":
            return None
        place = sglang
    else:
        place = user_path(folder, "--shipped")
        if not place.is_dir():
            raise UsageError("there is no such folder", where="--shipped", found=str(place))
    # A source from which data files were left out says nothing of what it lacks.
    return frozenset(path.name for path in place.rglob("*device_name=*.json")) or None


def _write(folder: Path, written: Iterable[Exported]) -> None:
    for file in (file for one in written for file in one.files):
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.data is not None:
            write_bytes(folder.absolute(), path.absolute(), file.data)
        else:
            write_elsewhere(path, file.text)
