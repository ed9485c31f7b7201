"""Attention residuals for fibcore: the op type `attn_residual`.

Only the hooks stand here; each hands over to the module that does the work, and imports it where
an extraction does not need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

from fibcore.plugin import (
    Cost,
    Definition,
    Extraction,
    GroundTruth,
    Identity,
    Implementation,
    Kernel,
    ModelTree,
    OpType,
    Scalar,
    Serving,
    StepBatch,
    TestTemplate,
    WorkloadCase,
    hookimpl,
)
from fibcore_op_attn_residual import matcher, names

fibcore_hook_api = 1


@hookimpl
def fibcore_op_types() -> Sequence[OpType]:
    """The op types of this plugin."""
    return names.OP_TYPES


@hookimpl
def fibcore_extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The attention residuals of a model."""
    return matcher.extract(tree, serving)


@hookimpl
def fibcore_reference(kernel: Kernel) -> Definition:
    """The definition of a kernel of this plugin."""
    from fibcore_op_attn_residual import definitions

    return definitions.define(kernel)


@hookimpl
def fibcore_identify(definition: Definition) -> Identity:
    """No variants; a size that the name gives otherwise."""
    from fibcore_op_attn_residual import definitions

    return definitions.identify(definition)


@hookimpl
def fibcore_ground_truths(definition: Definition) -> Sequence[GroundTruth]:
    """SGLang's PyTorch function, torch in float64."""
    from fibcore_op_attn_residual import ground_truths

    return ground_truths.choose(definition)


@hookimpl
def fibcore_test_template(op_type: str) -> TestTemplate:
    """Sizes, inputs and properties of the generated tests."""
    return TestTemplate(op_type, (files(__package__) / "test_template.py").read_text("utf-8"))


@hookimpl
def fibcore_workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> Sequence[WorkloadCase]:
    """Numbers of tokens, and of what was kept of them."""
    from fibcore_op_attn_residual import workloads

    return workloads.workloads(definition, constants, seed)


@hookimpl
def fibcore_cost(
    definition: Definition, axes: Mapping[str, int], values: Mapping[str, Sequence[int]]
) -> Cost | None:
    """Operations and bytes of one call."""
    from fibcore_op_attn_residual import cost

    return cost.cost(definition, axes, values)


@hookimpl
def fibcore_step_sizes(kernel: Kernel, batch: StepBatch) -> Mapping[str, int]:
    """How many residual streams a layer has kept, in the mean."""
    from fibcore_op_attn_residual import cost

    return cost.step_sizes(kernel, batch)


@hookimpl
def fibcore_implementations(definition: Definition) -> Sequence[Implementation]:
    """Right and wrong kernels, by which benchmarks are tried."""
    from fibcore_op_attn_residual import implementations

    return implementations.implementations(definition)
