"""Static elaboration: SGLang's source text, a config and serving sizes give the tree of modules.

Nothing of the source is imported or executed. See `fibcore.elaborate.python.evaluator` for how it
works and `fibcore.model.tree` for what comes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fibcore.elaborate.sglang.architectures import model_files, served_architecture

if TYPE_CHECKING:
    from fibcore.configs.model_config import ModelConfig
    from fibcore.model.serving import Serving
    from fibcore.model.tree import ModelTree
    from fibcore.sources.tree import SourceTree

__all__ = ["draft_of", "elaborate", "model_files", "served_architecture", "settle"]


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

    session = Session(source, config, serving)
    return session.run(served_architecture(session.index, config, architecture))


def settle(
    source: SourceTree,
    config: ModelConfig,
    serving: Serving,
    *,
    architecture: str | None = None,
) -> Serving:
    """How a model is served once SGLang's server has decided about the options of its launch.

    Args:
        source: The SGLang source tree.
        config: The model's config.
        serving: How it is to be served.
        architecture: The model class, where it is not the config's first architecture.

    Raises:
        ServingError: the server refuses the options.
    """
    from fibcore.elaborate.session import Session

    session = Session(source, config, serving)
    return session.settle(served_architecture(session.index, config, architecture))


def draft_of(
    source: SourceTree,
    config: ModelConfig,
    serving: Serving,
    *,
    architecture: str | None = None,
) -> str | None:
    """The class of the draft model that a checkpoint holds beside its model, if it holds one."""
    from fibcore.elaborate.session import Session

    session = Session(source, config, serving)
    return session.draft(served_architecture(session.index, config, architecture))
