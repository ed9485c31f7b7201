"""Which options of a launch are recorded: those that decide about kernels."""

from __future__ import annotations

import shlex

import attrs

from fibcore.model.launch import DEFAULT_GPU, option_text
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree

READ_BY_PLUGINS = frozenset({
    "attention_backend", "decode_attention_backend", "dtype", "enable_lora",
    "json_model_override_args", "kv_cache_dtype", "lora_backend", "lora_paths",
    "lora_target_modules", "max_lora_rank",
    "prefill_attention_backend", "quantization", "sampling_backend", "speculative_algorithm",
})  # fmt: skip
"""Arguments that decide about kernels whether or not the model's source reads them."""


def recorded(serving: Serving, tree: ModelTree) -> Serving:
    """A way of serving with the line of its launch that records are made with.

    An option or a variable is in it where the model's source read it, or the server changed
    something on its account; `ignored` of the launch has the names of the others.
    """
    launch = serving.launch
    if launch is None:
        return serving
    known = tree.asked | READ_BY_PLUGINS | launch.effective | serving.options.keys()
    line = " ".join(
        option_text(name, value) for name, value in sorted(launch.given.items()) if name in known
    )
    variables = " ".join(
        f"{name}={shlex.quote(str(value))}"
        for name, value in sorted(launch.variables.items())
        if name in known
    )
    everything = (*launch.given, *launch.variables)
    ignored = tuple(sorted(name for name in everything if name not in known))
    text = f"{variables} {line}".strip()
    return attrs.evolve(serving, launch=attrs.evolve(launch, line=text, ignored=ignored))


def described(serving: Serving) -> str:
    """What else than the parallel sizes says how a model is served, as people read it."""
    launch = serving.launch
    parts = [] if launch is None or not launch.line else [launch.line]
    if serving.gpu != DEFAULT_GPU:
        parts.append(f"on {serving.gpu}")
    return " ".join(parts)
