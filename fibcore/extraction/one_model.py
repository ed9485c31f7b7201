"""One model, served in one way: what is asked for, and its tree. `fibcore.tree` gives the tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from fibcore.extraction.find import elaborated, few_collections, resolve, settled
from fibcore.extraction.request import (
    Config,
    Launched,
    OnGpu,
    Request,
    launch_line,
    sizes_of_a_launch,
)
from fibcore.keywords import api, listed, part
from fibcore.model.launch import known_gpu
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree
from fibcore.ops.options import DeclaredOptions
from fibcore.sources.tree import SourceTree
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fibcore.configs.catalogue import ResolvedModel


class OneAsked(Where, Launched, OnGpu, total=False):
    """The keywords of what is about one model, served in one way.

    Attributes:
        hf_repo_id: Take the config from this Hub repository.
        config: Take the config from this file, or this plain data.
        tp: Tensor-parallel size; by default how the catalogue says the model is served.
        ep: Expert-parallel size, likewise.
    """

    hf_repo_id: str | None
    config: Config
    tp: int | None
    ep: int | None


@attrs.frozen
class OneModel:
    """A model as it is served.

    Attributes:
        model: Its name and config.
        source: SGLang.
        serving: How it is served.
        tree: What it consists of.
    """

    model: ResolvedModel
    source: SourceTree
    serving: Serving
    tree: ModelTree


def elaborated_alone(model_name: str, asked: OneAsked) -> OneModel:
    """Elaborate the model that is asked for.

    Raises:
        UsageError: an option is wrong, or no model is named.
        FibcoreError: no such model, a config that cannot be read, no source.
    """
    tp, ep = asked.get("tp"), asked.get("ep")
    hf_repo_id, config = asked.get("hf_repo_id"), asked.get("config")
    request = Request(
        tp=listed(tp),
        ep=listed(ep),
        hf_repo_id=hf_repo_id,
        config=config,
        launch=launch_line(asked.get("launch")),
        gpu=known_gpu(asked.get("gpu")),
    )
    if request.launch is not None:
        sizes_of_a_launch(tp=tp, ep=ep)
    names = (model_name,) if model_name else ()
    request.check_named(names)
    source = Workspace.of(**part(Where, asked)).source()
    request = request.for_source(source)
    (name,) = request.named(names, source)
    model = resolve(name, source, hf_repo_id=hf_repo_id, config=config)
    request = request.for_model(model.slug, source)
    sizes = request.combinations(model)[0]
    serving = settled(source, model, request.serving(model, *sizes, DeclaredOptions()))
    with few_collections():
        tree = elaborated(source, model, serving)
    return OneModel(model, source, serving, tree)


@api(OneAsked)
def tree(model_name: str = "", **asked: Unpack[OneAsked]) -> ModelTree:
    """Elaborate a model and give its tree: what plugins see of it.

    `tree.find("model.layers.0.self_attn")` is a module with its class, constructor arguments,
    attributes and calls, `tree.kernel_calls` what runs beside modules, `tree.missing` what could
    not be elaborated.

    Args:
        model_name: As for `fibcore.extract`; may be left out where a launch line names the model.
        **asked: Its config, how it is served, and where SGLang's source is; see `OneAsked`.

    Raises:
        UsageError: an option is wrong, or no model is named.
        FibcoreError: no such model, a config that cannot be read, no source.
    """
    return elaborated_alone(model_name, asked).tree
