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
            name of one that no definition has. Where values are of another size than queries, in
            place of `head_dim` both.
        latent: (query heads, latent size, rope size) to layers of absorbed latent attention.
        moe: (experts, top k, hidden size, intermediate size) to layers.
    """

    gemms: Counter[tuple[int, int]]
    shared: Counter[tuple[int, int]]
    attention: Counter[tuple[str, int, int, int | tuple[int, int]]]
    latent: Counter[tuple[int, int, int]]
    moe: Counter[tuple[int, int, int, int]]


def needs(config: Config) -> Needs:
    """The needs of any model whose config is among the shared ones."""
    text = config.get("text_config", config)
    found = _Calculator(text, config.get("model_type", ""))
    found.language()
    vision = config.get("vision_config")
    if vision is not None:
        found.vision(vision, config)
    return Needs(found.gemms, found.shared, found.attention, found.latent, found.moe)


class _Calculator:
    def __init__(self, config: Config, model_type: str) -> None:
        self.c = config
        self.kind = config.get("model_type", model_type)
        self.gemms: Counter[tuple[int, int]] = Counter()
        self.shared: Counter[tuple[int, int]] = Counter()
        self.attention: Counter[tuple[str, int, int, int | tuple[int, int]]] = Counter()
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
        own = {
            "nemotron_h": self.nemotron_h,
            "mimo_v2_flash": self.mimo_v2,
            "deepseek_v4": self.deepseek_v4,
            "gemma4_text": self.gemma_4,
            "kimi_linear": self.kimi_linear,
            "minimax_m3_vl": self.minimax_m3,
        }
        if self.kind in own:
            own[self.kind]()
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

    def plain_attention(
        self, layers: int, kv_heads: int, size: int, value: int, variant: str = ""
    ) -> None:
        """Layers whose queries, keys and values are one projection."""
        heads = self.c["num_attention_heads"]
        self.gemms[heads * size + kv_heads * (size + value), self.hidden] += layers
        self.gemms[self.hidden, heads * value] += layers
        sizes = size if size == value else (size, value)
        self.attention[variant, heads, kv_heads, sizes] += layers

    def experts(self, layers: int, number: int, top_k: int, size: int, width: int = 0) -> None:
        """Routed experts and their router; of inputs of another width, where one is given."""
        self.gemms[number, self.hidden] += layers
        self.moe[number, top_k, width or self.hidden, size] += layers

    def mimo_v2(self) -> None:
        """MiMo-V2-Flash: windows by a table, with other heads and sinks; experts by another."""
        windowed = sum(self.c["hybrid_layer_pattern"])
        full = self.layers - windowed
        kv_heads, value = self.c["num_key_value_heads"], self.c["v_head_dim"]
        self.plain_attention(full, kv_heads, self.c["head_dim"], value)
        # SGLang counts the keys before the query, and attends to that of the query beside them.
        variant = f"_swa{self.c['sliding_window_size'] + 1}_sink"
        kv_heads, value = self.c["swa_num_key_value_heads"], self.c["swa_v_head_dim"]
        self.plain_attention(windowed, kv_heads, self.c["swa_head_dim"], value, variant)
        sparse = sum(self.c["moe_layer_freq"])
        self.mlp(self.layers - sparse, self.c["intermediate_size"])
        top_k, size = self.c["num_experts_per_tok"], self.c["moe_intermediate_size"]
        self.experts(sparse, self.c["n_routed_experts"], top_k, size)

    def deepseek_v4(self) -> None:
        """DeepSeek-V4: one key head, compressed by a table; the indexer where it is by 4.

        What mixes the residual streams of a layer runs in one kernel with that; the last mixture
        is a product of its own.
        """
        heads, size, rank = (self.c[n] for n in ("num_attention_heads", "head_dim", "q_lora_rank"))
        self.gemms[rank + size, self.hidden] += self.layers
        self.gemms[heads * size, rank] += self.layers
        # The first half of the output projection is a product for each group.
        self.gemms[self.hidden, self.c["o_groups"] * self.c["o_lora_rank"]] += self.layers
        ratios = Counter(self.c["compress_ratios"][: self.layers])
        for ratio, layers in ratios.items():
            variant = f"attention sinks and keys compressed by {ratio}"
            self.attention[variant, heads, 1, size] += layers
            overlaps = 2 if ratio == 4 else 1
            if ratio:
                self.gemms[2 * overlaps * size, self.hidden] += layers  # what is kept, and weights
        indexed = ratios[4]
        number, own = self.c["index_n_heads"], self.c["index_head_dim"]
        self.gemms[number * own, rank] += indexed
        self.gemms[number, self.hidden] += indexed
        self.gemms[2 * 2 * own, self.hidden] += indexed
        self.gemms[self.c["hc_mult"], self.c["hc_mult"] * self.hidden] += 1
        size = self.c["moe_intermediate_size"]
        number, top_k = self.c["n_routed_experts"], self.c["num_experts_per_tok"]
        self.experts(self.layers, number, top_k, size)
        self.mlp(self.layers, self.c["n_shared_experts"] * size, shared=True)

    def gemma_4(self) -> None:
        """Gemma 4: global layers have other heads; experts beside a plain MLP in each layer."""
        kinds = Counter(self.c["layer_types"])
        size, kv_heads = self.c["head_dim"], self.c["num_key_value_heads"]
        window = f"_swa{self.c['sliding_window']}"
        self.plain_attention(kinds["sliding_attention"], kv_heads, size, size, window)
        # Values are the keys there; SGLang's projection holds both all the same.
        size, kv_heads = self.c["global_head_dim"], self.c["num_global_key_value_heads"]
        self.plain_attention(kinds["full_attention"], kv_heads, size, size)
        self.mlp(self.layers, self.c["intermediate_size"])
        top_k, size = self.c["top_k_experts"], self.c["moe_intermediate_size"]
        self.experts(self.layers, self.c["num_experts"], top_k, size)

    def kimi_linear(self) -> None:
        """Kimi-K3: delta attention with a gate for each channel, latent attention in some layers.

        Experts are of a smaller width, which a projection on each side leads to and from.
        """
        linear = self.c["linear_attn_config"]
        layers, heads, size = (len(linear["kda_layers"]), linear["num_heads"], linear["head_dim"])
        inner = heads * size
        self.gemms[4 * inner, self.hidden] += layers  # queries, keys, values, the output's gate
        self.gemms[heads, self.hidden] += layers
        self.gemms[size, self.hidden] += layers  # the decay, of a low rank
        self.gemms[inner, size] += layers
        self.gemms[self.hidden, inner] += layers
        layers, self.layers = self.layers, len(linear["full_attn_layers"])
        self.latent_attention()
        if self.c["mla_use_output_gate"]:
            gates = self.c["num_attention_heads"] * self.c["v_head_dim"]
            self.gemms[gates, self.hidden] += self.layers
        self.layers = layers
        dense = self.c["first_k_dense_replace"]
        self.mlp(dense, self.c["intermediate_size"])
        width, size = self.c["routed_expert_hidden_size"], self.c["moe_intermediate_size"]
        top_k = self.c["num_experts_per_token"]
        self.experts(layers - dense, self.c["num_experts"], top_k, size, width)
        self.gemms[width, self.hidden] += layers - dense
        self.gemms[self.hidden, width] += layers - dense
        self.mlp(layers - dense, self.c["num_shared_experts"] * size, shared=True)

    def minimax_m3(self) -> None:
        """MiniMax-M3: an index of its own chooses blocks of keys in most layers."""
        sparse = self.c["sparse_attention_config"]
        indexed = sum(sparse["sparse_attention_freq"])
        kv_heads, size = self.c["num_key_value_heads"], self.c["head_dim"]
        self.plain_attention(self.layers - indexed, kv_heads, size, size)
        variant = "the call's argument idx_q and the call's argument idx_k"
        self.plain_attention(indexed, kv_heads, size, size, variant)
        for uses, without_value in zip(
            sparse["sparse_attention_freq"], sparse["sparse_disable_index_value"], strict=True
        ):
            rows = sparse["sparse_num_index_heads"] + (1 if without_value else 2)
            self.gemms[rows * sparse["sparse_index_dim"], self.hidden] += uses
        moe = sum(self.c["moe_layer_freq"])
        self.mlp(self.layers - moe, self.c["dense_intermediate_size"])
        number, top_k = self.c["num_local_experts"], self.c["num_experts_per_tok"]
        self.experts(moe, number, top_k, self.c["intermediate_size"])
        self.mlp(moe, self.c["n_shared_experts"] * self.c["shared_intermediate_size"], shared=True)

    # -- vision ---------------------------------------------------------------------------------

    def vision(self, vision: Config, config: Config) -> None:
        """The tower and what leads from it to the language model."""
        if "out_hidden_size" in vision:
            self.qwen_vision(vision)
        elif "vt_hidden_size" in vision:
            self.kimi_vision(vision)
        elif vision.get("model_type") == "gemma4_vision":
            self.gemma_vision(vision)
        elif vision.get("model_type") == "clip_vision_model":
            self.clip_vision(vision, config)

    def tower(self, layers: int, hidden: int, inner: int, rows: int, size: int) -> None:
        """Layers of attention and an MLP with `rows` of the size of its middle."""
        self.gemms[3 * inner, hidden] += layers
        self.gemms[hidden, inner] += layers
        self.gemms[rows * size, hidden] += layers
        self.gemms[hidden, size] += layers

    def kimi_vision(self, vision: Config) -> None:
        hidden, layers = vision["vt_hidden_size"], vision["vt_num_hidden_layers"]
        inner = vision.get("qkv_hidden_size", hidden)
        self.tower(layers, hidden, inner, 1, vision["vt_intermediate_size"])
        self.gemms[hidden, 3 * vision["patch_size"] ** 2] += 1  # a convolution of patches
        height, width = vision["merge_kernel_size"]
        merged = vision["mm_hidden_size"] * height * width
        self.gemms[merged, merged] += 1
        self.gemms[vision["text_hidden_size"], merged] += 1

    def gemma_vision(self, vision: Config) -> None:
        hidden, inner = vision["hidden_size"], vision["num_attention_heads"] * vision["head_dim"]
        layers = vision["num_hidden_layers"]
        self.tower(layers, hidden, inner, 2, vision["intermediate_size"])
        self.gemms[hidden, 3 * vision["patch_size"] ** 2] += 1
        self.gemms[self.hidden, hidden] += 1

    def clip_vision(self, vision: Config, config: Config) -> None:
        hidden, layers = vision["hidden_size"], vision["num_hidden_layers"]
        self.tower(layers, hidden, hidden, 1, vision["intermediate_size"])
        frames = vision["img_token_compression_config"]["temporal_patch_size"]
        self.gemms[hidden, vision["num_channels"] * frames * vision["patch_size"] ** 2] += 1
        inner = config["projector_hidden_size"]
        merged = vision["img_token_compression_config"]["spatial_merge_size"] ** 2 * self.hidden
        for shape in ((inner, hidden), (self.hidden, inner), (inner, merged), (self.hidden, inner)):
            self.gemms[shape] += 1

    def qwen_vision(self, vision: Config) -> None:
        size, depth = vision["hidden_size"], vision["depth"]
        frames = vision["in_channels"] * vision["temporal_patch_size"]
        self.gemms[size, frames * vision["patch_size"] ** 2] += 1
        self.gemms[3 * size, size] += depth
        self.gemms[size, size] += depth
        self.gemms[vision["intermediate_size"], size] += depth
        self.gemms[size, vision["intermediate_size"]] += depth
        mergers = 1 + len(vision["deepstack_visual_indexes"])
        merged = size * vision["spatial_merge_size"] ** 2
        self.gemms[merged, merged] += mergers
        self.gemms[vision["out_hidden_size"], merged] += mergers
