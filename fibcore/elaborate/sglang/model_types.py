"""Which model types a model class is for, and which model classes a model type.

`config.json` says both as a rule. Where one is missing, transformers' Auto classes know most pairs,
SGLang's model files name the config class of their constructor, and names agree in the end.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from fibcore.elaborate.python.index import SourceModule
from fibcore.elaborate.sglang.index import SourceIndex, entry_classes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fibcore.elaborate.transformers.class_tables import ClassTable

# What a model class's name has behind the model's own name.
_HEADS = re.compile(
    r"(ForCausalLM|ForConditionalGeneration|ForSequenceClassification|ForRewardModel|LMHeadModel"
    r"|ForTokenClassification|ForMaskedLM|ChatModel|CausalLM|VLForCausalLM|Model)+\w{0,8}$"
)
_OWN = re.compile(
    r"^[ \t]*class\s+(?P<cls>\w+)"
    r"|^[ \t]+model_type(?:\s*:[^=\n]+)?\s*=\s*[\"'](?P<kind>[\w.-]+)[\"']",
    re.MULTILINE,
)


def own_model_types(index: SourceIndex) -> dict[str, str]:
    """SGLang's own config classes: name to model type."""
    found: dict[str, str] = {}
    for path in sorted((index.root / "srt" / "configs").glob("*.py")):
        module = index.module(f"{index.package}.srt.configs.{path.stem}")
        name = ""
        for match in _OWN.finditer(module.text if module is not None else ""):
            if match.group("cls"):
                name = match.group("cls")
            elif name:
                found.setdefault(name, match.group("kind"))
    return found


def model_types_of(index: SourceIndex, table: ClassTable, architecture: str) -> tuple[str, ...]:
    """The model types whose configs a model class is for, the likeliest first.

    Args:
        index: The SGLang tree.
        table: The config classes of the transformers release that it requires.
        architecture: The model class.
    """
    kinds: dict[str, None] = {}
    for kind, classes in table.architectures.items():
        if architecture in ([classes] if isinstance(classes, str) else classes):
            kinds.setdefault(kind)
    own = own_model_types(index)
    bases = list(_ancestors(index, architecture))
    for kind, classes in table.architectures.items():
        if set(bases) & set([classes] if isinstance(classes, str) else classes):
            kinds.setdefault(kind)
    by_class = {name: kind for kind, name in reversed(list(table.model_types.items()))}
    for name in _annotations(index, architecture):
        summary = table.find(name)
        named = own.get(name) or by_class.get(name) or (summary.model_type if summary else "")
        if named:
            kinds.setdefault(named)
    wanted = _bare(architecture)
    for name, kind in {**by_class, **own}.items():
        if _bare(name) == wanted or kind.replace("_", "").replace("-", "").lower() == wanted:
            kinds.setdefault(kind)
    plain = {kind: re.sub(r"[^a-z0-9]", "", kind.lower()) for kind in kinds}
    return tuple(sorted(kinds, key=lambda kind: plain[kind] != wanted))


def architectures_of(index: SourceIndex, table: ClassTable, model_type: str) -> tuple[str, ...]:
    """The model classes of a SGLang tree that a model type may be served by, the likeliest first.

    Args:
        index: The SGLang tree.
        table: The config classes of the transformers release that it requires.
        model_type: The model type.
    """
    known = [name for module in index.model_modules() for name in entry_classes(module)]
    classes = table.architectures.get(model_type, ())
    found = dict.fromkeys(
        c for c in ([classes] if isinstance(classes, str) else classes) if c in known
    )
    if not found:
        wanted = re.sub(r"[^a-z0-9]", "", model_type.lower())
        found = dict.fromkeys(n for n in known if _bare(n) == wanted)
    return tuple(found)


def _bare(name: str) -> str:
    short = name[: -len("Config")] if name.endswith("Config") else _HEADS.sub("", name)
    return re.sub(r"[^a-z0-9]", "", short.lower())


def _annotations(index: SourceIndex, architecture: str) -> Iterator[str]:
    """Config classes that the constructor of a model class, or of a base class, names."""
    for module in index.model_modules():
        if architecture in module.text and architecture in entry_classes(module):
            yield from _constructor(index, module, architecture, 0)
            return


def _ancestors(index: SourceIndex, architecture: str) -> Iterator[str]:
    """Names of the classes that a model class derives from."""
    for module in index.model_modules():
        if architecture in module.text and architecture in entry_classes(module):
            names, seen = [architecture], {architecture}
            while names:
                for statement in module.binding(names.pop()):
                    for node in statement.nodes:
                        for base in node.bases if isinstance(node, ast.ClassDef) else ():
                            name = ast.unparse(base).rpartition(".")[2]
                            if name not in seen:
                                seen.add(name)
                                names.append(name)
                                yield name
            return


def _constructor(index: SourceIndex, module: SourceModule, name: str, depth: int) -> Iterator[str]:
    if depth > 4:
        return
    for statement in module.binding(name):
        for node in statement.nodes:
            if isinstance(node, ast.ImportFrom) and node.module:
                inner = index.module(node.module)
                if inner is not None:
                    yield from _constructor(index, inner, name, depth + 1)
            if not isinstance(node, ast.ClassDef):
                continue
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                    for argument in (*item.args.args, *item.args.kwonlyargs):
                        if argument.arg in ("config", "hf_config") and argument.annotation:
                            found = re.findall(r"\w+Config\b", ast.unparse(argument.annotation))
                            yield from (f for f in found if not f.startswith("PreT"))
            for base in node.bases:
                if isinstance(base, ast.Name):
                    yield from _constructor(index, module, base.id, depth + 1)
