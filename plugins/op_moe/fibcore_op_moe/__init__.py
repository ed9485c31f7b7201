"""The op type `moe`: routed experts with routing, two grouped GEMMs and the weighted sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
from fibcore_op_moe import assembling, definitions, ground_truth, matcher, moe, workloads

__version__ = "0.1.0"


fibcore_hook_api = 1


@hookimpl
def fibcore_op_types() -> Sequence[OpType]:
    """The op type `moe`."""
    return (
        OpType(moe.OP_TYPE, "routed experts: routing, grouped GEMMs with SwiGLU, weighted sum"),
    )


@hookimpl
def fibcore_extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The MoE kernels of a model."""
    return matcher.extract(tree, serving)


@hookimpl
def fibcore_reference(kernel: Kernel) -> Definition:
    """The definition of an MoE kernel."""
    return definitions.definition(kernel)


@hookimpl
def fibcore_identify(definition: Definition) -> Identity:
    """The routing, which tensors alone do not tell, and sizes that go together."""
    return Identity(moe.variant(definition), moe.contradictions(definition))


@hookimpl
def fibcore_ground_truths(definition: Definition) -> Sequence[GroundTruth]:
    """FlashInfer's kernels and SGLang's native functions."""
    return ground_truth.of(definition) if definition.op_type == moe.OP_TYPE else ()


@hookimpl
def fibcore_test_template(op_type: str) -> TestTemplate:
    """Test sizes, inputs and properties of `moe`."""
    return TestTemplate(op_type, assembling.source("", "test_template.py"))


@hookimpl
def fibcore_workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> Sequence[WorkloadCase]:
    """Numbers of tokens, with routing that has no ties."""
    return workloads.workloads(definition, constants, seed)
