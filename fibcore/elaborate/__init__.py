"""Static elaboration: SGLang's source text, a config and serving sizes give the tree of modules.

Nothing of the source is imported or executed. See `fibcore.elaborate.evaluator` for how it works
and `fibcore.tree` for what comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.index import SourceIndex, entry_classes
from fibcore.errors import ElaborationError, UnknownModelError

if TYPE_CHECKING:
    from fibcore.serving import Serving
    from fibcore.sources.configs import ModelConfig
    from fibcore.sources.tree import SourceTree
    from fibcore.tree import ModelTree

__all__ = ["elaborate", "model_files"]


def model_files(source: SourceTree) -> Mapping[str, tuple[str, ...]]:
    """The architectures that each model file registers.

    Args:
        source: The SGLang source tree.

    Returns:
        File stem in `srt/models` to the architectures of its `EntryClass`, in name order.

    Raises:
        ElaborationError: the tree holds no model files.
    """
    index = SourceIndex(source.root)
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


def elaborate(
    source: SourceTree,
    config: ModelConfig,
    serving: Serving,
    *,
    architecture: str | None = None,
) -> ModelTree:
    """Construct the model that a config names, as one tensor-parallel rank would.

    Args:
        source: The SGLang source tree.
        config: The model's config.
        serving: Parallel sizes.
        architecture: The model class, where it is not the config's first architecture.

    Returns:
        The tree; `partial` where something in it could not be known.

    Raises:
        UnknownModelError: the source has no such architecture.
        ConfigError: the config lacks a key that the source reads, or holds what it refuses.
        ServingError: the parallel sizes do not fit the model.
        ElaborationError: the source goes beyond what can be elaborated.
    """
    from fibcore.elaborate.session import Session

    return Session(source, config, serving).run(architecture or config.architecture)


def find_architecture(index: SourceIndex, name: str) -> Any:
    """The model file that registers an architecture.

    Raises:
        UnknownModelError: there is none, with the nearest names.
    """
    names: list[str] = []
    for module in index.model_modules():
        if name not in module.text and "EntryClass" not in module.text:
            continue
        entries = entry_classes(module)
        if name in entries:
            return module
        names.extend(entries)
    from rapidfuzz import process

    near = [m[0] for m in process.extract(name, names, limit=3)]
    raise UnknownModelError(
        f"this SGLang has no architecture {name}",
        where=str(index.root),
        expected="one of those that `fibcore models` lists, such as " + ", ".join(near),
        found=name,
    )
