"""What a model is built of, from transformers' own classes on the meta device.

A second derivation to hold the evaluator against: it runs another program, and shares no code with
fibcore. The one table here says which projections SGLang fuses into one.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

# A fact is a tuple; facts are kept by layer, None stands for what is outside of layers:
#   "linear", name, in, out, whether it has a bias
#   "norm", name, size, eps
#   "embedding", vocabulary, size
#   "experts", number, top k, hidden size, intermediate size
#   "attention", heads, KV heads, head size, that of values, scaling, window, cap of logits
Fact = tuple[Any, ...]
Facts = dict["int | None", Counter[Fact]]

LAYER = re.compile(r"(?:^|\.)(?:layers|blocks)\.(\d+)\.(.+)")
# Not a module that holds norms.
NORM = re.compile(r"Norm(Gated)?$")
# transformers' projections to the one that SGLang makes of them.
FUSED = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj"), "qkv_proj"),
    **dict.fromkeys(("gate_proj", "up_proj"), "gate_up_proj"),
    **dict.fromkeys(("q_a_proj", "kv_a_proj_with_mqa"), "fused_qkv_a_proj_with_mqa"),
}
# Model types of remote code whose modules are those of a class that transformers has.
SAME_AS = {"kimi_k2": "deepseek_v3", "deepseek_v32": "deepseek_v3"}
# Experts are modules of their own in some classes: more layers would take seconds to build.
MANY_EXPERTS = 2000
LAYERS_OF_MANY_EXPERTS = 4


def language_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the language model, with a model type that transformers may know."""
    text = dict(config.get("text_config") or config)
    kind = text.get("model_type", config["model_type"])
    text["model_type"] = SAME_AS.get(kind, kind)
    for key in ("auto_map", "quantization_config"):
        text.pop(key, None)
    return text


def _own_config(config: Mapping[str, Any]) -> Any:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    text = language_config(config)
    if text["model_type"] not in CONFIG_MAPPING:
        return None
    own = CONFIG_MAPPING[text["model_type"]].from_dict(text)
    return own if type(own) in MODEL_FOR_CAUSAL_LM_MAPPING else None


