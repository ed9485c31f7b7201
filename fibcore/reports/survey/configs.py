"""The configs that a survey finds for the architectures of a source.

They are those of the folders that the caller names, else those of the catalogue, else the defaults
of the architecture's config class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from fibcore.configs.catalogue import ResolvedModel, catalogue, find_entry, resolve_model, slugify
from fibcore.configs.model_config import QUANT_FILE, read_config, read_json_object
from fibcore.errors import ConfigError, FibcoreError, UsageError
from fibcore.extraction.request import combinations
from fibcore.reports.survey.config_classes import ClassConfigs
from fibcore.reports.survey.report import Reason, SurveyedModel, Unused
from fibcore.reports.survey.task import Task


class ConfigCollector:
    """Collects the configs of every architecture.

    Args:
        files: Architecture to the model file that registers it.
        tp: Tensor-parallel size of all models; None for the catalogue's.
        ep: Expert-parallel size, likewise.

    Attributes:
        found: Architecture to its models; one that cannot be looked at is in the table already.
        unused: Files that are about no architecture of the source.
    """

    def __init__(self, files: Mapping[str, str], tp: int | None, ep: int | None) -> None:
        self.files = files
        self.tp = tp
        self.ep = ep
        self.found: dict[str, list[Task | SurveyedModel]] = {}
        self.unused: list[Unused] = []
        self._slugs: set[str] = set()
        self._seen: set[Path] = set()

    def add_folder(self, folder: Path) -> None:
        """Every config in a folder and below it, but not in hidden folders."""
        if not folder.exists():
            raise UsageError("there is no such folder", where="--configs", found=str(folder))
        paths = [folder] if folder.is_file() else sorted(_json_files(folder))
        if folder.is_file():
            read_json_object(folder)  # what is named itself has to be a config
        elif not paths:
            raise UsageError(
                "there is no config in this folder",
                where="--configs",
                expected="config.json files, in it or below it",
                found=str(folder),
            )
        for path in paths:
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
            self.unused.append(Unused(str(path), error.summary, broken))
            return
        if not isinstance(names, list) or not names or not isinstance(names[0], str):
            return  # a tokenizer's, an index of weights: not a config
        architecture = names[0]
        if architecture not in self.files:
            self.unused.append(Unused(str(path), f"this SGLang has no {architecture}"))
            return
        slug = self._slug(path, folder)
        task = Task(architecture, self.files[architecture], slug, f"file:{path}", {})
        item: Task | SurveyedModel
        try:
            beside = path.with_name(QUANT_FILE) if path.name == "config.json" else None
            data = read_config(path, beside).data
            item = self._served(task, resolve_model(slug, config_file=data))
        except FibcoreError as error:
            reason = Reason("refused", error.where or "", error.summary)
            item = task.surveyed("refused", reasons=(reason,))
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

    def of_class(self, architecture: str, classes: ClassConfigs) -> Task | SurveyedModel:
        """The defaults of an architecture's config class, or a row that says that it has none."""
        found = classes.find(architecture)
        task = Task(architecture, self.files[architecture], architecture, "", {})
        if isinstance(found, str):
            return task.surveyed("no config", reasons=(Reason("no config", "", found),))
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
