"""Index queries and keys of sparse attention for fibcore: `dsa_index_q`, `dsa_index_k_store`.

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
    TestTemplate,
    WorkloadCase,
    hookimpl,
)
from fibcore_op_dsa_index import matcher, names

fibcore_hook_api = 1


@hookimpl
def fibcore_op_types() -> Sequence[OpType]:
    """The op types of this plugin."""
    return names.OP_TYPES


@hookimpl
def fibcore_extract(tree: ModelTree, serving: Serving) -> Extraction:
    """What index queries and keys of a model go through in fused kernels."""
    return matcher.extract(tree, serving)


@hookimpl
def fibcore_reference(kernel: Kernel) -> Definition:
    """The definition of a kernel of this plugin."""
    from fibcore_op_dsa_index import definitions

    return definitions.define(kernel)


@hookimpl
def fibcore_identify(definition: Definition) -> Identity:
    """No variants; sizes that do not go together."""
    from fibcore_op_dsa_index import definitions

    return definitions.identify(definition)


@hookimpl
def fibcore_ground_truths(definition: Definition) -> Sequence[GroundTruth]:
    """Torch in float64."""
    from fibcore_op_dsa_index import ground_truths

    return ground_truths.choose(definition)


@hookimpl
def fibcore_test_template(op_type: str) -> TestTemplate:
    """Sizes, inputs and properties of the generated tests."""
    return TestTemplate(op_type, (files(__package__) / "test_template.py").read_text("utf-8"))


@hookimpl
def fibcore_workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> Sequence[WorkloadCase]:
    """Numbers of tokens."""
    from fibcore_op_dsa_index import workloads

    return workloads.workloads(definition, constants, seed)


@hookimpl
def fibcore_cost(
    definition: Definition, axes: Mapping[str, int], values: Mapping[str, Sequence[int]]
) -> Cost | None:
    """Operations of each element, and what is moved; caches are written in place."""
    from fibcore_op_dsa_index import cost

    return cost.cost(definition, axes, values)


@hookimpl
def fibcore_implementations(definition: Definition) -> Sequence[Implementation]:
    """Right and wrong kernels, by which benchmarks are tried."""
    from fibcore_op_dsa_index import implementations

    return implementations.implementations(definition)
