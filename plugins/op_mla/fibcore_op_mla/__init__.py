"""Multi-head latent attention for fibcore: op types mla_paged and mla_ragged."""

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
from fibcore_op_mla.names import PAGE_SIZE


@hookimpl
def fibcore_op_types() -> Sequence[OpType]:
    """The two op types of this plugin."""
    return (
        OpType(
            "mla_paged", "latent attention in absorbed form over a paged latent cache", (PAGE_SIZE,)
        ),
        OpType("mla_ragged", "latent attention with materialised keys and values, ragged prefill"),
    )


@hookimpl
def fibcore_extract(tree: ModelTree, serving: Serving) -> Extraction:
    """Latent attention layers of `tree`; see `fibcore_op_mla.matcher`."""
    from fibcore_op_mla.matcher import extract

    return extract(tree, serving)


@hookimpl
def fibcore_reference(kernel: Kernel) -> Definition | None:
    """The definition of a kernel; see `fibcore_op_mla.definitions`."""
    from fibcore_op_mla.definitions import define

    return define(kernel)


@hookimpl
def fibcore_identify(definition: Definition) -> Identity | None:
    """What a definition computes that its tensors do not show, and sizes that go together."""
    from fibcore_op_mla.definitions import identify

    return identify(definition)


@hookimpl
def fibcore_ground_truths(definition: Definition) -> Sequence[GroundTruth] | None:
    """FlashInfer's wrappers and SGLang's torch-native attention."""
    from fibcore_op_mla.ground_truth import ground_truths

    return ground_truths(definition)


@hookimpl
def fibcore_test_template(op_type: str) -> TestTemplate | None:
    """Sizes, inputs and properties for the generated tests."""
    from fibcore_op_mla.ground_truth import test_template

    return test_template(op_type)


@hookimpl
def fibcore_workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> Sequence[WorkloadCase] | None:
    """Decode batches, prompts and chunks."""
    from fibcore_op_mla.workloads import workloads

    return workloads(definition, constants, seed)
