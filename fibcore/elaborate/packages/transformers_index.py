"""Which modules of transformers are followed, and where the names are that it imports lazily.

Followed is what models are made of: the `modeling_*.py` of each model. The rest stays outside, as
it is without the package's source: configs have tables of their own (`fibcore.elaborate.
transformers`), what loads, caches and generates runs beside a model's modules, and the base
class of models is known by what it does.
"""

from __future__ import annotations

import re
from functools import cached_property

from fibcore.elaborate.python.index import ModuleIndex, SourceModule
from fibcore.regular_files import read_text

_MODELING = re.compile(r"transformers\.models\.\w+\.modeling_\w+")
_FOLDER = re.compile(r"transformers\.models\.\w+")
_EXPORTS = re.compile(r"^__all__\s*=\s*\[([^\]]*)\]", re.MULTILINE)
_WORD = re.compile(r"[\"'](\w+)[\"']")
_AUTO = "transformers.models.auto."
"""The Auto classes and their mappings: a call of one is answered by `auto_models`."""


class TransformersIndex(ModuleIndex):
    """The modules of transformers that define models."""

    def holds(self, name: str) -> bool:
        """Whether a dotted name is that of a module that defines a model."""
        return _MODELING.fullmatch(name) is not None and not name.startswith(_AUTO)

    def home(self, module: str, name: str) -> str | None:
        """The module that exports a name which `transformers` or a model's package imports."""
        if module == "transformers" or _FOLDER.fullmatch(module):
            found = self._exported.get(name)
            if found is not None and (found + ".").startswith(module + "."):
                return found
        return None

    @cached_property
    def auto_module(self) -> SourceModule | None:
        """The module with the tables of the Auto classes, to read names from."""
        return self.module(f"{_AUTO}modeling_auto")

    @cached_property
    def _exported(self) -> dict[str, str]:
        """Names that modeling files export, by `__all__` as transformers' lazy import reads it.

        (define_import_structure, transformers/utils/import_utils.py)
        """
        found: dict[str, str] = {}
        for path in sorted(self.root.glob("models/*/modeling_*.py")):
            name = f"transformers.models.{path.parent.name}.{path.stem}"
            if not self.holds(name):
                continue
            # Of the files of all models nothing else is kept.
            text = read_text(path, encoding="utf-8", errors="replace")
            exports = _EXPORTS.search(text, max(text.rfind("\n__all__"), 0))
            for word in _WORD.findall(exports.group(1)) if exports else ():
                found.setdefault(word, name)
        return found
