"""What a kernel of routed experts is: weight format, routing and sizes."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from fibcore.plugin import Scalar
from fibcore_op_moe import activations, formats, routings
from fibcore_op_moe.activations import SWIGLU, Activation
from fibcore_op_moe.formats import WeightFormat
from fibcore_op_moe.names import kernel_name
from fibcore_op_moe.routings import Routing

_RECORDS = ("weights", "routing", "activation")


@attrs.frozen
class Moe:
    """One rank's routed experts of one layer.

    Attributes:
        weights: The weight format.
        routing: How tokens choose experts.
        top_k: Routed experts a token goes to.
        num_groups: Groups of experts (1 where there are none); 0 where the routing has no groups.
        top_groups: Groups that experts are chosen from; 0 where the routing has no groups.
        num_experts: Experts that the router chooses among: those of all ranks, and such as compute
            nothing.
        num_local_experts: Those of them on this rank.
        hidden_size: Width of the hidden states.
        intermediate_size: Rows of the up projection that this rank holds.
        activation: What an expert computes between its two products.
        biased: Whether both products of an expert have a bias.
        vocab_size: Tokens of the vocabulary, where these choose; else 0.
    """

    weights: WeightFormat
    routing: Routing
    top_k: int
    num_groups: int
    top_groups: int
    num_experts: int
    num_local_experts: int
    hidden_size: int
    intermediate_size: int
    activation: Activation = SWIGLU
    biased: bool = False
    vocab_size: int = 0

    @property
    def remote_experts(self) -> bool:
        """Whether some experts are on other ranks."""
        return self.num_local_experts < self.num_experts

    @property
    def groups(self) -> tuple[int, int]:
        """Groups of experts, and how many of them are kept."""
        return self.num_groups, self.top_groups

    @property
    def name(self) -> str:
        """The definition's name."""
        sizes = (self.num_local_experts, self.hidden_size, self.intermediate_size)
        return kernel_name(
            self.weights,
            self.routing,
            self.top_k,
            self.groups,
            sizes,
            self.activation,
            biased=self.biased,
            remote=self.remote_experts,
        )

    @property
    def in_trtllm(self) -> bool:
        """Whether FlashInfer's fused kernel for these weights has this routing, at some size.

        Its bfloat16 and block-scale kernels put the routing weight on an expert's output alone.
        """
        on_input = self.routing.weight_on_input and not self.weights.trtllm_weight_on_input
        method, kernel = self.routing.trtllm_method, self.weights.trtllm
        return None not in (method, kernel) and not on_input and self.activation.in_trtllm

    @property
    def gemm1_rows(self) -> int:
        """Rows of an expert's first product: up, and the gate where there is one."""
        return (2 if self.activation.gated else 1) * self.intermediate_size

    @property
    def words(self) -> frozenset[str]:
        """Words of the lines that references have for it."""
        routing, gated = self.routing, self.activation.gated
        several = self.num_groups > 1
        conditions = {
            "biased": self.biased,
            "unbiased": gated and not self.biased,
            "remote_experts": self.remote_experts,
            "groups": several,
            "two_best": several and routing.grouped,
            "kept_groups": several and (routing.grouped or routing.choice == "groups"),
            "unused_bias": self.unused_bias,
            "channel_gated": gated and self.weights.channel_scaled,
            "channel_ungated": not gated and self.weights.channel_scaled,
            "tensor_gated": gated and self.weights.tensor_scaled,
            "tensor_ungated": not gated and self.weights.tensor_scaled,
            "expert_scales_gated": gated and self.weights.expert_scales,
            "expert_scales_ungated": not gated and self.weights.expert_scales,
        }
        own = routing.words | self.activation.words | self.weights.words
        return own | {word for word, holds in conditions.items() if holds}

    @property
    def unused_bias(self) -> bool:
        """Whether there is a bias for FlashInfer's signature alone, as datasets have it."""
        return self.weights.tensor_scaled and self.routing.weight_on_input

    def parameters(self) -> dict[str, Scalar]:
        """All of it as plain scalars."""
        values: dict[str, Scalar] = attrs.asdict(self, recurse=False)
        records = (self.weights, self.routing, self.activation)
        return values | dict(zip(_RECORDS, (record.name for record in records), strict=True))

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Scalar]) -> Moe:
        """The kernel that `parameters()` came from."""
        plain = (*_RECORDS, "biased")
        sizes = {n: int(v) for n, v in parameters.items() if n not in plain}
        return cls(
            weights=formats.BY_NAME[str(parameters["weights"])],
            routing=routings.BY_NAME[str(parameters["routing"])],
            activation=activations.BY_NAME[str(parameters["activation"])],
            biased=bool(parameters["biased"]),
            **sizes,
        )
