"""Which config class belongs to an architecture that no config file names.

An architecture without any config file can still be elaborated with what its config class defaults
to; the class is named by its `model_type`.
"""

from __future__ import annotations

import attrs

from fibcore.elaborate.sglang.environment import Environment
from fibcore.elaborate.sglang.index import SourceIndex
from fibcore.elaborate.sglang.model_types import model_types_of
from fibcore.elaborate.transformers.pins import transformers_table
from fibcore.model.serving import Serving
from fibcore.sources.tree import SourceTree

MOST = 3
"""How many config classes of an architecture are tried."""


@attrs.frozen
class ClassConfig:
    """The config classes that may be an architecture's.

    Attributes:
        model_types: What `config.json` calls them, the likeliest first.
        note: What the user should know about where its defaults come from.
    """

    model_types: tuple[str, ...]
    note: str = ""


class ClassConfigs:
    """The config classes of a SGLang source and of the transformers release that it wants."""

    def __init__(self, source: SourceTree) -> None:
        self._index = SourceIndex(source.root)
        major = Environment(Serving(), source.version).transformers_major
        release = transformers_table(source, major)
        self._table, self._note = release.table, release.note

    def find(self, architecture: str) -> ClassConfig | str:
        """The config class of an architecture, or why none is known."""
        if self._table is None:
            return f"no config class is known: {self._note}"
        kinds = model_types_of(self._index, self._table, architecture)
        if not kinds:
            return "no config class of srt/configs or transformers is known to belong to it"
        return ClassConfig(kinds[:MOST], self._note)
