"""Right and wrong kernels of routed experts, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_moe.identity import kernel_of
from fibcore_op_moe.names import OP_TYPE

_EXPERTS = "for expert in range(NUM_LOCAL_EXPERTS)"
# What an expert computes between its two products, by the format of the weights.
_BETWEEN = (
    "hidden = up * torch.nn.functional.silu(gate)\n",
    "hidden = up * up_scale * torch.nn.functional.silu(gate * gate_scale)\n",
    "hidden = (up + 1) * gate * torch.sigmoid(alpha * gate)\n",
)
_SHIFTED = (
    "hidden_states_scale[None, tokens].view(torch.uint8).roll(1, 2).view(torch.float8_e4m3fn)"
)
_CLAMPED = "torch.clamp(up, -limit, limit), torch.clamp(gate, max=limit)"
_QUANTISED = (
    "blocks_of_hidden = hidden.unflatten(-1, (-1, BLOCK))\n{indent}"
    "largest = blocks_of_hidden.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 448.0\n{indent}"
    "rounded = (blocks_of_hidden / largest).to(torch.float8_e4m3fn).to(torch.float32)\n{indent}"
    "hidden = (rounded * largest).flatten(-2)\n"
)


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none where form or routing is not known."""
    moe = kernel_of(definition) if definition.op_type == OP_TYPE else None
    if moe is None:
        return ()
    return (
        *_right(definition),
        *_experts(definition),
        *_clamped(definition),
        *_packed(definition),
        *_routing(definition),
    )


def _right(definition: Definition) -> list[Implementation]:
    found = [
        *rewritten(
            definition,
            "a piece of the intermediate size at a time",
            "INTERMEDIATE_CHUNK = 512",
            "INTERMEDIATE_CHUNK = 128",
            right=True,
        )
    ]
    indent = " " * 8
    for text in _BETWEEN:
        # As kernels do whose second product takes bfloat16 numbers.
        rounded = f"{text}{indent}hidden = hidden.to(torch.bfloat16).to(torch.float32)\n"
        found += rewritten(
            definition, "rounded to bfloat16 between the products", text, rounded, right=True
        )
    if "num_hidden_blocks" in definition.axes:
        # As kernels do whose second product takes fp8 numbers, such as FlashInfer's trtllm-gen.
        quantised = _BETWEEN[0] + indent + _QUANTISED.format(indent=indent)
        found += rewritten(
            definition, "quantised to fp8 between the products", _BETWEEN[0], quantised, right=True
        )
    return found


def _experts(definition: Definition) -> list[Implementation]:
    found = [
        *rewritten(
            definition,
            "up and gate are swapped",
            _BETWEEN[0],
            "hidden = gate * torch.nn.functional.silu(up)\n",
        ),
        *rewritten(
            definition,
            "up and gate are swapped",
            _BETWEEN[1],
            "hidden = gate * up_scale * torch.nn.functional.silu(up * gate_scale)\n",
        ),
        # Kernels that quantise between the products are 2 to 3 % off themselves.
        *wrapped(definition, "the result is 10 % too large", result="result * 1.1"),
    ]
    # What is left out has to be zero, not what memory holds.
    for name, experts in (
        ("the last expert is left out", "range(NUM_LOCAL_EXPERTS - 1)"),
        ("the first expert is left out", "range(1, NUM_LOCAL_EXPERTS)"),
    ):
        source = definition.reference.replace("hidden.new_empty((len", "hidden.new_zeros((len")
        if _EXPERTS in source:
            source = source.replace(_EXPERTS, f"for expert in {experts}")
            found.append(Implementation(name, False, source))
    found += rewritten(
        definition,
        "one expert a token is forgotten",
        "bags, y,",
        "bags[:, 1:], y,",
        "per_sample_weights=weights",
        "per_sample_weights=weights[:, 1:].contiguous()",
    )
    found += rewritten(
        definition, "routing weights are left out", ", per_sample_weights=weights", ""
    )
    for name in ("gemm1_weights_scale", "gemm2_weights_scale"):
        other = {name: f"{name}.roll(1, 0)"}
        found += wrapped(definition, f"{name} of the expert before", inputs=other)
    return found


