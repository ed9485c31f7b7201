"""By which methods latent attention is computed, where the attention backend is not known.

`AttentionBackendRegistry` keeps a function for each attention backend that chooses one of
`AttnForwardMethod`. Which backend that is the server decides when it starts, and others than it
may run drafts. On NVIDIA's GPUs the functions choose from a few of the methods; those with
another platform in their name are that platform's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Args, Class, Kwargs, Native, merge
from fibcore.elaborate.sglang.arguments import argument
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_WHY = "how an attention backend computes latent attention"
_METHODS = ("MHA", "MLA", "MHA_CHUNKED_KV", "MHA_ONE_SHOT")


def attention_handler(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """`AttentionBackendRegistry.get_handler(backend_name)`: chooses a method on CUDA.

    Of a backend that is known it is the source's own.
    """
    name, unknown = argument(args, kwargs, 0, "backend_name"), Unknown(_WHY, place)
    space = ev.modules.space(place.file.removesuffix(".py").replace("/", "."))
    if space is None:
        return unknown
    registry = ev.modules.name_in(space, "AttentionBackendRegistry")
    methods = ev.modules.name_in(space, "AttnForwardMethod")
    if not isinstance(registry, Class) or not isinstance(methods, Class):
        return unknown
    handlers = ev.attributes.get(registry, "_handlers", place)
    if isinstance(name, str) and isinstance(handlers, dict):
        return handlers.get(name, handlers.get("triton", unknown))
    members = [ev.attributes.find(methods, member, place) for member in _METHODS]
    if any(isinstance(member, Unknown) or member is ABSENT for member in members):
        return unknown  # a model's own methods, which others choose
    chosen = merge(members)
    return Native("attention handler", lambda *_: chosen)
