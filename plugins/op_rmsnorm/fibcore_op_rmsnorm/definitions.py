"""Writes the definition of an RMSNorm kernel, and reads what other tools' definitions compute."""

from __future__ import annotations

import ast
import re
from importlib.resources import files

from fibcore.plugin import (
    Definition,
    DefinitionError,
    Identity,
    Kernel,
    TensorSpec,
    const,
    in_name,
    render,
    tensor,
    var,
)
from fibcore_op_rmsnorm.names import GEMMA, OP_TYPE, function_name


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    Axes: batch_size (var), hidden_size. Inputs: hidden_states [batch_size, hidden_size],
    for fused-add also residual of that shape, weight [hidden_size]; output: output. All bfloat16,
    but for rows of linear attention that are float32.
    """
    hidden_size, eps = int(kernel.parameters["hidden_size"]), float(kernel.parameters["eps"])
    fused_add, gemma = bool(kernel.parameters["fused_add"]), bool(kernel.parameters["gemma"])
    stem = function_name(gemma=gemma, fused_add=fused_add)
    rows, dtype = "batch_size hidden_size", str(kernel.parameters.get("dtype", "bfloat16"))
    inputs: dict[str, TensorSpec] = {"hidden_states": tensor(rows, dtype, "What is normalised.")}
    if fused_add:
        inputs["residual"] = tensor(rows, "bfloat16", "Added to hidden_states before normalising.")
    inputs["weight"] = tensor("hidden_size", "bfloat16", "Multiplies every row.")
    template = files(__package__) / "references" / f"{stem}.py"
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=_description(hidden_size, eps, fused_add=fused_add, gemma=gemma),
        tags=kernel.tags,
        axes={
            "batch_size": var("Rows: tokens, or tokens times heads."),
            "hidden_size": const(hidden_size, "Columns of a row, which is what is normalised."),
        },
        inputs=inputs,
        outputs={"output": tensor(rows, dtype, "The normalised rows times the weight.")},
        reference=render(
            template.read_text(encoding="utf-8"), {"HIDDEN_SIZE": hidden_size, "EPSILON": eps}
        ),
    )


def _description(hidden_size: int, eps: float, *, fused_add: bool, gemma: bool) -> str:
    what = "hidden_states + residual" if fused_add else "hidden_states"
    times = "1 + weight" if gemma else "weight"
    # The published definitions have one output; whoever puts a kernel in place has to know.
    stream = (
        " The sum, which a model keeps as its residual stream, is no output: what stands in for"
        " FlashInfer's kernel, which overwrites residual with it, has to write it besides."
    ) * fused_add
    return (
        f"RMSNorm of {what} over rows of {hidden_size} elements, times {times}. Epsilon is {eps!r}."
        f"{stream}"
    )


def variant(definition: Definition) -> str:
    """The variant: "gemma" where the definition multiplies by 1 + weight, "" where by weight.

    The reference of a definition that others wrote decides; name and tags do where it adds 1 to
    nothing that is called weight.
    """
    if _adds_one_to_weight(definition.reference):
        return GEMMA
    apis = definition.tag_values("fi_api")
    named = "gemma" in definition.name or any("gemma" in api for api in apis)
    return GEMMA if named else ""


def identify(definition: Definition) -> Identity:
    """The variant and the contradictions of a definition."""
    return Identity(variant(definition), contradictions(definition))


def contradictions(definition: Definition) -> tuple[str, ...]:
    """A hidden size that is another one in the name."""
    return tuple(in_name(definition, {"h": "hidden_size"}))


def _adds_one_to_weight(reference: str) -> bool:
    for node in ast.walk(ast.parse(reference)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            for one, other in ((node.left, node.right), (node.right, node.left)):
                if isinstance(one, ast.Constant) and one.value == 1:
                    names = {n.id for n in ast.walk(other) if isinstance(n, ast.Name)}
                    if any(n in ("weight", "w", "scale", "gamma") for n in names):
                        return True
    return False


def epsilon(definition: Definition) -> float:
    """The epsilon of a definition: as its description says, else as its reference sets it.

    Raises:
        DefinitionError: neither says it.
    """
    said = re.search(r"[Ee]psilon\D*?(\d[\d.]*(?:[eE][-+]?\d+)?)", definition.description or "")
    if said:
        return float(said.group(1).rstrip("."))
    for node in ast.walk(ast.parse(definition.reference)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = {t.id.lower() for t in node.targets if isinstance(t, ast.Name)}
            if names & {"eps", "epsilon"} and isinstance(node.value.value, (int, float)):
                return float(node.value.value)
    raise DefinitionError(
        "an RMSNorm definition names its epsilon",
        where=definition.name,
        expected="`Epsilon is 1e-06` in the description, or `EPS = 1e-06` in the reference",
        found="neither",
    )