def _clamped(definition: Definition) -> list[Implementation]:
    """Of experts with biases and a clamped SwiGLU."""
    changes = {
        "up and gate are swapped": (
            "up = product(x, gemm1_up[:, start:stop], up_scale[:, start:stop])",
            "gate = product(x, gemm1_up[:, start:stop], up_scale[:, start:stop])",
            "gate = product(x, gemm1_gate[:, start:stop], gate_scale[:, start:stop])",
            "up = product(x, gemm1_gate[:, start:stop], gate_scale[:, start:stop])",
        ),
        "up is clamped on one side": (
            _CLAMPED,
            "torch.clamp(up, max=limit), torch.clamp(gate, max=limit)",
        ),
        "gate is clamped on both sides": (
            _CLAMPED,
            "torch.clamp(up, -limit, limit), torch.clamp(gate, -limit, limit)",
        ),
        "nothing is clamped": (_CLAMPED, "up, gate"),
        "one is not added to up": ("(up + 1) * gate", "up * gate"),
        "the gate has no alpha": ("torch.sigmoid(alpha * gate)", "torch.sigmoid(gate)"),
        "up and gate have no bias": (
            "        up += up_bias[:, :, start:stop]\n",
            "",
            "        gate += gate_bias[:, :, start:stop]\n",
            "",
        ),
        "the second product has no bias": (
            "gemm2_bias.unsqueeze(1).repeat(1, x.shape[1], 1)",
            "x.new_zeros(x.shape, dtype=torch.float32)",
        ),
    }
    found: list[Implementation] = []
    for name, texts in changes.items():
        if "up = product(x, gemm1_up" in texts[0] and "(up + 1)" not in definition.reference:
            continue  # up * silu(gate) is swapped elsewhere
        found += rewritten(definition, name, *texts)
    return found


def _packed(definition: Definition) -> list[Implementation]:
    """Of weights of four bits with scales for groups."""
    if "num_fp4_hidden_blocks" not in definition.axes:
        return []
    found = list(
        rewritten(
            definition,
            "the two numbers of a byte are swapped",
            "(one.repeat(16), one.repeat_interleave(16))",
            "(one.repeat_interleave(16), one.repeat(16))",
        )
    )
    changes = {
        "the activations have the scales of the group before": (
            "hidden_states_scale[None, tokens]",
            _SHIFTED,
        ),
        "the scale of the intermediate activations is left out": (
            "        hidden *= up_scalar / gate_scalar\n",
            "",
        ),
        "the output scale is that of the first expert": (
            "output2_scale_scalar[first:last, None, None]",
            "output2_scale_scalar[:1, None, None]",
        ),
    }
    for name, texts in changes.items():
        found += rewritten(definition, name, *texts)
    for name in ("gemm1_weights_scale", "gemm2_weights_scale"):
        other = {name: f"{name}.roll(1, 2)"}
        found += wrapped(definition, f"{name} of the group before", inputs=other)
    return found


def _routing(definition: Definition) -> list[Implementation]:
    changes = {
        "the weights are not normalised": (
            "weights / (weights.sum(dim=1, keepdim=True) + 1e-20)",
            "weights",
        ),
        "the bias is in the weights": (
            "scores.gather(1, chosen)",
            "biased.gather(1, chosen)",
        ),
        "the bias is ignored": ("scores + routing_bias.to(torch.float32)", "scores + 0.0"),
        "the weights are not normalised over the chosen": (
            "torch.softmax(logits.gather(1, chosen), dim=1)",
            "torch.softmax(logits, dim=1).gather(1, chosen)",
        ),
        "the weights are normalised over the chosen": (
            "torch.softmax(logits, dim=1).gather(1, chosen)",
            "torch.softmax(logits.gather(1, chosen), dim=1)",
        ),
        "softmax instead of sigmoid": (
            "torch.sigmoid(logits.gather(1, chosen))",
            "torch.softmax(logits, dim=1).gather(1, chosen)",
        ),
    }
    found: list[Implementation] = []
    for name, texts in changes.items():
        found += rewritten(definition, name, *texts)
    return found