def facts(config: Mapping[str, Any]) -> Facts | None:
    """The facts of a model, of its first layers where it has many experts; None: no class."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.modeling_utils import no_init_weights

    own = _own_config(config)
    if own is None:
        return None
    experts = max(getattr(own, name, 0) for name in ("n_routed_experts", "num_experts"))
    if experts * own.num_hidden_layers > MANY_EXPERTS:
        own.num_hidden_layers = LAYERS_OF_MANY_EXPERTS
    with torch.device("meta"), no_init_weights():
        model = AutoModelForCausalLM.from_config(own)
    return _Walk(model, is_tied(config)).found


def has_class(config: Mapping[str, Any]) -> bool:
    """Whether the installed transformers has a class for the model."""
    return _own_config(config) is not None


def is_tied(config: Mapping[str, Any]) -> bool:
    """Whether the head is the embedding."""
    return bool(_own_config(config).tie_word_embeddings)


def place(path: str) -> tuple[int | None, str]:
    """Layer and path below the layer."""
    match = LAYER.search(path)
    return (int(match[1]), match[2]) if match else (None, path)


class _Walk:
    def __init__(self, model: Any, tied: bool) -> None:
        self.found: Facts = defaultdict(Counter)
        self.tied = tied
        self.modules = dict(model.named_modules())
        self.fused: dict[tuple[int | None, str, str], list[Any]] = defaultdict(list)
        for path, module in self.modules.items():
            layer, below = place(path)
            if re.search(r"experts\.\d+", below):
                continue
            self.found[layer].update(self.of(layer, path, below, module))
        for (layer, parent, fused), named in self.fused.items():
            # One alone is not fused: a model without a latent query keeps its kv_a as it is.
            name = fused if len(named) > 1 else named[0][0]
            linears = [linear for _, linear in named]
            shared = "shared_" if "shared_expert" in parent else ""
            sizes = linears[0].in_features, sum(m.out_features for m in linears)
            fact = "linear", shared + name, *sizes, linears[0].bias is not None
            self.found[layer][fact] += 1

    def of(self, layer: int | None, path: str, below: str, module: Any) -> Iterator[Fact]:
        import torch

        parent, _, name = below.rpartition(".")
        if isinstance(module, torch.nn.Embedding):
            yield "embedding", module.num_embeddings, module.embedding_dim
        elif isinstance(module, torch.nn.Linear):
            if name != "lm_head" or not self.tied:
                self.fused[layer, parent, FUSED.get(name, name)].append((name, module))
        elif isinstance(module, torch.nn.Conv1d):
            sizes = module.kernel_size[0], module.out_channels
            yield "linear", name, *sizes, module.bias is not None
        elif NORM.search(type(module).__name__) and not list(module.children()):
            yield _norm(name, module)
        elif name in ("gate", "router") and getattr(module, "weight", None) is not None:
            experts, size = module.weight.shape
            yield "linear", name, size, experts, getattr(module, "bias", None) is not None
        elif name == "experts":
            yield _experts(module, self.modules[path.rpartition(".")[0]])
        elif name in ("self_attn", "attn"):
            yield from _attention(module)


def _norm(name: str, module: Any) -> Fact:
    eps = getattr(module, "variance_epsilon", None) or module.eps
    weight = getattr(module, "weight", None)
    return "norm", name, None if weight is None else weight.shape[0], eps


def _experts(module: Any, block: Any) -> Fact:
    top_k = next(
        getattr(m, n)
        for m in (block, *(getattr(block, r, None) for r in ("gate", "router")))
        for n in ("top_k", "moe_top_k", "num_experts_per_tok")
        if m is not None and isinstance(getattr(m, n, None), int)
    )
    if hasattr(module, "gate_up_proj"):
        count, hidden, twice = module.gate_up_proj.shape
        return "experts", count, top_k, hidden, twice // 2
    if hasattr(module, "mlp"):  # all in one matrix
        rows, hidden = module.mlp.w1.shape
        count = module.mlp.moe_num_experts
        return "experts", count, top_k, hidden, rows // count
    first = module[0]
    wide = first.w1 if hasattr(first, "w1") else first.gate_proj
    return "experts", len(module), top_k, wide.in_features, wide.out_features


def _attention(module: Any) -> Iterator[Fact]:
    """Heads from the sizes of the projections, the rest from what the module says."""
    out = module.o_proj if hasattr(module, "o_proj") else module.out_proj
    scaling = getattr(module, "scaling", None)
    if hasattr(module, "kv_lora_rank"):
        latent, rope = module.kv_lora_rank, module.qk_rope_head_dim
        heads = out.in_features // module.v_head_dim
        query = module.qk_nope_head_dim + rope
        yield _heads(heads, heads, query, module.v_head_dim, scaling)
        yield _heads(heads, 1, latent + rope, latent, scaling)
        return
    size = module.head_dim
    heads = out.in_features // size
    if hasattr(module, "k_proj"):
        kv_heads = module.k_proj.out_features // size
    else:
        fused = module.Wqkv if hasattr(module, "Wqkv") else module.qkv_proj
        kv_heads = (fused.out_features // size - heads) // 2
    window = getattr(module, "sliding_window", None)
    cap = getattr(module, "attn_logit_softcapping", None)
    yield _heads(heads, kv_heads, size, size, scaling or size**-0.5, window, cap)


def _heads(
    heads: int,
    kv_heads: int,
    size: int,
    value_size: int,
    scaling: float,
    window: int | None = None,
    cap: float | None = None,
) -> Fact:
    return "attention", heads, kv_heads, size, value_size, rounded(scaling), window, cap or None


def rounded(value: float) -> float:
    """A float as it is compared: programs take roots in different order."""
    return float(f"{value:.9g}")
