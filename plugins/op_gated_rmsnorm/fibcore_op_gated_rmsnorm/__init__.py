"""The op type `gated_rmsnorm` for fibcore.

Only the hooks stand here; each hands over to the module that does the work, and imports it where
an extraction does not need it. What is to be changed
for another op is marked `Yours` in those modules.
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
    TestTemplate,
    WorkloadCase,
    hookimpl,
)
from fibcore_op_gated_rmsnorm import matcher, names

fibcore_hook_api = 1


@hookimpl
def fibcore_op_types() -> Sequence[OpType]:
    """The op types of this plugin."""
    return names.OP_TYPES


@hookimpl
def fibcore_extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The kernels of a model, and what kept layers from being one."""
    return matcher.extract(tree, serving)


@hookimpl
def fibcore_reference(kernel: Kernel) -> Definition:
    """The definition of a kernel of this plugin."""
    from fibcore_op_gated_rmsnorm import definitions

    return definitions.define(kernel)


@hookimpl
def fibcore_identify(definition: Definition) -> Identity:
    """No variants; a size that the name gives otherwise."""
    from fibcore_op_gated_rmsnorm import definitions

    return definitions.identify(definition)


@hookimpl
def fibcore_ground_truths(definition: Definition) -> Sequence[GroundTruth]:
    """What others wrote, to compare with."""
    from fibcore_op_gated_rmsnorm import ground_truths

    return ground_truths.choose(definition)


@hookimpl
def fibcore_test_template(op_type: str) -> TestTemplate:
    """Sizes, inputs and properties of the generated tests."""
    return TestTemplate(op_type, (files(__package__) / names.TEMPLATES[op_type]).read_text("utf-8"))


@hookimpl
def fibcore_workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> Sequence[WorkloadCase]:
    """Sizes to benchmark."""
    from fibcore_op_gated_rmsnorm import workloads

    return workloads.workloads(definition, constants, seed)


@hookimpl
def fibcore_cost(
    definition: Definition, axes: Mapping[str, int], values: Mapping[str, Sequence[int]]
) -> Cost | None:
    """Operations and bytes of one call."""
    from fibcore_op_gated_rmsnorm import cost

    return cost.cost(definition, axes, values)


@hookimpl
def fibcore_implementations(definition: Definition) -> Sequence[Implementation]:
    """Right and wrong kernels, by which benchmarks are tried."""
    from fibcore_op_gated_rmsnorm import implementations

    return implementations.implementations(definition)
