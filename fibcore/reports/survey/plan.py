"""Which models a survey looks at: the architectures of a source, and a config for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from fibcore.configs.catalogue import ResolvedModel, catalogue, find_entry, resolve_model, slugify
from fibcore.configs.model_config import QUANT_FILE, read_config, read_json_object
from fibcore.errors import ConfigError, FibcoreError, UnknownModelError, UsageError
from fibcore.extraction.run import combinations
from fibcore.reports.survey.class_configs import ClassConfigs
from fibcore.reports.survey.report import Reason, Row, State, Unused
from fibcore.sources.tree import SourceTree


@attrs.frozen
class Task:
    """A model to look at.

    Attributes:
        architecture: The model class.
        file: The model file that registers it.
        model: The model's slug, which is unique among the tasks of a survey.
        origin: Where its config is from: `file:PATH`, `catalogue:SLUG`, `class:MODEL_TYPE`.
        config: The parsed config.
        tp: Tensor-parallel size.
        ep: Expert-parallel size.
        notes: What a reader should know of the config.
        others: Model types to try where the defaults of this one's class make no model.
    """

    architecture: str
    file: str
    model: str
    origin: str
    config: Mapping[str, Any]
    tp: int = 1
    ep: int = 1
    notes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def candidates(self) -> Iterator[Task]:
        """The task, and the same for each of the other config classes."""
        yield attrs.evolve(self, others=())
        for kind in self.others:
            config = {**self.config, "model_type": kind}
            yield attrs.evolve(self, origin=f"class:{kind}", config=config, others=())

    def row(self, state: State, **found: Any) -> Row:
        """A row of the table about this model."""
        return Row(
            architecture=self.architecture,
            file=self.file,
            model=self.model,
            origin=self.origin,
            state=state,
            tp=self.tp,
            ep=self.ep,
            notes=(*self.notes, *found.pop("notes", ())),
            **found,
        )


@attrs.frozen
class Plan:
    """What a survey is going to do.

    Attributes:
        items: Models to look at, and rows that are known already, in the order of the table.
        unused: Files in folders of configs that are about no architecture of the source.
    """

    items: tuple[Task | Row, ...]
    unused: tuple[Unused, ...] = ()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The models to look at."""
        return tuple(item for item in self.items if isinstance(item, Task))


def make_plan(
    source: SourceTree,
    *,
    configs: Sequence[Path] = (),
    names: Sequence[str] = (),
    tp: int | None = None,
    ep: int | None = None,
) -> Plan:
    """Match the architectures of a source with configs.

    An architecture's configs are those in `configs`, else those of the catalogue, else the
    defaults of its config class.

    Args:
        source: The SGLang source.
        configs: Folders of config files, or files.
        names: Look at these architectures, model files and models only.
        tp: Tensor-parallel size of all; by default as the catalogue says, else 1.
        ep: Expert-parallel size, likewise.

    Raises:
        UnknownModelError: a name is nothing that is there; the nearest ones are named.
        UsageError: a folder of configs that is not there.
        ElaborationError: the source holds no models.
    """
    from fibcore.elaborate import model_files

    files = {name: stem for stem, names in model_files(source).items() for name in names}
    planner = _Planner(files, tp, ep)
    for folder in configs:
        planner.add_folder(folder)
    planner.add_catalogue(names)
    classes = ClassConfigs(source)
    wanted = _wanted(names, files, planner.found)
    items: list[Task | Row] = []
    for architecture in sorted(files, key=lambda a: (a.lower(), a)):
        if wanted is not None and architecture not in wanted:
            continue
        models = None if wanted is None else wanted[architecture]
        given = planner.found.get(architecture) or [planner.of_class(architecture, classes)]
        items += [item for item in given if models is None or item.model in models]
    return Plan(tuple(items), tuple(planner.unused))


