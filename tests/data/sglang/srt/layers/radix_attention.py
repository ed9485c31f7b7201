"""Attention with the parameters of SGLang's."""

from torch import nn


class RadixAttention(nn.Module):
    def __init__(
        self,
        num_heads,
        head_dim,
        scaling,
        num_kv_heads,
        layer_id,
        logit_cap=0.0,
        v_head_dim=-1,
        sliding_window_size=-1,
        is_cross_attention=False,
        quant_config=None,
        prefix="",
    ):
        super().__init__()
