"""All that plugins import: hooks, what these receive and return, and what helps to write them.

    from fibcore.plugin import Definition, Extraction, OpType, hookimpl

Nothing here imports more than extraction needs. What works with NumPy arrays (random numbers and
batches of sequences for workloads) is loaded where it is first used: import it inside functions.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fibcore.errors import (
    ConfigError,
    DefinitionError,
    FibcoreError,
    PluginError,
    ServingError,
)
from fibcore.model.cost import Cost
from fibcore.model.definition import Axis, Definition, TensorSpec, const, scalar, tensor, var
from fibcore.model.kernel import (
    Extraction,
    Fact,
    Kernel,
    KernelCollector,
    Moves,
    NotCovered,
    Problem,
    Scalar,
    Use,
    fact,
    use,
)
from fibcore.model.launch import Launch
from fibcore.model.options import Option
from fibcore.model.serving import Serving
from fibcore.model.shapes import tensor_bytes
from fibcore.model.step_batch import StepBatch
from fibcore.model.tree import (
    Alternatives,
    Call,
    Condition,
    Missing,
    ModelTree,
    ModuleNode,
    ModuleRef,
    Named,
    Operation,
    ParameterRef,
    Quantization,
    SourcePlace,
    TensorRef,
    Unknown,
    origins_of,
    with_origins,
)
from fibcore.ops.authoring.amd import amd_fp8
from fibcore.ops.authoring.caches import (
    has_block_scales,
    kv_cache_dtype,
    linear_attention_dtype,
)
from fibcore.ops.authoring.consistency import in_name, not_a_multiple, other_than
from fibcore.ops.authoring.costs import Attended, attended, attention_cost, moved
from fibcore.ops.authoring.counts import TOKENS
from fibcore.ops.authoring.decided import UndecidedError, decided, decided_size, possible_values
from fibcore.ops.authoring.implementations import rewritten, wrapped
from fibcore.ops.authoring.indexers import kernels_of_indexer
from fibcore.ops.authoring.linears import (
    LinearSizes,
    Size,
    layer_sizes,
    layer_vocabulary,
    rank_sizes,
    rank_vocabulary,
)
from fibcore.ops.authoring.rendering import joined, named_after, render, select
from fibcore.ops.authoring.tables import csv_text, json_text
from fibcore.ops.authoring.testlists import attention_testlist, testlist
from fibcore.ops.authoring.trace_apply import (
    CALLED,
    EACH_QUERY,
    PLANNED,
    Applied,
    trace_apply_format,
)
from fibcore.ops.exports import (
    Device,
    Exported,
    ExportedFile,
    ExportFormat,
    ExportRequest,
    ServedKernel,
)
from fibcore.ops.hookspecs import (
    HOOK_API,
    GroundTruth,
    Identity,
    Implementation,
    OpType,
    TestTemplate,
    WorkloadCase,
    hookimpl,
)

if TYPE_CHECKING:
    from fibcore.ops.authoring.draws import Draws, generator
    from fibcore.ops.authoring.sequences import (
        Batch,
        decode_batches,
        indptr,
        last_page_lengths,
        page_counts,
        page_numbers,
        pool_size,
        prefill_batches,
        sequence_cases,
    )

_WITH_NUMPY = {
    **dict.fromkeys(("Draws", "generator"), "fibcore.ops.authoring.draws"),
    **dict.fromkeys(
        (
            *("Batch", "decode_batches", "indptr", "last_page_lengths", "page_counts"),
            *("page_numbers", "pool_size", "prefill_batches", "sequence_cases"),
        ),
        "fibcore.ops.authoring.sequences",
    ),
}

__all__ = [
    "CALLED",
    "EACH_QUERY",
    "HOOK_API",
    "PLANNED",
    "TOKENS",
    "Alternatives",
    "Applied",
    "Attended",
    "Axis",
    "Batch",
    "Call",
    "Condition",
    "ConfigError",
    "Cost",
    "Definition",
    "DefinitionError",
    "Device",
    "Draws",
    "ExportFormat",
    "ExportRequest",
    "Exported",
    "ExportedFile",
    "Extraction",
    "Fact",
    "FibcoreError",
    "GroundTruth",
    "Identity",
    "Implementation",
    "Kernel",
    "KernelCollector",
    "Launch",
    "LinearSizes",
    "Missing",
    "ModelTree",
    "ModuleNode",
    "ModuleRef",
    "Moves",
    "Named",
    "NotCovered",
    "OpType",
    "Operation",
    "Option",
    "ParameterRef",
    "PluginError",
    "Problem",
    "Quantization",
    "Scalar",
    "ServedKernel",
    "Serving",
    "ServingError",
    "Size",
    "SourcePlace",
    "StepBatch",
    "TensorRef",
    "TensorSpec",
    "TestTemplate",
    "UndecidedError",
    "Unknown",
    "Use",
    "WorkloadCase",
    "amd_fp8",
    "attended",
    "attention_cost",
    "attention_testlist",
    "const",
    "csv_text",
    "decided",
    "decided_size",
    "decode_batches",
    "fact",
    "generator",
    "has_block_scales",
    "hookimpl",
    "in_name",
    "indptr",
    "joined",
    "json_text",
    "kernels_of_indexer",
    "kv_cache_dtype",
    "last_page_lengths",
    "layer_sizes",
    "layer_vocabulary",
    "linear_attention_dtype",
    "moved",
    "named_after",
    "not_a_multiple",
    "origins_of",
    "other_than",
    "page_counts",
    "page_numbers",
    "pool_size",
    "possible_values",
    "prefill_batches",
    "rank_sizes",
    "rank_vocabulary",
    "render",
    "rewritten",
    "scalar",
    "select",
    "sequence_cases",
    "tensor",
    "tensor_bytes",
    "testlist",
    "trace_apply_format",
    "use",
    "var",
    "with_origins",
    "wrapped",
]


def __getattr__(name: str) -> Any:
    if name in _WITH_NUMPY:
        value = getattr(importlib.import_module(_WITH_NUMPY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
