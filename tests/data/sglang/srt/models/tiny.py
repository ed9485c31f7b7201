"""One model: pre-norm attention layers without an MLP."""

from torch import nn

from sglang.srt.distributed import get_tensor_model_parallel_world_size
from sglang.srt.layers.layernorm import RMSNorm
from sglang.srt.layers.linear import QKVParallelLinear, RowParallelLinear
from sglang.srt.layers.radix_attention import RadixAttention
from sglang.srt.layers.vocab_parallel_embedding import VocabParallelEmbedding
from sglang.srt.utils import make_layers


class TinyLayer(nn.Module):
    def __init__(self, config, layer_id, quant_config=None, prefix=""):
        super().__init__()
        tp = get_tensor_model_parallel_world_size()
        heads = config.num_attention_heads
        assert heads % tp == 0
        dim = config.hidden_size // heads
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.qkv_proj = QKVParallelLinear(
            config.hidden_size,
            dim,
            heads,
            config.num_key_value_heads,
            bias=False,
            quant_config=quant_config,
            prefix=prefix,
        )
        self.attn = RadixAttention(
            heads // tp,
            dim,
            dim**-0.5,
            max(1, config.num_key_value_heads // tp),
            layer_id,
        )
        self.o_proj = RowParallelLinear(
            config.hidden_size,
            config.hidden_size,
            bias=False,
            quant_config=quant_config,
        )

    def forward(self, positions, hidden_states, forward_batch, residual):
        if residual is None:
            residual = hidden_states
            hidden_states = self.norm(hidden_states)
        else:
            hidden_states, residual = self.norm(hidden_states, residual)
        qkv, _ = self.qkv_proj(hidden_states)
        q, k, v = qkv.split([1, 1, 1], dim=-1)
        output, _ = self.o_proj(self.attn(q, k, v, forward_batch))
        return output, residual


class TinyForCausalLM(nn.Module):
    def __init__(self, config, quant_config=None, prefix=""):
        super().__init__()
        self.embed_tokens = VocabParallelEmbedding(config.vocab_size, config.hidden_size)
        self.layers = make_layers(
            config.num_hidden_layers,
            lambda idx, prefix: TinyLayer(config, idx, quant_config, prefix),
        )
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, input_ids, positions, forward_batch):
        hidden_states = self.embed_tokens(input_ids)
        residual = None
        for layer in self.layers:
            hidden_states, residual = layer(positions, hidden_states, forward_batch, residual)
        hidden_states, _ = self.norm(hidden_states, residual)
        return hidden_states


EntryClass = TinyForCausalLM
