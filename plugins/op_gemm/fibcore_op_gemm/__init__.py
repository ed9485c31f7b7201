"""fibcore plugin for the op type `gemm`.

Kernels: `gemm_n_{N}_k_{K}`, and `gemm_fp8_block_scale_n_{N}_k_{K}` for block-scaled fp8 layers.
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
from fibcore_op_gemm import definitions, ground_truth, matcher, workloads
from fibcore_op_gemm.matcher import OP_TYPE
from fibcore_op_gemm.sizes import SHAPES

fibcore_hook_api = 1


@hookimpl
def fibcore_op_types() -> Sequence[OpType]:
    """The one op type of this plugin."""
    description = "matrix products of linear layers, LM heads and router gates"
    return [OpType(OP_TYPE, description, (SHAPES,))]


@hookimpl
def fibcore_extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The GEMMs of a model."""
    return matcher.extract(tree, serving)


@hookimpl
def fibcore_reference(kernel: Kernel) -> Definition:
    """The definition of a GEMM."""
    return definitions.definition(kernel)


@hookimpl
def fibcore_identify(definition: Definition) -> Identity:
    """One function for given tensors, and sizes that go together."""
    return Identity(contradictions=definitions.contradictions(definition))


@hookimpl
def fibcore_ground_truths(definition: Definition) -> Sequence[GroundTruth]:
    """Torch, cuBLAS, FlashInfer and SGLang, as the format has them."""
    return ground_truth.ground_truths(definition) if definition.op_type == OP_TYPE else ()


@hookimpl
def fibcore_test_template(op_type: str) -> TestTemplate:
    """Sizes, inputs and properties of the generated test."""
    source = (files(__package__) / "test_template.py").read_text(encoding="utf-8")
    return TestTemplate(op_type, source)


@hookimpl
def fibcore_workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> Sequence[WorkloadCase]:
    """Numbers of rows."""
    return workloads.workloads(definition, seed)
