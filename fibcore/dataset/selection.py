"""Which definitions a call is about."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.dataset.files import BrokenFileError
from fibcore.dataset.store import Dataset
from fibcore.errors import DatasetError, FibcoreError, UsageError, nearest
from fibcore.model.definition import Definition

if TYPE_CHECKING:
    from fibcore.ops.registry import Registry


@attrs.frozen
class Selection:
    """What was chosen of a dataset.

    Attributes:
        definitions: Every usable definition of the op types concerned, by op type and name.
        names: Names of the definitions that were chosen.
        errors: The unusable files of the op types concerned, where not single definitions were
            chosen.
        nothing: What was asked for and is empty: to do nothing is no success.
    """

    definitions: tuple[Definition, ...]
    names: frozenset[str]
    errors: tuple[BrokenFileError, ...]
    nothing: tuple[FibcoreError, ...] = ()

    @property
    def problems(self) -> tuple[FibcoreError, ...]:
        """All that is wrong with what was chosen."""
        return (*self.errors, *self.nothing)

    @property
    def op_types(self) -> tuple[str, ...]:
        """The op types that have a chosen definition."""
        return tuple(dict.fromkeys(d.op_type for d in self.definitions if d.name in self.names))

    def of(self, op_type: str) -> tuple[Definition, ...]:
        """The usable definitions of an op type."""
        return tuple(d for d in self.definitions if d.op_type == op_type)


def open_dataset(root: Path, registry: Registry | None) -> tuple[Dataset, Registry]:
    """A dataset that is there, and the plugins that it is read with (the installed ones if None).

    Raises:
        DatasetError: there is no such dataset.
    """
    if not root.is_dir():
        raise DatasetError(
            "there is no dataset",
            where=str(root),
            hint="fibcore extract-kernel-definitions makes one; --dataset names another",
        )
    if registry is None:
        from fibcore.ops.registry import load_plugins

        registry = load_plugins()
    return Dataset(root, variant=registry.variant), registry


def select(
    dataset: Dataset,
    *,
    op_type: Sequence[str] = (),
    definition_name: Sequence[str] = (),
    known_op_types: Collection[str] = (),
) -> Selection:
    """The definitions of the op types, or of the names, or all where neither is given.

    Raises:
        UsageError: an op type that neither a plugin nor the dataset has; a name that the dataset
            does not have. The message has the nearest ones.
        DatasetError: a named definition's file is broken.
    """
    for option, values in (("--op-type", op_type), ("--definition-name", definition_name)):
        if isinstance(values, str):
            raise UsageError("a list of names is needed", where=option, found=repr(values))
    contents = dataset.read()
    by_name = {d.name: d for d in contents.definitions}
    folders = {d.op_type for d in contents.definitions} | {_folder(e) for e in contents.errors}
    for value in op_type:
        _known(value, "op type", {*folders, *known_op_types})
    for value in definition_name:
        if dataset.get(value) is None:  # raises for a file that is there and broken
            _known(value, "definition", by_name)
    wanted = {by_name[name].op_type for name in definition_name} or set(op_type) or folders
    chosen = tuple(d for d in contents.definitions if d.op_type in wanted)
    return Selection(
        chosen,
        frozenset(definition_name or (d.name for d in chosen)),
        () if definition_name else tuple(e for e in contents.errors if _folder(e) in wanted),
        () if definition_name else tuple(_nothing(chosen, op_type, dataset)),
    )


def _nothing(
    chosen: Iterable[Definition], op_type: Sequence[str], dataset: Dataset
) -> Iterator[FibcoreError]:
    """The op types that have no definition, or the dataset, where it is that."""
    there = {definition.op_type for definition in chosen}
    for name in op_type:
        if name not in there:
            yield no_definitions(f"of the op type {name}")
    if not op_type and not there:
        yield no_definitions(f"in {dataset.root}")


def chosen_definitions(
    dataset: Dataset,
    registry: Registry,
    *,
    op_type: Sequence[str] = (),
    definition_name: Sequence[str] = (),
    all_: bool = False,
) -> tuple[tuple[Definition, ...], list[FibcoreError]]:
    """The definitions that exactly one of three selectors chooses.

    Returns:
        The definitions by op type and name, and what is wrong: unusable files among them, op types
        that have none.

    Raises:
        UsageError: no selector or several, an unknown op type or name.
        DatasetError: a named definition's file is broken.
    """
    given = sum([bool(op_type), bool(definition_name), all_])
    if given != 1:
        raise UsageError(
            "say which definitions are meant",
            expected="one of --op-type, --definition-name, --all",
            found=f"{given} of them",
        )
    chosen = select(
        dataset,
        op_type=op_type,
        definition_name=definition_name,
        known_op_types=registry.op_types(),
    )
    return tuple(d for d in chosen.definitions if d.name in chosen.names), list(chosen.problems)


def no_definitions(where: str) -> DatasetError:
    """The problem that nothing was chosen; `where` goes on after "there are no definitions"."""
    return DatasetError(
        f"there are no definitions {where}",
        hint="fibcore extract-kernel-definitions writes definitions",
    )


def _folder(error: BrokenFileError) -> str:
    return Path(error.path).parent.name


def _known(value: str, what: str, known: Iterable[str]) -> None:
    names = sorted(known)
    if value in names:
        return
    near = nearest(value, names)
    raise UsageError(
        f"there is no such {what}",
        where=value,
        expected=("one like " + ", ".join(near)) if near else f"a dataset with a {what}",
        hint="fibcore validate lists what the dataset holds",
    )
