"""Questions that change nothing: plugins, models, and where numbers come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.dataset import Dataset, Provenance, ProvenanceEntry
from fibcore.errors import DatasetError, SourceError, UsageError
from fibcore.extraction.run import (
    combinations,
    dataset_folder,
    elaborated,
    few_collections,
    missing_parts,
    resolve,
    source_label,
)
from fibcore.model.definition import Definition
from fibcore.model.layer_paths import group_uses
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree, ModuleNode
from fibcore.ops.options import DeclaredOptions
from fibcore.ops.registry import PluginInfo, RegisteredOpType, Registry, load_plugins
from fibcore.progress import Progress
from fibcore.sources.finding import find_source

if TYPE_CHECKING:
    from fibcore.configs.catalogue import CatalogueEntry


@attrs.frozen
class PluginsReport:
    """The plugins that were found, usable or not, and the op types of the usable ones."""

    plugins: tuple[PluginInfo, ...]
    op_types: tuple[RegisteredOpType, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return attrs.asdict(self)


def plugins(
    *, disable_plugin: Sequence[str] = (), registry: Registry | None = None
) -> PluginsReport:
    """List the installed plugins and their op types.

    Raises:
        UsageError: `disable_plugin` names a plugin that does not exist.
    """
    registry = registry or load_plugins(disable=disable_plugin)
    return PluginsReport(registry.plugins, tuple(registry.op_types().values()))


@attrs.frozen
class ModuleRow:
    """A module of a model, or several equal ones.

    Attributes:
        path: Path; the numbers of equal modules stand together: `model.layers.[0-31].mlp`.
        name: The last part of the path.
        cls: Class name.
        count: How many there are in the model.
        depth: 0 for the children of the model itself.
        leaf: Whether it is a building block.
        place: File and line that construct the first of them.
    """

    path: str
    name: str
    cls: str
    count: int
    depth: int
    leaf: bool
    place: str


@attrs.frozen
class HierarchyReport:
    """The module hierarchy of one model.

    Attributes:
        slug: The model.
        architecture: Its class.
        constants: Where its config came from.
        source: The SGLang version or commit.
        tp: Tensor-parallel size.
        ep: Expert-parallel size.
        rows: The modules, parents first, repeated layers once.
        missing: What could not be elaborated.
    """

    slug: str
    architecture: str
    constants: str
    source: str
    tp: int
    ep: int
    rows: tuple[ModuleRow, ...]
    missing: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 where the hierarchy is partial."""
        return 1 if self.missing else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**attrs.asdict(self), "exit_code": self.exit_code}


def module_rows(tree: ModelTree) -> tuple[ModuleRow, ...]:
    """The modules of a tree, parents first; siblings that differ in number alone are one row."""
    return tuple(_rows(tree.root, "", 1, 0, {}))


def _rows(
    node: ModuleNode, prefix: str, count: int, depth: int, shapes: dict[int, int]
) -> Iterator[ModuleRow]:
    groups: dict[object, list[tuple[str, ModuleNode]]] = {}
    for name, child in node.children.items():
        # A name that is no number is a group of its own.
        key = ("numbered", _shape(child, shapes)) if name.isdecimal() else name
        groups.setdefault(key, []).append((name, child))
    for members in groups.values():
        first = members[0][1]
        name = members[0][0]
        if len(members) > 1:
            name = f"[{_ranges(sorted(int(n) for n, _ in members))}]"
        path = f"{prefix}.{name}" if prefix else name
        total = count * len(members)
        yield ModuleRow(path, name, first.class_name, total, depth, first.leaf, str(first.place))
        yield from _rows(first, path, total, depth + 1, shapes)


def _shape(node: ModuleNode, shapes: dict[int, int]) -> int:
    """A hash that is equal for modules of equal classes with equal submodules."""
    known = shapes.get(id(node))
    if known is None:
        children = tuple((name, _shape(child, shapes)) for name, child in node.children.items())
        known = shapes[id(node)] = hash((node.cls, children))
    return known


def _ranges(numbers: Sequence[int]) -> str:
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


@attrs.frozen
class ModelsReport:
    """The models that can be named.

    Attributes:
        catalogue: The models whose constants and serving sizes fibcore knows by itself.
        files: SGLang model file to the architecture classes in it; empty where no source is there.
        source: The SGLang version or commit that `files` is about; why there is none otherwise.
        options: The options that op types declare, of which an entry says the usual values.
    """

    catalogue: tuple[CatalogueEntry, ...]
    files: Mapping[str, tuple[str, ...]]
    source: str
    options: DeclaredOptions = attrs.field(factory=DeclaredOptions)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "catalogue": [
                {
                    "slug": entry.slug,
                    "hub_id": entry.hub_id,
                    "architecture": entry.architecture,
                    "tp": list(entry.tp),
                    "ep": list(entry.ep),
                    **{
                        option.recorded_as: list(entry.options.get(option.name, option.default))
                        for option in self.options.several
                    },
                    "aliases": list(entry.aliases),
                    "default_for": list(entry.default_for),
                    "note": entry.note,
                }
                for entry in self.catalogue
            ],
            "files": {name: list(classes) for name, classes in self.files.items()},
            "source": self.source,
        }


