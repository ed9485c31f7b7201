"""Sampling in place of FlashInfer's at run time; see `fibcore.plugin.trace_apply_format`.

Tokens are drawn with torch's generator: of the same distribution as FlashInfer's, not the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from fibcore.plugin import CALLED, Applied, Definition, scalar, trace_apply_format
from fibcore_op_sampling.definitions import is_joint
from fibcore_op_sampling.names import OP_TYPE, SOFTMAX, TOP_K_TOP_P, Kind, kind_of

STEMS = {
    "top_k_sampling_from_probs": "top_k_sampling",
    "top_p_sampling_from_probs": "top_p_sampling",
    TOP_K_TOP_P: "top_k_top_p_sampling",
}
"""What FlashInfer's names begin with where it is not what ours do."""

ROWS = '''
def rows(value, rows, dtype):
    """A parameter for each row of `rows`: a number is the same for all."""
    value = torch.as_tensor(value, device=rows.device).to(dtype)
    return value.reshape(-1).expand(rows.shape[0])
'''

SAMPLED = '''
def apply({names}, indices=None):
    """As `flashinfer.sampling.{function}` is called: row indices[i] of probs for row i."""
    none = (None,)
    namespace = called(
        generator=none, seed=none, offset=none, return_valid=(None, False){order}
    )
    indices = namespace.get("indices")
    if indices is not None:
        probs = probs[indices.long()]
    samples = run({arguments})
    return samples.to(torch.int32 if indices is None else indices.dtype)
'''

OTHERS = '''
def apply({names}{default}):
    """As `flashinfer.sampling.{function}` is called."""
    return run({arguments})
'''

_ARGUMENTS = {
    "logits": "logits.float()",
    "probs": "probs.float()",
    # Callers say "all" by a number beyond the vocabulary.
    "top_k": "rows(top_k, probs, torch.int32).clamp(max=VOCAB_SIZE)",
    "top_p": "rows(top_p, probs, torch.float32)",
    "min_p": "rows(min_p, probs, torch.float32)",
    "temperature": "rows(1.0 if temperature is None else temperature, logits, torch.float32)",
}


def _applied(definition: Definition) -> Sequence[Applied] | str:
    kind = kind_of(definition)
    if kind is None or "vocab_size" not in definition.const_axes:
        return "FlashInfer's trace templates have no such function"
    return (
        Applied(
            name=f"{STEMS.get(kind.stem, kind.stem)}_v{definition.const_axes['vocab_size']}",
            op_type=OP_TYPE,
            fi_api=f"flashinfer.sampling.{kind.function}",
            inputs={
                name: spec if name in ("probs", "logits") else scalar(spec.dtype)
                for name, spec in definition.inputs.items()
            },
            outputs=definition.outputs,
            source=_source(kind, joint=kind.stem == TOP_K_TOP_P and is_joint(definition)),
            optional=frozenset({"temperature"} & set(definition.inputs)),
        ),
    )


def _source(kind: Kind, *, joint: bool) -> str:
    order = ""
    if kind.stem == TOP_K_TOP_P:
        order = f', filter_apply_order=("{"joint" if joint else "top_k_first"}",)'
    body = (SAMPLED if kind.draws else OTHERS).format(
        names=", ".join(kind.inputs),
        function=kind.function,
        order=order,
        default="=None" if kind.stem == SOFTMAX else "",
        arguments=", ".join(_ARGUMENTS[name] for name in kind.inputs),
    )
    return "\n\n\n".join(text.strip() for text in (CALLED, ROWS, body)) + "\n"


FORMATS = (trace_apply_format((OP_TYPE,), _applied),)
"""The formats that this plugin writes."""
