"""Which config class belongs to an architecture, read off source text.

An architecture without any config file can still be elaborated with what its config class defaults
to. The class is named by its `model_type`; which one that is say, in this order: the tables of
transformers' auto classes, the annotation of the constructor's `config`, and the names themselves.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import attrs

from fibcore.elaborate.index import SourceIndex, SourceModule, entry_classes
from fibcore.elaborate.pins import transformers_source
from fibcore.sources.tree import SourceTree

_AUTO = "models/auto/modeling_auto.py"
_ENTRY = re.compile(
    r"\(\s*[\"']([\w.-]+)[\"']\s*,\s*\(?((?:\s*[\"']\w+[\"']\s*,?)+)\s*\)?\s*,?\s*\)"
)
_WORD = re.compile(r"\w+")
_CLASS = re.compile(r"^class\s+(\w+)", re.MULTILINE)
_MODEL_TYPE = re.compile(r"^\s+model_type(?:\s*:[^=\n]+)?\s*=\s*[\"']([\w.-]+)[\"']", re.MULTILINE)
_NO_CLASS_OF_A_MODEL = frozenset({"PretrainedConfig", "PreTrainedConfig", "QuantizationConfig"})
_SUFFIXES = re.compile(
    r"(?:ForCausalLM|LMHead|ForConditionalGeneration|ForSequenceClassification|ForMaskedLM"
    r"|ForRewardModel|RewardModel|ForCLIP|Model|Backbone)\w*$"
)


@attrs.frozen
class ClassConfig:
    """The config class of an architecture.

    Attributes:
        model_type: What `config.json` calls it.
        why: What says that it belongs to the architecture.
    """

    model_type: str
    why: str


class ClassConfigs:
    """The config classes of a SGLang source and of the transformers release that it wants.

    Attributes:
        lacking: Why transformers' classes cannot be had; empty where they can.
    """

    def __init__(self, source: SourceTree) -> None:
        self._index = SourceIndex(source.root)
        foreign, self.lacking = transformers_source(source)
        self._foreign = None if foreign is None else foreign.root

    def find(self, architecture: str) -> ClassConfig | str:
        """The config class of an architecture, or why none is known."""
        known = self._auto.get(architecture, ())
        if known:
            return ClassConfig(_nearest(architecture, known), f"transformers' {_AUTO}")
        module = self._modules.get(architecture)
        named = [] if module is None else list(self._annotations(module, architecture))
        for name in named:
            if name in self._types:
                return ClassConfig(self._types[name], f"config: {name}")
        stem = _SUFFIXES.sub("", architecture)
        for name in (f"{stem}Config", f"{architecture}Config"):
            if name in self._types:
                return ClassConfig(self._types[name], f"the name of {name}")
        what = f"no class {' or '.join(named)}" if named else f"no class {stem}Config"
        lacking = f"; {self.lacking}" if self.lacking else ""
        return f"{what} in srt/configs or transformers{lacking}"

    @cached_property
    def _modules(self) -> Mapping[str, SourceModule]:
        return {c: m for m in self._index.model_modules() for c in entry_classes(m)}

    @cached_property
    def _auto(self) -> Mapping[str, tuple[str, ...]]:
        """Architecture to the model types that transformers' tables give it."""
        found: dict[str, dict[str, None]] = {}
        path = None if self._foreign is None else self._foreign / _AUTO
        if path is not None and path.is_file():
            for match in _ENTRY.finditer(path.read_text(encoding="utf-8", errors="replace")):
                if match.group(1) in self._known:
                    for name in _WORD.findall(match.group(2)):
                        found.setdefault(name, {})[match.group(1)] = None
        return {name: tuple(types) for name, types in found.items()}

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self._types.values())

    @cached_property
    def _types(self) -> Mapping[str, str]:
        """Config class to its model type; a class of SGLang hides one of transformers."""
        found: dict[str, str] = {}
        for path in self._files():
            text = path.read_text(encoding="utf-8-sig", errors="replace")
            # What re.split gives: the text before the first class, then name and body in turn.
            _, *parts = _CLASS.split(text)
            for name, body in zip(parts[::2], parts[1::2], strict=True):
                match = _MODEL_TYPE.search(body)
                if match:
                    found.setdefault(name, match.group(1))
        return found

    def _files(self) -> Iterator[Path]:
        yield from sorted((self._index.root / "srt" / "configs").glob("*.py"))
        if self._foreign is not None:
            yield from sorted((self._foreign / "models").glob("*/configuration_*.py"))

    def _annotations(self, module: SourceModule, architecture: str) -> Iterator[str]:
        """The config classes that the constructor's annotation of `config` names.

        It is the nearest constructor's, over base classes that are models of this source too.
        """
        seen: set[str] = set()
        name: str | None = architecture
        while name is not None and name not in seen:
            seen.add(name)
            node = _class_node(module, name)
            if node is None and name in self._modules:
                module = self._modules[name]
                node = _class_node(module, name)
            if node is None:
                return
            named = [n for n in _config_annotation(node) if n not in _NO_CLASS_OF_A_MODEL]
            if named:
                yield from named
                return
            name = next((b.id for b in node.bases if isinstance(b, ast.Name)), None)


def _class_node(module: SourceModule, name: str) -> ast.ClassDef | None:
    for statement in module.binding(name):
        for node in statement.nodes:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return node
    return None


def _config_annotation(node: ast.ClassDef) -> Iterator[str]:
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            for argument in (*part.args.posonlyargs, *part.args.args, *part.args.kwonlyargs):
                if argument.arg in ("config", "hf_config") and argument.annotation is not None:
                    for word in _WORD.findall(ast.unparse(argument.annotation)):
                        if word.endswith("Config"):
                            yield word


def _nearest(architecture: str, model_types: Iterable[str]) -> str:
    """The model type that is most like the class's name; the first one where none is."""
    plain = architecture.lower()
    candidates = list(model_types)
    return max(candidates, key=lambda t: (_common(t.replace("_", ""), plain), -candidates.index(t)))


def _common(model_type: str, plain: str) -> int:
    return len(model_type) if plain.startswith(model_type.replace("-", "")) else 0
