"""Linear layers with the parameters of SGLang's."""

from torch import nn


class LinearBase(nn.Module):
    pass


class ReplicatedLinear(LinearBase):
    def __init__(self, input_size, output_size, bias=True, quant_config=None, prefix=""):
        super().__init__()


class ColumnParallelLinear(LinearBase):
    def __init__(self, input_size, output_size, bias=True, quant_config=None, prefix=""):
        super().__init__()


class QKVParallelLinear(ColumnParallelLinear):
    def __init__(
        self,
        hidden_size,
        head_size,
        total_num_heads,
        total_num_kv_heads=None,
        bias=True,
        quant_config=None,
        prefix="",
    ):
        super().__init__()


class RowParallelLinear(LinearBase):
    def __init__(self, input_size, output_size, bias=True, quant_config=None, prefix=""):
        super().__init__()
