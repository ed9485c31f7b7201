"""`fibcore.models` and `fibcore.hierarchy`: which models there are, and what one consists of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.errors import SourceError
from fibcore.extraction.launch_records import described, recorded
from fibcore.extraction.one_model import OneAsked, elaborated_alone
from fibcore.extraction.report import missing_parts, source_label
from fibcore.keywords import api
from fibcore.model.json import to_data
from fibcore.model.tree import ModelTree, ModuleNode
from fibcore.ops.options import DeclaredOptions
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fibcore.configs.catalogue import CatalogueEntry


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
        served: What else than the sizes says how it is served.
        missing: What could not be elaborated.
    """

    slug: str
    architecture: str
    constants: str
    source: str
    tp: int
    ep: int
    rows: tuple[ModuleRow, ...]
    served: str = ""
    missing: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 where the hierarchy is partial."""
        return 1 if self.missing else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**to_data(self), "exit_code": self.exit_code}


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
                    "launch": entry.launch,
                    "launch_source": entry.launch_source,
                    "launches": [attrs.asdict(fact) for fact in entry.launches],
                    "note": entry.note,
                }
                for entry in self.catalogue
            ],
            "files": {name: list(classes) for name, classes in self.files.items()},
            "source": self.source,
        }


@api(Where)
def models(**where: Unpack[Where]) -> ModelsReport:
    """List the catalogue, and the model files and architectures of the SGLang source.

    Args:
        **where: Where SGLang's source is; see `fibcore.workspace.Where`.

    Raises:
        FibcoreError: `sglang` was given and is no source.
    """
    from fibcore.configs.catalogue import catalogue
    from fibcore.elaborate import model_files

    workspace = Workspace.of(**where)
    options = workspace.registry.options
    try:
        source = workspace.source()
    except SourceError as error:
        if workspace.sglang is not None:
            raise
        return ModelsReport(catalogue(), {}, f"none: {error.message}; {error.hint}", options)
    return ModelsReport(catalogue(), model_files(source), source_label(source), options)


@api(OneAsked)
def hierarchy(model_name: str = "", **asked: Unpack[OneAsked]) -> HierarchyReport:
    """Elaborate a model and list its modules with their counts.

    Args:
        model_name: As for `fibcore.extract`; may be left out where a launch line names the model.
        **asked: Its config, how it is served, and where SGLang's source is; see
            `fibcore.extraction.one_model.OneAsked`.

    Raises:
        UsageError: an option is wrong, or no model is named.
        FibcoreError: no such model, a config that cannot be read, no source.
    """
    one = elaborated_alone(model_name, asked)
    return HierarchyReport(
        slug=one.model.slug,
        architecture=one.tree.architecture,
        constants=one.model.config.origin,
        source=source_label(one.source),
        tp=one.serving.tp,
        ep=one.serving.ep,
        rows=module_rows(one.tree),
        served=described(recorded(one.serving, one.tree)),
        missing=tuple(str(m) for m in missing_parts(one.tree)),
    )
