"""torch: its custom operators, collectives, and functions that are kernels of their own.

What only makes or moves tensors (`cat`, `view`, `empty`) is bookkeeping, and so is arithmetic
element by element: nobody defines those.
"""

KERNELS = (
    "torch.ops.",
    "torch.distributed.all_",
    "torch.distributed.reduce",
    "torch.distributed.broadcast",
    "torch.distributed.send",
    "torch.distributed.recv",
    "torch.argmax",
    "torch.softmax",
    "torch.log_softmax",
    "torch.sigmoid",
    "torch.multinomial",
    "torch.topk",
    "torch.sort",
    "torch.matmul",
    "torch.mm",
    "torch.bmm",
    "torch.addmm",
    "torch.baddbmm",
    "torch.einsum",
    "torch._scaled_mm",
    "torch._int_mm",
    "torch.conv",
    "torch.nn.functional.",
    "torch.Tensor.argmax",
    "torch.Tensor.softmax",
    "torch.Tensor.log_softmax",
    "torch.Tensor.sigmoid",
    "torch.Tensor.multinomial",
    "torch.Tensor.topk",
    "torch.Tensor.sort",
    "torch.Tensor.matmul",
    "torch.Tensor.mm",
    "torch.Tensor.bmm",
)
HELPERS = (
    "torch.nn.functional.pad",
    "torch.nn.functional.one_hot",
    "torch.nn.functional.dropout",
    "torch.distributed.all_gather_object",
)
HELPER_NAMES = ("is_", "get_")
BESIDE = ("quant", "all_reduce", "all_gather", "reduce_scatter")
