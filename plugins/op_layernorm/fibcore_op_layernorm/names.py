"""What is called how: the op type, and the name of a kernel."""

from __future__ import annotations

from fibcore.plugin import OpType
from fibcore_op_layernorm.forms import Form

OP_TYPE = "layernorm"

OP_TYPES = (OpType(OP_TYPE, "LayerNorm of rows, with weight and bias, with weight, or plain"),)


def kernel_name(form: Form, hidden_size: int) -> str:
    """The definition's name: `layernorm_h4096`, `layernorm_bf16_no_bias_h8192`."""
    return f"{form.name}_h{hidden_size}"