def models(
    *,
    target_dir: str | Path = "./repos",
    sglang: str | None = None,
    registry: Registry | None = None,
    disable_plugin: Sequence[str] = (),
    progress: Progress | None = None,
) -> ModelsReport:
    """List the catalogue, and the model files and architectures of the SGLang source.

    Args:
        target_dir: Folder that holds the repositories.
        sglang: Where SGLang's source is; by default the repository in `target_dir`.
        registry: The plugins; by default all that are installed.
        disable_plugin: Plugins to leave out, by name, where no registry is given.
        progress: Told about downloads.

    Raises:
        FibcoreError: `sglang` was given and is no source.
    """
    from fibcore.configs.catalogue import catalogue
    from fibcore.elaborate import model_files

    options = (registry or load_plugins(disable=disable_plugin)).options
    try:
        source = find_source(sglang, Path(target_dir), progress=progress)
    except SourceError as error:
        if sglang is not None:
            raise
        return ModelsReport(catalogue(), {}, f"none: {error.message}; {error.hint}", options)
    return ModelsReport(catalogue(), model_files(source), source_label(source), options)


def hierarchy(
    model_name: str,
    *,
    target_dir: str | Path = "./repos",
    hf_repo_id: str | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    tp: int | None = None,
    ep: int | None = None,
    sglang: str | None = None,
    progress: Progress | None = None,
) -> HierarchyReport:
    """Elaborate a model and list its modules with their counts.

    Args:
        model_name: As for `fibcore.extract`.
        target_dir: Folder that holds the repositories.
        hf_repo_id: Take the config from this Hub repository.
        config: Take the config from this file, or this plain data.
        tp: Tensor-parallel size; by default how the catalogue says the model is served.
        ep: Expert-parallel size, likewise.
        sglang: Where SGLang's source is; by default the repository in `target_dir`.
        progress: Told about downloads.

    Raises:
        FibcoreError: no such model, a config that cannot be read, no source.
    """
    source = find_source(sglang, Path(target_dir), progress=progress)
    model = resolve(model_name, source, hf_repo_id=hf_repo_id, config=config)
    tp, ep = combinations(() if tp is None else (tp,), () if ep is None else (ep,), model)[0]
    with few_collections():
        tree = elaborated(source, model, Serving(tp=tp, ep=ep))
    return HierarchyReport(
        slug=model.slug,
        architecture=tree.architecture,
        constants=model.config.origin,
        source=source_label(source),
        tp=tp,
        ep=ep,
        rows=module_rows(tree),
        missing=tuple(str(m) for m in missing_parts(tree)),
    )


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
        return {
            "name": self.definition.name,
            "op_type": self.definition.op_type,
            "description": self.definition.description,
            "tags": list(self.definition.tags),
            "axes": self.definition.to_dict()["axes"],
            "provenance": []
            if record is None
            else [_entry(e, self.options) for e in record.entries],
            "imports": [] if record is None else [attrs.asdict(i) for i in record.imports],
            "differing": [] if record is None else [str(d) for d in record.differing],
        }


def explain(
    name: str,
    *,
    target_dir: str | Path = "./repos",
    dataset: str | Path | None = None,
    registry: Registry | None = None,
    disable_plugin: Sequence[str] = (),
) -> Explanation:
    """Say where the numbers of a definition come from.

    Args:
        name: The definition.
        target_dir: Folder that holds the repositories.
        dataset: Folder of the dataset; by default the flashinfer-trace repository in `target_dir`.
        registry: The plugins; by default all that are installed.
        disable_plugin: Plugins to leave out, by name, where no registry is given.

    Raises:
        UsageError: the dataset has no such definition; the nearest ones are named.
        DatasetError: there is no dataset, or the definition or its record is broken.
    """
    root = dataset_folder(target_dir, dataset)
    if not root.is_dir():
        raise DatasetError(
            "there is no dataset",
            where=str(root),
            hint="fibcore extract-kernel-definitions makes one; --dataset names another",
        )
    store = Dataset(root)
    definition = store.get(name)
    if definition is None:
        from rapidfuzz import process  # 40 ms, for an error message alone

        names = [d.name for d in store.read().definitions]
        near = [match for match, _, _ in process.extract(name, names, limit=3)]
        raise UsageError(
            "the dataset has no such definition",
            where=str(root),
            expected=", ".join(near) or "a dataset with definitions",
            found=repr(name),
        )
    options = (registry or load_plugins(disable=disable_plugin)).options
    return Explanation(definition, store.provenance(name), options)


def _entry(entry: ProvenanceEntry, declared: DeclaredOptions) -> dict[str, Any]:
    groups = group_uses(entry.uses)
    usual = {o.name: o.default for o in declared.values() if not o.several}
    return {
        "model": entry.model,
        "hub_id": entry.hub_id,
        "architecture": entry.architecture,
        "source_version": entry.source_version,
        "tp": entry.serving.tp,
        "ep": entry.serving.ep,
        **usual,
        **entry.serving.options,
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
