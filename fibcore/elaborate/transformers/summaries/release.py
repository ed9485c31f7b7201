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
    self_attribute,
    string_pairs,
)
from fibcore.regular_files import read_text
from fibcore.syntax import parse_module, walk

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
            for match in _CLASS.finditer(read_text(path)):
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
        """The keys that the base class of all configs takes.

        What it does with them is known to `SummaryInterpreter.base`.
        """
        cls, _ = self._class_in(self._root / "configuration_utils.py", *BASE_NAMES)
        init = method(cls, "__init__")
        nodes = annotated(cls) if init is None else parameters(init) or _popped(init)
        fields = {k: default_of(v) for k, v in nodes.items()}
        defaults = method(cls, "_get_global_generation_defaults")
        for node in walk(defaults) if defaults is not None else ():
            if isinstance(node, ast.Dict):
                fields.update(ast.literal_eval(node))
        constants = self._old_layer_types() if init is None else {}
        dropped = self._generation_keys() if init is None else []
        return ClassSummary(BASE_NAMES[0], fields=fields, constants=constants, dropped=dropped)

    def _generation_keys(self) -> list[str]:
        """Settings of text generation, which are no part of a config from transformers 5 on."""
        found: list[str] = []
        for node in walk(self._tree(self._root / "generation" / "configuration_utils.py")):
            if isinstance(node, ast.FunctionDef) and node.name.endswith(
                "_get_default_generation_params"
            ):
                found = [str(k) for k, _ in dict_items(node)]
        return found

    def _old_layer_types(self) -> dict[str, Any]:
        """Older names of kinds of layers, which the base class replaces."""
        tree = self._tree(self._root / "configuration_utils.py")
        old = global_data(tree).get("_LEGACY_LAYER_TYPE_REMAP")
        return {"layer_types": old} if isinstance(old, dict) else {}

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
            self._trees[path] = parse_module(read_text(path))
        return self._trees[path]


def _popped(init: ast.FunctionDef) -> dict[str, ast.expr]:
    """The keys that a constructor takes as `self.key = kwargs.pop("key", default)`.

    (The base class of transformers up to 4.56; `torch_dtype` is `dtype` since.)
    """
    found: dict[str, ast.expr] = {}
    for node in init.body:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
            continue
        target, call = node.targets[0], node.value
        if not (isinstance(target, ast.Attribute) and self_attribute(target)):
            continue
        if ast.unparse(call.func) == "kwargs.pop" and len(call.args) == 2:
            key, default = call.args
            if isinstance(key, ast.Constant) and key.value == target.attr != "torch_dtype":
                found[target.attr] = default
    return found
