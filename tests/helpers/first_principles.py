"""What a model needs, from its config.json alone: a calculator that knows nothing of SGLang.

It is what extraction is compared with on real configs. Sizes are those of the whole model at
TP 1 and EP 1. Formulas are those of the models' papers and config classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs

Config = Mapping[str, Any]


@attrs.frozen
class Needs:
    """What a model needs.

    Attributes:
        gemms: (N, K) to the number of layers.
        shared: Those of `gemms` that are shared experts' and may be fused into the routed ones.
        attention: (query heads, KV heads, head_dim) to layers, by variant: "", "_swa4096", or the
            name of one that no definition has.
        latent: (query heads, latent size, rope size) to layers of absorbed latent attention.
        moe: (experts, top k, hidden size, intermediate size) to layers.
    """

    gemms: Counter[tuple[int, int]]
    shared: Counter[tuple[int, int]]
    attention: Counter[tuple[str, int, int, int]]
    latent: Counter[tuple[int, int, int]]
    moe: Counter[tuple[int, int, int, int]]


def needs(config: Config) -> Needs:
    """The needs of any model whose config is among the shared ones."""
    text = config.get("text_config", config)
    found = _Calculator(text, config.get("model_type", ""))
    found.language()
    vision = config.get("vision_config")
    if vision is not None and "out_hidden_size" in vision:
        found.qwen_vision(vision)
    return Needs(found.gemms, found.shared, found.attention, found.latent, found.moe)


class _Calculator:
    def __init__(self, config: Config, model_type: str) -> None:
        self.c = config
        self.kind = config.get("model_type", model_type)
        self.gemms: Counter[tuple[int, int]] = Counter()
        self.shared: Counter[tuple[int, int]] = Counter()
        self.attention: Counter[tuple[str, int, int, int]] = Counter()
        self.latent: Counter[tuple[int, int, int]] = Counter()
        self.moe: Counter[tuple[int, int, int, int]] = Counter()
        self.hidden = self.get("hidden_size", "d_model")
        self.layers = self.get("num_hidden_layers", "n_layers")

    def get(self, *names: str, default: Any = None) -> Any:
        for name in names:
            if self.c.get(name) is not None:
                return self.c[name]
        assert default is not None, names
        return default

    def language(self) -> None:
        self.gemms[self.c["vocab_size"], self.hidden] += 1
        if self.kind == "nemotron_h":
            self.nemotron_h()
            return
        if "kv_lora_rank" in self.c:
            self.latent_attention()
        else:
            self.grouped_attention()
        self.feed_forward()

    # -- attention ------------------------------------------------------------------------------

    def grouped_attention(self) -> None:
        nested = self.c.get("attn_config", {})
        heads = self.get("num_attention_heads", "n_heads")
        kv_heads = nested.get("kv_n_heads") or self.get("num_key_value_heads", default=heads)
        head_dim = self.c.get("head_dim") or self.hidden // heads
        full = self.layers
        if self.kind in ("qwen3_next", "qwen3_5_moe_text"):
            full = self.layers // self.c["full_attention_interval"]
            self.gated_delta_net(self.layers - full)
        # Qwen3-Next's queries bring a gate of their size along.
        queries = heads * (2 if self.kind in ("qwen3_next", "qwen3_5_moe_text") else 1)
        self.gemms[(queries + 2 * kv_heads) * head_dim, self.hidden] += full
        self.gemms[self.hidden, heads * head_dim] += full
        for layer in range(full):
            self.attention[self.variant(layer), heads, kv_heads, head_dim] += 1

    def variant(self, layer: int) -> str:
        """What the attention of a layer adds to plain attention."""
        window = self.c.get("sliding_window")
        if self.kind == "gemma2":
            return f"_swa{window}_cap50" if layer % 2 == 0 else "_cap50"
        if self.kind == "gemma3_text":
            return "" if (layer + 1) % self.c["sliding_window_pattern"] == 0 else f"_swa{window}"
        if self.kind == "gpt_oss":
            return f"_swa{window}_sink" if layer % 2 == 0 else "_sink"
        if self.kind == "llama4_text":
            return "" if (layer + 1) % 4 == 0 else "_chunk8192"
        # SGLang has no window for Phi-3.5-MoE, whose window is its whole context.
        assert not window or not self.c.get("use_sliding_window", True) or self.kind == "phimoe"
        return ""

    def gated_delta_net(self, layers: int) -> None:
        keys = self.c["linear_num_key_heads"] * self.c["linear_key_head_dim"]
        value_heads = self.c["linear_num_value_heads"]
        values = value_heads * self.c["linear_value_head_dim"]
        # Queries, keys, values and gate; two numbers a value head.
        self.gemms[2 * keys + 2 * values, self.hidden] += layers
        self.gemms[2 * value_heads, self.hidden] += layers
        self.gemms[self.hidden, values] += layers

    def latent_attention(self) -> None:
        heads, latent = self.c["num_attention_heads"], self.c["kv_lora_rank"]
        nope, rope = self.c["qk_nope_head_dim"], self.c["qk_rope_head_dim"]
        value = self.get("v_head_dim", default=self.hidden // heads)
        q_rank = self.c.get("q_lora_rank")
        if q_rank and self.kind == "minicpm3":
            self.gemms[q_rank, self.hidden] += self.layers
            self.gemms[latent + rope, self.hidden] += self.layers
        elif q_rank:
            self.gemms[q_rank + latent + rope, self.hidden] += self.layers
        else:
            self.gemms[latent + rope, self.hidden] += self.layers
        self.gemms[heads * (nope + rope), q_rank or self.hidden] += self.layers
        if self.kind != "minicpm3":  # its loader takes this weight apart, and deletes the layer
            self.gemms[heads * (nope + value), latent] += self.layers
        self.gemms[self.hidden, heads * value] += self.layers
        self.latent[heads, latent, rope] += self.layers
        if "index_n_heads" in self.c:
            size = self.c["index_head_dim"]
            self.gemms[self.c["index_n_heads"] * size, q_rank] += self.layers
            self.gemms[size, self.hidden] += self.layers
            self.gemms[self.c["index_n_heads"], self.hidden] += self.layers

    # -- feed forward ---------------------------------------------------------------------------

    def mlp(self, layers: int, size: int, *, shared: bool = False) -> None:
        for shape in ((2 * size, self.hidden), (self.hidden, size)):
            self.gemms[shape] += layers
            if shared:
                self.shared[shape] += layers

    def feed_forward(self) -> None:
        nested = self.c.get("ffn_config", {})
        experts = nested.get("moe_num_experts") or self.get(
            "n_routed_experts", "num_experts", "num_local_experts", default=0
        )
        if not experts:
            self.mlp(self.layers, self.c["intermediate_size"])
            return
        top_k = nested.get("moe_top_k") or self.c["num_experts_per_tok"]
        size = nested.get("ffn_hidden_size") or self.get(
            "moe_intermediate_size", "intermediate_size"
        )
        dense = self.c.get("first_k_dense_replace", 0)
        sparse = self.layers - dense
        if dense:
            self.mlp(dense, self.c["intermediate_size"])
        self.gemms[experts, self.hidden] += sparse
        self.moe[experts, top_k, self.hidden, size] += sparse
        if self.kind == "llama4_text":
            self.mlp(sparse, size)
        elif self.c.get("n_shared_experts"):
            self.mlp(sparse, self.c["n_shared_experts"] * size, shared=True)
        elif self.c.get("shared_expert_intermediate_size"):
            self.mlp(sparse, self.c["shared_expert_intermediate_size"], shared=True)
            self.gemms[1, self.hidden] += sparse

    def nemotron_h(self) -> None:
        counts = Counter(self.c["hybrid_override_pattern"])
        heads, kv_heads = self.c["num_attention_heads"], self.c["num_key_value_heads"]
        head_dim = self.c["attention_head_dim"]
        self.gemms[(heads + 2 * kv_heads) * head_dim, self.hidden] += counts["*"]
        self.gemms[self.hidden, heads * head_dim] += counts["*"]
        self.attention["", heads, kv_heads, head_dim] += counts["*"]
        inner = self.c["mamba_num_heads"] * self.c["mamba_head_dim"]
        states = 2 * self.c["n_groups"] * self.c["ssm_state_size"]
        rows = 2 * inner + states + self.c["mamba_num_heads"]
        self.gemms[rows, self.hidden] += counts["M"]
        self.gemms[self.hidden, inner] += counts["M"]
        self.gemms[self.c["intermediate_size"], self.hidden] += counts["-"]
        self.gemms[self.hidden, self.c["intermediate_size"]] += counts["-"]

    def qwen_vision(self, vision: Config) -> None:
        size, depth = vision["hidden_size"], vision["depth"]
        self.gemms[3 * size, size] += depth
        self.gemms[size, size] += depth
        self.gemms[vision["intermediate_size"], size] += depth
        self.gemms[size, vision["intermediate_size"]] += depth
        mergers = 1 + len(vision["deepstack_visual_indexes"])
        merged = size * vision["spatial_merge_size"] ** 2
        self.gemms[merged, merged] += mergers
        self.gemms[vision["out_hidden_size"], merged] += mergers