class _Planner:
    """Collects the configs of every architecture."""

    def __init__(self, files: Mapping[str, str], tp: int | None, ep: int | None) -> None:
        self.files = files
        self.tp = tp
        self.ep = ep
        self.found: dict[str, list[Task | Row]] = {}
        self.unused: list[Unused] = []
        self._slugs: set[str] = set()
        self._seen: set[Path] = set()

    def add_folder(self, folder: Path) -> None:
        """Every config in a folder and below it, but not in hidden folders."""
        if not folder.exists():
            raise UsageError("there is no such folder", where="--configs", found=str(folder))
        for path in [folder] if folder.is_file() else sorted(_json_files(folder)):
            real = path.resolve()
            if path.name != QUANT_FILE and real not in self._seen:
                self._seen.add(real)
                self._add_file(path, folder)

    def _add_file(self, path: Path, folder: Path) -> None:
        try:
            names = read_json_object(path).get("architectures")
        except ConfigError as error:
            # A list or a number is JSON of something else; what is no JSON at all is broken.
            broken = error.message != "not a model's config"
            self.unused.append(Unused(str(path), in_a_line(error), broken))
            return
        if not isinstance(names, list) or not names or not isinstance(names[0], str):
            return  # a tokenizer's, an index of weights: not a config
        architecture = names[0]
        if architecture not in self.files:
            self.unused.append(Unused(str(path), f"this SGLang has no {architecture}"))
            return
        slug = self._slug(path, folder)
        task = Task(architecture, self.files[architecture], slug, f"file:{path}", {})
        item: Task | Row
        try:
            beside = path.with_name(QUANT_FILE) if path.name == "config.json" else None
            data = read_config(path, beside).data
            item = self._served(task, resolve_model(slug, config_file=data))
        except FibcoreError as error:
            reason = Reason("refused", error.where or "", in_a_line(error))
            item = task.row("refused", reasons=(reason,))
        self.found.setdefault(architecture, []).append(item)

    def add_catalogue(self, names: Sequence[str]) -> None:
        """The catalogue's models of architectures that have no config yet, and those of `names`."""
        asked = {entry.slug for name in names if (entry := find_entry(name)) is not None}
        have = set(self.found)
        for entry in catalogue():
            architecture = entry.architecture
            if architecture not in self.files or entry.slug in self._slugs:
                continue
            if architecture in have and entry.slug not in asked:
                continue
            self._slugs.add(entry.slug)
            task = Task(
                architecture,
                self.files[architecture],
                entry.slug,
                f"catalogue:{entry.slug}",
                {},
            )
            item = self._served(task, resolve_model(entry.slug))
            self.found.setdefault(architecture, []).append(item)

    def of_class(self, architecture: str, classes: ClassConfigs) -> Task | Row:
        """The defaults of an architecture's config class, or a row that says that it has none."""
        found = classes.find(architecture)
        task = Task(architecture, self.files[architecture], architecture, "", {})
        if isinstance(found, str):
            return task.row("no config", reasons=(Reason("no config", "", found),))
        kind, *others = found.model_types
        return attrs.evolve(
            task,
            origin=f"class:{kind}",
            config={"architectures": [architecture], "model_type": kind},
            others=tuple(others),
            tp=self.tp or 1,
            ep=self.ep or 1,
            notes=(found.note,) if found.note else (),
        )

    def _served(self, task: Task, model: ResolvedModel) -> Task:
        tp = () if self.tp is None else (self.tp,)
        ep = () if self.ep is None else (self.ep,)
        first = next(iter(combinations(tp, ep, model)), (1, 1))
        return attrs.evolve(
            task, config=model.config.data, tp=first[0], ep=first[1], notes=model.notes
        )

    def _slug(self, path: Path, folder: Path) -> str:
        """A name for a config: of the file, of the folder where the file's says nothing."""
        stem = path.stem if path.name != "config.json" else path.absolute().parent.name
        whole = path.relative_to(folder).with_suffix("") if path != folder else Path(path.stem)
        # Organisation and model, as in a Hub id, are often joined like this in file names.
        for text in (stem.rpartition("--")[2], stem, "-".join(whole.parts)):
            try:
                slug = slugify(text)
            except UsageError:
                continue
            if slug not in self._slugs:
                break
        else:
            slug = next(s for n in range(2, 10**6) if (s := f"model-{n}") not in self._slugs)
        self._slugs.add(slug)
        return slug


def _json_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*.json"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def _wanted(
    names: Sequence[str],
    files: Mapping[str, str],
    found: Mapping[str, Iterable[Task | Row]],
) -> dict[str, set[str] | None] | None:
    """Architecture to the models that `names` ask for, None for all; None where none is named.

    Raises:
        UnknownModelError: a name is nothing that is there.
    """
    if not names:
        return None
    models = {_key(i.model): i for items in found.values() for i in items}
    wanted: dict[str, set[str] | None] = {}
    for name in names:
        entry = find_entry(name)
        item = models.get(_key(name)) or (models.get(_key(entry.slug)) if entry else None)
        named = [a for a, stem in files.items() if _key(name) in (_key(a), _key(stem))]
        if named:
            wanted.update(dict.fromkeys(named))
        elif item is not None:
            chosen = wanted.setdefault(item.architecture, set())
            if chosen is not None:
                chosen.add(item.model)
        else:
            raise _unknown(name, [*files, *files.values(), *(i.model for i in models.values())])
    return wanted


def _unknown(name: str, known: Iterable[str]) -> UnknownModelError:
    from rapidfuzz import process  # 40 ms, for an error message alone

    near = [match for match, _, _ in process.extract(name, sorted(set(known)), limit=3)]
    return UnknownModelError(
        "no architecture, model file or model has this name",
        where="--model-name",
        expected=f"such as {', '.join(near)}",
        found=repr(name),
        hint="`fibcore models` lists them; --configs adds models",
    )


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.rpartition("/")[2].lower())


def in_a_line(error: FibcoreError) -> str:
    """An error in a line: what went wrong, what was expected, what was found."""
    parts = [error.message]
    parts += [f"expected {error.expected}"] if error.expected else []
    parts += [f"found {error.found}"] if error.found else []
    return "; ".join(parts)
