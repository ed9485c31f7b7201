"""Draft models of speculative decoding, which a launch runs beside the model that it serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.errors import FibcoreError
from fibcore.extraction.find import resolve
from fibcore.model.serving import Serving
from fibcore.sources.tree import SourceTree

if TYPE_CHECKING:
    from fibcore.configs.catalogue import ResolvedModel

_SUFFIX = "-draft"
_OF_TARGET = frozenset({"quantization", "enable_lora", "lora_paths"})
"""Options about the target alone: a draft has a quantisation of its own, and no adapters."""
_WITHOUT_MODEL = frozenset({"NGRAM"})
"""Algorithms that guess from the text itself."""


def draft_model(source: SourceTree, model: ResolvedModel, serving: Serving) -> ResolvedModel | None:
    """The draft model of a launch; None where it names no algorithm, or one without a model.

    `--speculative-draft-model-path` names it; without that it is in the model's own checkpoint,
    and SGLang's `ModelConfig` says which class it has.

    Raises:
        FibcoreError: the model that the launch names has no config.
    """
    algorithm = serving.argument("speculative_algorithm")
    if algorithm is None or str(algorithm).upper() in _WITHOUT_MODEL:
        return None
    # As the launch has it: the server writes the model's own path where there is none.
    given = {} if serving.launch is None else serving.launch.given
    path = given.get("speculative_draft_model_path")
    if path is not None:
        return _named(str(path), source)
    from fibcore.elaborate import draft_of

    found = draft_of(source, model.config, serving, architecture=model.architecture)
    if found is None:
        return None
    slug = f"{model.slug}{_SUFFIX}"
    return attrs.evolve(
        model,
        slug=slug,
        config=attrs.evolve(model.config, slug=slug),
        architecture=found,
        notes=(*model.notes, f"the draft model in the checkpoint of {model.slug}"),
    )


def _named(path: str, source: SourceTree) -> ResolvedModel:
    folder = Path(path).expanduser()
    if folder.exists():
        name = f"{folder.name}{_SUFFIX}"
        found = resolve(name, source, config=folder)
    else:
        try:
            found = resolve(path, source)
        except FibcoreError as error:
            # `--config` is the target's.
            error.hint = "--speculative-draft-model-path takes a folder with its config.json too"
            raise
        name = f"{found.slug}{_SUFFIX}"
    return attrs.evolve(found, slug=name, config=attrs.evolve(found.config, slug=name))


def is_draft_slug(slug: str) -> bool:
    """Whether a model of this name is the draft of a launch."""
    return slug.endswith(_SUFFIX)


def of_draft(serving: Serving) -> Serving:
    """How the draft model of a launch is served, once the server has decided about the target.

    It is quantised as it is told to be, by default like the target; its experts have backends of
    their own (`--speculative-moe-runner-backend`).
    """
    launch = serving.launch
    if launch is None:
        return serving
    arguments = {k: v for k, v in launch.arguments.items() if k not in _OF_TARGET}
    own = arguments.get("speculative_draft_model_quantization")
    if own not in (None, "unquant"):
        arguments["quantization"] = own
    for name in ("moe_runner_backend", "moe_a2a_backend"):
        backend = arguments.get(f"speculative_{name}")
        if isinstance(backend, str):
            arguments[name] = backend
    return attrs.evolve(serving, launch=attrs.evolve(launch, arguments=arguments))
