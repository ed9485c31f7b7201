"""The sampler: what the server runs on a model's logits, beside the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import Class, Ext, Func, Mod, Namespace, Tensor
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

PATH = "sampler"
"""The sampler's path in the model tree, beside the model's own modules."""
_MODULE = "srt.layers.sampler"
_OFF = {
    "grammars": None,
    "has_custom_logit_processor": False,
    "penalizer_orchestrator": None,
    "logit_bias": None,
    "sampling_seed": None,
    "sampling_mask_batch_indices": None,
    "sampling_support_logprobs_capture_indices": None,
    "has_watermark_candidates": False,
}
"""What requests have none of that do not ask for it."""
_PER_REQUEST = {
    "temperatures": ("torch.float32", 2),
    "top_ps": ("torch.float32", 1),
    "min_ps": ("torch.float32", 1),
    "top_ks": ("torch.int32", 1),
}
"""Tensors with a number for each request: their dtypes and ranks."""
_REQUESTS = "the number of requests"


def make(ev: Evaluator) -> Mod | None:
    """The sampler as the model runner makes it; None where the source has none.

    Raises:
        Raised: its constructor raises.
    """
    module = f"{ev.index.package}.{_MODULE}"
    place = SourcePlace(module.replace(".", "/") + ".py", 1)
    space = ev.modules.space(module)
    if space is None:
        return None
    for name in ("create_sampler", "Sampler"):
        maker = ev.modules.name_in(space, name)
        if isinstance(maker, (Func, Class)):
            made = ev.calls.call(maker, [], {}, place)
            return made if isinstance(made, Mod) else None
    return None


def arguments(ev: Evaluator, func: Func, vocabulary: Any) -> list[Any]:
    """What the model runner calls the sampler's forward pass with.

    The logits are those of the last tokens, [number of requests, vocabulary], as the layer behind
    the head leaves them: float32. The requests ask for no log-probabilities, no grammar and no
    seed; whether they sample at all, and by top-k, top-p or min-p, differs from batch to batch.

    Args:
        ev: The evaluator of the source tree.
        func: The sampler's `forward`.
        vocabulary: The number of tokens that the model knows.
    """
    place = func.place
    logits = Tensor((Unknown(_REQUESTS, place), vocabulary), Ext("torch.float32"))
    known = {
        "logits_output": Namespace(
            "logits output",
            {"next_token_logits": logits},
            lambda name: Unknown.attribute(f"attribute {name} of the logits' output", place),
        ),
        "sampling_info": _sampling_info(place),
        "return_logprob": False,
    }
    return [
        known.get(arg.arg, func.defaults.get(arg.arg, Unknown(f"{arg.arg} of the batch", place)))
        for arg in func.node.args.args[1:]
    ]


def _sampling_info(place: SourcePlace) -> Namespace:
    """How the requests of a batch are sampled."""
    requests = Unknown(_REQUESTS, place)
    tensors = {
        name: Tensor((requests, 1)[:rank], Ext(dtype))
        for name, (dtype, rank) in _PER_REQUEST.items()
    }
    return Namespace(
        "sampling info",
        {**_OFF, **tensors},
        lambda name: Unknown.attribute(f"sampling_info.{name}, which differs", place),
    )
