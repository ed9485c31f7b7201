"""Grouped query attention for fibcore: op types `gqa_paged` and `gqa_ragged`.

Only the hooks stand here; each hands over to the module that does the work.
"""

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
from fibcore_op_gqa import definitions, ground_truth, matcher, names, workloads

fibcore_hook_api = 1


@hookimpl
def fibcore_op_types() -> Sequence[OpType]:
    """The two op types of this plugin."""
    return (
        OpType("gqa_paged", "grouped query attention over a paged KV cache", (names.PAGE_SIZE,)),
        OpType("gqa_ragged", "grouped query attention over ragged keys and values"),
    )


@hookimpl
def fibcore_extract(tree: ModelTree, serving: Serving) -> Extraction:
    """Find grouped query attention in a model tree, plain or with a window or a cap."""
    return matcher.extract(tree, serving)


@hookimpl
def fibcore_reference(kernel: Kernel) -> Definition:
    """Write the definition of one of this plugin's kernels."""
    return definitions.define(kernel)


@hookimpl
def fibcore_identify(definition: Definition) -> Identity:
    """Tell masks and logit transforms apart, which tensors do not show; check heads and name."""
    return definitions.identify(definition)


@hookimpl
def fibcore_ground_truths(definition: Definition) -> Sequence[GroundTruth]:
    """FlashInfer's wrapper, then SGLang's torch-native attention, then flex attention."""
    return ground_truth.ground_truths(definition)


@hookimpl
def fibcore_test_template(op_type: str) -> TestTemplate:
    """Test sizes, inputs and properties; one file serves both op types."""
    return ground_truth.template(op_type)


@hookimpl
def fibcore_workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> Sequence[WorkloadCase]:
    """Decode batches, prompts and chunks."""
    return workloads.workloads(definition, constants, seed)
