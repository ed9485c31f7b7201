"""Which model classes a SGLang tree has, and which of them it takes for a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fibcore.elaborate.sglang.config_loading import loaded_as
from fibcore.elaborate.sglang.index import SourceIndex, entry_classes, index_of
from fibcore.errors import ConfigError, ElaborationError, UnknownModelError, nearest

if TYPE_CHECKING:
    from fibcore.configs.model_config import ModelConfig
    from fibcore.elaborate.python.index import SourceModule
    from fibcore.sources.tree import SourceTree


def model_files(source: SourceTree) -> Mapping[str, tuple[str, ...]]:
    """The architectures that each model file registers.

    Args:
        source: The SGLang source tree.

    Returns:
        File stem in `srt/models` to the architectures of its `EntryClass`, in name order.

    Raises:
        ElaborationError: the tree holds no model files.
    """
    index = index_of(source.root)
    found = {m.path.stem: entry_classes(m) for m in index.model_modules()}
    found = {stem: names for stem, names in found.items() if names}
    if not found:
        raise ElaborationError(
            "the source tree holds no models",
            where=str(source.root),
            expected="files with an EntryClass in srt/models",
            hint="give the folder of the sglang package, or a repository that holds it",
        )
    return found


def served_architecture(index: SourceIndex, config: ModelConfig, named: str | None = None) -> str:
    """The model class that SGLang takes for a config.

    Args:
        index: The SGLang tree.
        config: The model's config.
        named: The class that was asked for; None for the one that the config means.

    Raises:
        ConfigError: the config names none, and its model type is served by none or by several.
    """
    from fibcore.elaborate.sglang.class_architectures import class_architecture

    kind = config.data.get("model_type")
    said = named or class_architecture(index, config.data)
    if said is not None or config.data.get("architectures"):
        name = said or config.architecture
        # The loader's own names for what files call otherwise (get_config).
        changed = loaded_as(config.data, name)
        return changed if changed is not None else name
    if not isinstance(kind, str) or not kind:
        return config.architecture  # says that it is missing
    from fibcore.elaborate.sglang.model_types import architectures_of
    from fibcore.elaborate.transformers.pins import NEWEST_MAJOR, pinned_transformers, table_of

    table = table_of(pinned_transformers(index.root), NEWEST_MAJOR).table
    found = () if table is None else architectures_of(index, table, kind)
    if len(found) == 1:
        return found[0]
    raise ConfigError(
        "the config names no architecture, and its model type does not tell which one"
        if found
        else "the config names no architecture, and no model class is known for its model type",
        where=f"{config.origin}: architectures",
        expected=f"one of {', '.join(found)}" if found else "a class that `fibcore models` lists",
        found=f"nothing, with model_type {kind}",
        hint='add "architectures": [CLASS] to the config',
    )


def find_architecture(index: SourceIndex, name: str) -> SourceModule:
    """The model file that registers an architecture.

    Raises:
        UnknownModelError: there is none, with the nearest names.
    """
    for module in index.model_modules():
        # Only files that have the name are looked into.
        if name in module.text and name in entry_classes(module):
            return module
    names = [known for module in index.model_modules() for known in entry_classes(module)]
    near = nearest(name, names)
    raise UnknownModelError(
        f"this SGLang has no architecture {name}",
        where=str(index.root),
        expected="one of those that `fibcore models` lists, such as " + ", ".join(near),
        found=name,
    )
