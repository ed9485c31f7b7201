"""Multi-head latent attention for fibcore: the op types `mla_paged` and `mla_ragged`.

Only the hooks stand here; each hands over to the module that does the work, and imports it where
an extraction does not need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import (
    Cost,
    Definition,
    ExportFormat,
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
from fibcore_op_mla import matcher, names

fibcore_hook_api = 1


@hookimpl
def fibcore_op_types() -> Sequence[OpType]:
    """The op types of this plugin."""
    return names.OP_TYPES


@hookimpl
def fibcore_extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The kernels of latent attention in a model, and what kept layers from being one."""
    return matcher.extract(tree, serving)


@hookimpl
def fibcore_reference(kernel: Kernel) -> Definition:
    """The definition of a kernel of this plugin."""
    from fibcore_op_mla import definitions

    return definitions.define(kernel)


@hookimpl
def fibcore_identify(definition: Definition) -> Identity:
    """What a definition computes that its tensors do not show, and sizes that go together."""
    from fibcore_op_mla import definitions

    return definitions.identify(definition)


@hookimpl
def fibcore_ground_truths(definition: Definition) -> Sequence[GroundTruth]:
    """FlashInfer's wrappers and SGLang's torch-native attention."""
    from fibcore_op_mla import ground_truths

    return ground_truths.choose(definition)


@hookimpl
def fibcore_test_template(op_type: str) -> TestTemplate:
    """Sizes, inputs and properties of the generated tests."""
    from fibcore_op_mla import assembling

    return TestTemplate(op_type, assembling.test_template(op_type))


@hookimpl
def fibcore_workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> Sequence[WorkloadCase]:
    """Decode batches, prompts and chunks."""
    from fibcore_op_mla import workloads

    return workloads.workloads(definition, constants, seed)


@hookimpl
def fibcore_cost(
    definition: Definition, axes: Mapping[str, int], values: Mapping[str, Sequence[int]]
) -> Cost | None:
    """Pairs of queries and keys that are seen, and the latent vectors of the sequences' pages."""
    from fibcore_op_mla import cost

    return cost.cost(definition, axes, values)


@hookimpl
def fibcore_implementations(definition: Definition) -> Sequence[Implementation]:
    """Right and wrong kernels, by which benchmarks are tried."""
    from fibcore_op_mla import implementations

    return implementations.implementations(definition)


@hookimpl
def fibcore_exports() -> Sequence[ExportFormat]:
    """Lists of cases for benchmarks."""
    from fibcore_op_mla import applied, exports

    return (*exports.FORMATS, *applied.FORMATS)
