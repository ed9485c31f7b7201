"""Which models a survey looks at: the architectures of a source, and a config for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs

from fibcore.configs.catalogue import find_entry
from fibcore.errors import UnknownModelError, nearest
from fibcore.reports.survey.config_classes import ClassConfigs
from fibcore.reports.survey.configs import ConfigCollector
from fibcore.reports.survey.report import SurveyedModel, Unused
from fibcore.reports.survey.task import Task
from fibcore.sources.tree import SourceTree


@attrs.frozen
class SurveyPlan:
    """What a survey is going to do.

    Attributes:
        items: Models to look at, and rows that are known already, in the order of the table.
        unused: Files in folders of configs that are about no architecture of the source.
    """

    items: tuple[Task | SurveyedModel, ...]
    unused: tuple[Unused, ...] = ()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The models to look at."""
        return tuple(item for item in self.items if isinstance(item, Task))


def plan_survey(
    source: SourceTree,
    *,
    configs: Sequence[Path] = (),
    names: Sequence[str] = (),
    tp: int | None = None,
    ep: int | None = None,
) -> SurveyPlan:
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
    collector = ConfigCollector(files, tp, ep)
    for folder in configs:
        collector.add_folder(folder)
    collector.add_catalogue(names)
    classes = ClassConfigs(source)
    wanted = _wanted(names, files, collector.found)
    items: list[Task | SurveyedModel] = []
    for architecture in sorted(files, key=lambda a: (a.lower(), a)):
        if wanted is not None and architecture not in wanted:
            continue
        models = None if wanted is None else wanted[architecture]
        given = collector.found.get(architecture) or [collector.of_class(architecture, classes)]
        items += [item for item in given if models is None or item.model in models]
    return SurveyPlan(tuple(items), tuple(collector.unused))


def _wanted(
    names: Sequence[str],
    files: Mapping[str, str],
    found: Mapping[str, Iterable[Task | SurveyedModel]],
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
    return UnknownModelError(
        "no architecture, model file or model has this name",
        where="--model-name",
        expected=f"such as {', '.join(nearest(name, known))}",
        found=repr(name),
        hint="`fibcore models` lists them; --configs adds models",
    )


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.rpartition("/")[2].lower())
