"""The config classes of a transformers source tree: where they are, and their summaries."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import Any

from fibcore.elaborate.transformers.summaries.lineage import Lineage
from fibcore.elaborate.transformers.summaries.summarise import summarise
from fibcore.elaborate.transformers.summaries.summary import (
    BASE_NAMES,
    ClassSummary,
    NotExpressibleError,
)
from fibcore.elaborate.transformers.summaries.syntax import (
    annotated,
    default_of,
    dict_items,
    global_data,
    method,
    parameters,
    string_pairs,
)
from fibcore.syntax import walk

_CONFIG_FILE = "configuration_*.py"
_CLASS = re.compile(r"^class (\w+)\b", re.MULTILINE)


class Release:
    """The source text of a transformers release, as far as its config classes go.

    Args:
        root: The folder of the `transformers` package.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._trees: dict[Path, ast.Module] = {}

    @functools.cached_property
    def files(self) -> dict[str, Path]:
        """Class name to the file that defines it."""
        found: dict[str, Path] = {}
        paths = sorted((self._root / "models").glob(f"*/{_CONFIG_FILE}"))
        paths += sorted((self._root / "models").glob(f"deprecated/*/{_CONFIG_FILE}"))
        for path in paths:
            for match in _CLASS.finditer(path.read_text(encoding="utf-8")):
                if match.group(1).endswith("Config"):
                    found.setdefault(match.group(1), path)
        return found

    def model_types(self) -> dict[str, str]:
        """Model type to class name, as AutoConfig maps them (CONFIG_MAPPING_NAMES)."""
        return self._table("CONFIG_MAPPING_NAMES", "auto_mappings.py", "configuration_auto.py")

    def architectures(self) -> dict[str, str | list[str]]:
        """Model type to its causal or conditional generation class, as the Auto classes map it."""
        found: dict[str, Any] = {}
        for name in (
            "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
            "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
            "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
            "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
            "MODEL_MAPPING_NAMES",
        ):
            for kind, value in self._table(name, "modeling_auto.py").items():
                found.setdefault(kind, value)
        return found

    def _table(self, name: str, *files: str) -> dict[str, Any]:
        """All string pairs that `name = OrderedDict(...)` and `name.update(...)` hold."""
        pairs: dict[str, Any] = {}
        for file in files:
            path = self._root / "models" / "auto" / file
            if not path.is_file():
                continue
            for node in self._tree(path).body:
                text = ast.unparse(node)[: len(name) + 12]
                if text.startswith((f"{name} =", f"{name}: ", f"{name}.update(")):
                    pairs.update(string_pairs(node))
        return pairs

    def base(self) -> ClassSummary:
        """The keys that the base class of all configs takes."""
        cls, _ = self._class_in(self._root / "configuration_utils.py", *BASE_NAMES)
        init = method(cls, "__init__")
        if init is None:
            fields = {k: default_of(v) for k, v in annotated(cls).items()}
        else:
            fields = {k: default_of(v) for k, v in parameters(init).items()}
        defaults = method(cls, "_get_global_generation_defaults")
        if defaults is not None:
            for node in walk(defaults):
                if isinstance(node, ast.Dict):
                    fields.update(ast.literal_eval(node))
        constants: dict[str, Any] = {}
        dropped: list[str] = []
        if init is None:
            # Settings of text generation are no part of a config any more.
            path = self._root / "generation" / "configuration_utils.py"
            for node in walk(self._tree(path)):
                if isinstance(node, ast.FunctionDef) and node.name.endswith(
                    "_get_default_generation_params"
                ):
                    dropped = [str(k) for k, _ in dict_items(node)]
            tree = self._tree(self._root / "configuration_utils.py")
            old = global_data(tree).get("_LEGACY_LAYER_TYPE_REMAP")
            if isinstance(old, dict):
                constants["layer_types"] = old
        return ClassSummary(BASE_NAMES[0], fields=fields, constants=constants, dropped=dropped)

    def summary(self, name: str) -> ClassSummary | None:
        """The summary of a class; None where the tree has no such class."""
        if name not in self.files:
            return None
        lineage = [name]
        while True:
            bases = [ast.unparse(b).rpartition(".")[2] for b in self._class(lineage[-1])[0].bases]
            known = [b for b in bases if b in self.files and b not in lineage]
            if not known:
                break
            lineage.append(known[0])
        return summarise(Lineage([self._class(n) for n in lineage]))

    def _class(self, name: str) -> tuple[ast.ClassDef, ast.Module]:
        return self._class_in(self.files[name], name)

    def _class_in(self, path: Path, *names: str) -> tuple[ast.ClassDef, ast.Module]:
        tree = self._tree(path)
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name in names:
                return node, tree
        raise NotExpressibleError(f"no class {names[0]} in {path}")

    def _tree(self, path: Path) -> ast.Module:
        if path not in self._trees:
            self._trees[path] = ast.parse(path.read_text(encoding="utf-8"))
        return self._trees[path]
