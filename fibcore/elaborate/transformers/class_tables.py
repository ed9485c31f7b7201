"""Tables of the config classes of a transformers release: shipped as data, or made of its source.

A table is shipped for each release that supported SGLang releases pin; it needs no copy of
transformers. The table of any other release is made of its source text.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from fibcore.elaborate.transformers.summaries.summary import ClassSummary
from fibcore.elaborate.transformers.versions import parse_version

_PACKAGE = "fibcore.elaborate.transformers"
TABLES = "config_tables"
"""The folder with one table for each release, `transformers-4.57.1.jsonl`."""


class ClassTable:
    """The summaries of one release of transformers.

    Args:
        version: The release.
        find: Gives the summary of a class by name; None where there is none.
        model_types: Model type to class name, as AutoConfig maps them.
        architectures: Model type to the model classes that the Auto classes map it to.
        base: The summary of the base class of all configs.
        names: The names of all classes.
    """

    def __init__(
        self,
        version: str,
        find: Callable[[str], ClassSummary | None],
        model_types: Mapping[str, str],
        architectures: Mapping[str, Any],
        base: ClassSummary,
        names: frozenset[str],
    ) -> None:
        self.version = version
        self.find = functools.cache(find)
        self.model_types = model_types
        self.architectures = architectures
        self.base = base
        self.names = names

    @property
    def major(self) -> int:
        """Its major version: from 5 on, RoPE settings are kept together."""
        return int(self.version.partition(".")[0])

    def of_type(self, model_type: str) -> ClassSummary | None:
        """The summary of the class that AutoConfig takes for a model type."""
        name = self.model_types.get(model_type)
        return None if name is None else self.find(name)


def shipped_versions() -> list[str]:
    """The releases whose tables are shipped, oldest first."""
    names = (f.name for f in files(_PACKAGE).joinpath(TABLES).iterdir())
    versions = [n[len("transformers-") : -len(".jsonl")] for n in names if n.endswith(".jsonl")]
    return sorted(versions, key=lambda v: [int(p) for p in v.split(".") if p.isdigit()])


def lacks_class(version: object, model_type: object) -> bool:
    """Whether a release of transformers has no config class for a model type, as far as is known.

    A later release that lacks it says so for all before it.
    """
    asked = parse_version(version) if isinstance(version, str) else None
    return asked is not None and any(
        (parse_version(known) or asked) >= asked
        and model_type not in shipped_table(known).model_types
        for known in shipped_versions()
    )


@functools.cache
def shipped_table(version: str) -> ClassTable:
    """The shipped table of a release.

    Its lines are the model types and architectures, the base class, and each class by name, which
    is decoded when it is asked for: an elaboration needs two or three of 600.
    """
    folder = files(_PACKAGE).joinpath(TABLES)
    lines = folder.joinpath(f"transformers-{version}.jsonl").read_text("utf-8").splitlines()
    head = json.loads(lines[0])
    # A line begins with `{"name":"`, so that it need not be decoded to be found.
    places = {line[9 : line.index('"', 9)]: line for line in lines[2:]}

    def find(name: str) -> ClassSummary | None:
        line = places.get(name)
        return None if line is None else ClassSummary.from_dict(json.loads(line))

    base = ClassSummary.from_dict(json.loads(lines[1]))
    names = frozenset(places)
    return ClassTable(version, find, head["model_types"], head["architectures"], base, names)


def source_table(root: Path, version: str) -> ClassTable:
    """The table of a release's source text."""
    from fibcore.elaborate.transformers.summaries.release import Release  # reads source

    release = Release(root)
    return ClassTable(
        version,
        release.summary,
        release.model_types(),
        release.architectures(),
        release.base(),
        frozenset(release.files),
    )


def table_text(root: Path) -> str:
    """The shipped form of a source tree's table."""
    from fibcore.elaborate.transformers.summaries.release import Release  # reads source

    release = Release(root)
    head = {"model_types": release.model_types(), "architectures": release.architectures()}
    lines = [head, release.base().to_dict()]
    for name in sorted(release.files):
        summary = release.summary(name)
        if summary is not None and not name.endswith("OnnxConfig"):
            lines.append(summary.to_dict())
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
