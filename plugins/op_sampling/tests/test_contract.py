"""The contract that every plugin has to hold, on every kind of sampling."""

from __future__ import annotations

import fibcore_op_sampling
from fibcore.plugin import Serving, TensorRef, Unknown
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import module, operation, tree

PROBS = TensorRef((Unknown("the number of requests"), 64), "float32")
FUNCTIONS = (
    "torch.softmax",
    "torch.multinomial",
    "sgl_kernel.top_k_renorm_prob",
    "sgl_kernel.top_p_renorm_prob",
    "sgl_kernel.min_p_sampling_from_probs",
)
BOTH = "flashinfer.sampling.top_k_top_p_sampling_from_probs"
MODEL = tree(
    kernel_calls=[
        *(operation(function, PROBS, module="sampler") for function in FUNCTIONS),
        operation(BOTH, PROBS, module="sampler", filter_apply_order="joint"),
    ],
    parts=[module("sampler", "sglang.srt.layers.sampler.Sampler")],
)


class TestContract(PluginContract):
    plugin = fibcore_op_sampling
    trees = ((MODEL, Serving()), (MODEL, Serving(options={"sampling_order": "joint"})))
