"""Helpers."""


def make_layers(num_hidden_layers, layer_fn, pp_rank=None, pp_size=None, prefix=""):
    from torch import nn

    return nn.ModuleList([layer_fn(idx=i, prefix=prefix) for i in range(num_hidden_layers)])
