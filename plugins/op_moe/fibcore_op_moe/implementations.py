"""Right and wrong kernels of routed experts, by which benchmarks are tried."""

from __future__ import annotations

import re

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_moe.identity import kernel_of
from fibcore_op_moe.names import OP_TYPE

_EXPERTS = "for expert in range(NUM_LOCAL_EXPERTS)"
# Lines that compute what is between an expert's two products: SwiGLU, that of gpt-oss, others.
_BETWEEN = re.compile(
    r"^ {8}hidden = (?:up \* torch\.nn\.functional\.silu\(gate\)|\(up \+ 1\) .*|\w+\(up.*)\n",
    re.MULTILINE,
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
        *_activated(definition),
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
    for text in _BETWEEN.findall(definition.reference):
        # As kernels do whose second product takes bfloat16 numbers.
        rounded = f"{text}{indent}hidden = hidden.to(torch.bfloat16).to(torch.float32)\n"
        found += rewritten(
            definition, "rounded to bfloat16 between the products", text, rounded, right=True
        )
        if "num_hidden_blocks" in definition.axes:
            # As kernels do whose second product takes fp8 numbers, such as FlashInfer's trtllm-gen.
            quantised = text + indent + _QUANTISED.format(indent=indent)
            found += rewritten(
                definition, "quantised to fp8 between the products", text, quantised, right=True
            )
    if "output1_scale_scalar" not in definition.inputs:
        # As Marlin takes the scales of experts whose weights alone are quantised.
        names = ("output1_scale_gate_scalar", "output2_scale_scalar")
        scales = {name: f"{name}.to(torch.bfloat16).to(torch.float32)" for name in names}
        name = "scales of experts rounded to bfloat16"
        found += wrapped(definition, name, right=True, inputs=scales)
    if " ".join(_scale(definition)) == "num_local_experts hidden_size":
        # As kernels do that quantise a token's intermediate activations, to eight bits.
        for text in _BETWEEN.findall(definition.reference):
            largest = "hidden.abs().amax(-1, keepdim=True).clamp(min=1e-12)"
            if definition.inputs["gemm1_weights"].dtype == "int8":
                quantised = f"hidden = torch.round(hidden / ({largest} / 127)) * ({largest} / 127)"
            else:
                narrow = f"(hidden / ({largest} / 448)).to(torch.float8_e4m3fn).to(torch.float32)"
                quantised = f"hidden = {narrow} * ({largest} / 448)"
            found += rewritten(
                definition,
                "quantised to eight bits between the products",
                text,
                f"{text}{indent}{quantised}\n",
                right=True,
            )
    return found


def _scale(definition: Definition) -> tuple[str, ...]:
    """Axes of the scales of the second weight."""
    spec = definition.inputs.get("gemm2_weights_scale")
    return spec.shape or () if spec is not None else ()


def _experts(definition: Definition) -> list[Implementation]:
    found = [
        *rewritten(
            definition,
            "up and gate are swapped",
            "hidden = up * torch.nn.functional.silu(gate)\n",
            "hidden = gate * torch.nn.functional.silu(up)\n",
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


def _activated(definition: Definition) -> list[Implementation]:
    """Of experts with an activation of their own."""
    changes = {
        "silu instead of gelu": ("torch.nn.functional.gelu(", "torch.nn.functional.silu("),
        "silu instead of gelu with tanh": (
            'torch.nn.functional.gelu(gate, approximate="tanh")',
            "torch.nn.functional.silu(gate)",
        ),
        "what is above zero is not squared": ("torch.relu(up).square()", "torch.relu(up)"),
        "what is below zero is squared, too": ("torch.relu(up).square()", "up.square()"),
        "relu instead of silu": ("torch.nn.functional.silu(up)", "torch.relu(up)"),
        "up is not bounded": ("limit * torch.tanh(up / limit)", "up"),
        "the gate is not bounded": ("alpha * torch.tanh(gate / alpha)", "gate"),
        "silu is clamped before and not after": (
            "torch.clamp(torch.nn.functional.silu(gate), max=limit)",
            "torch.nn.functional.silu(torch.clamp(gate, max=limit))",
        ),
        "silu is not clamped": (
            "torch.clamp(torch.nn.functional.silu(gate), max=limit)",
            "torch.nn.functional.silu(gate)",
        ),
        "up is not clamped": (
            "torch.clamp(up, -limit, limit) * activated",
            "up * activated",
        ),
    }
    found: list[Implementation] = []
    for call in re.findall(r"hidden = \w+\(up, gate.*\)\n", definition.reference):
        swapped = call.replace("(up, gate", "(gate, up")
        found += rewritten(definition, "up and gate are swapped", call, swapped)
    for name, texts in changes.items():
        if name == "silu instead of gelu" and "approximate" in definition.reference:
            continue
        found += rewritten(definition, name, *texts)
    return found


def _packed(definition: Definition) -> list[Implementation]:
    """Of weights of four bits with scales for groups."""
    if not {"num_fp4_hidden_blocks", "num_mxint4_hidden_blocks"} & set(definition.axes):
        return []
    found = list(
        rewritten(
            definition,
            "the two numbers of a byte are swapped",
            "(one.repeat(16), one.repeat_interleave(16))",
            "(one.repeat_interleave(16), one.repeat(16))",
        )
    )
    found += rewritten(
        definition,
        "the numbers have no sign",
        "(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1)",
        "(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)",
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
    if "output1_scale_scalar" not in definition.inputs:  # weights alone are quantised
        name = "output1_scale_gate_scalar"
        other = {name: f"torch.ones_like({name})"}
        found += wrapped(definition, "the scale of all first weights is left out", inputs=other)
        other = {name: f"{name}.roll(1, 0)"}
        found += wrapped(definition, f"{name} of the expert before", inputs=other)
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
            "weights = scores.gather(1, chosen)",
            "weights = (scores + routing_bias.to(torch.float32)).gather(1, chosen)",
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
        "a sigmoid instead of the softmax": (
            "scores = torch.softmax(logits, dim=1)",
            "scores = torch.sigmoid(logits)",
        ),
        "a softmax instead of the sigmoid": (
            "scores = torch.sigmoid(logits)\n",
            "scores = torch.softmax(logits, dim=1)\n",
        ),
        "the root of the softplus is left out": (
            "torch.nn.functional.softplus(logits).sqrt()",
            "torch.nn.functional.softplus(logits)",
        ),
        "the best logits choose instead of the table": (
            "chosen = tid2eid[input_ids].to(torch.int64)",
            "chosen = logits.topk(TOP_K).indices",
        ),
        "the experts have no scale": (
            "weights * per_expert_scale.to(torch.float32)[chosen]",
            "weights",
        ),
        "the logits are not bounded": ("cap * torch.tanh(logits / cap)", "logits"),
        "all logits are near": ("> 0.02", "> float('inf')"),
        "the first expert counts for the second": (
            'left = left.scatter(1, chosen[:, slot : slot + 1], float("-inf"))',
            "pass",
        ),
        "the best of all groups": (
            "chosen = (of_each + first[:, None]).flatten(1)",
            "chosen = first_of_largest(ranked, TOP_K)",
        ),
        "groups are ignored": (
            'groups.masked_fill(dropped.unsqueeze(2), float("-inf")).flatten(1)',
            "groups.flatten(1)",
        ),
    }
    if "scores + routing_bias" not in definition.reference:
        del changes["the bias is in the weights"]
    found: list[Implementation] = []
    for name, texts in changes.items():
        found += rewritten(definition, name, *texts)
    return found
