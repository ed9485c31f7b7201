"""fibcore plugin for the op type `rmsnorm`.

Kernels: `rmsnorm_h{hidden}`, `fused_add_rmsnorm_h{hidden}` and, for Gemma's 1 + weight,
`gemma_rmsnorm_h{hidden}`, `gemma_fused_add_rmsnorm_h{hidden}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

from fibcore.plugin import (
    Definition,
    Extraction,
    GroundTruth,
    Identity,
    Kernel,
    ModelTree,
    OpType,
    Scalar,
    Serving,
    TestTemplate,
    WorkloadCase,
    hookimpl,
)
from fibcore_op_rmsnorm import definitions, ground_truth, matcher, workloads
from fibcore_op_rmsnorm.definitions import OP_TYPE

fibcore_hook_api = 1


@hookimpl
def fibcore_op_types() -> Sequence[OpType]:
    """The one op type of this plugin."""
    return [OpType(OP_TYPE, "RMSNorm of rows, with or without adding a residual first")]


@hookimpl
def fibcore_extract(tree: ModelTree, serving: Serving) -> Extraction:  # noqa: ARG001 - the hook's
    """The norms of a model; how it is served changes none of them."""
    return matcher.extract(tree)


@hookimpl
def fibcore_reference(kernel: Kernel) -> Definition:
    """The definition of an RMSNorm kernel."""
    return definitions.definition(kernel)


@hookimpl
def fibcore_identify(definition: Definition) -> Identity:
    """Plain or "gemma", and a hidden size that the name gives otherwise."""
    return Identity(definitions.variant(definition), definitions.contradictions(definition))


@hookimpl
def fibcore_ground_truths(definition: Definition) -> Sequence[GroundTruth]:
    """FlashInfer's and SGLang's norms."""
    return ground_truth.ground_truths(definition) if definition.op_type == OP_TYPE else ()


@hookimpl
def fibcore_test_template(op_type: str) -> TestTemplate:
    """Sizes, inputs and properties of the generated test."""
    source = files(__package__).joinpath("test_template.py").read_text(encoding="utf-8")
    return TestTemplate(op_type, source)


@hookimpl
def fibcore_workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,  # noqa: ARG001 - the hook's
) -> Sequence[WorkloadCase]:
    """Numbers of rows."""
    return workloads.workloads(definition)
