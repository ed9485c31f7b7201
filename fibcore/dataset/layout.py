"""Where things lie in a dataset: flashinfer-trace's layout.

Paths are relative to the dataset's folder and have forward slashes.
"""

from __future__ import annotations

from fibcore.model.definition import Definition

DEFINITIONS = "definitions"
WORKLOADS = "workloads"
SOLUTIONS = "solutions"
TRACES = "traces"
BLOBS = "blob/workloads"
PROVENANCE = "reports/provenance"
TOP_FOLDERS = (DEFINITIONS, WORKLOADS, SOLUTIONS, TRACES, "blob", "reports", "tests")
"""The folders at the top of a dataset in which files are written."""


def definition_file(definition: Definition) -> str:
    """The file of a definition."""
    return f"{DEFINITIONS}/{definition.op_type}/{definition.name}.json"


def workload_file(definition: Definition) -> str:
    """The workloads of a definition, one a line."""
    return f"{WORKLOADS}/{definition.op_type}/{definition.name}.jsonl"


def trace_file(definition: Definition) -> str:
    """The benchmark results of a definition, one a line."""
    return f"{TRACES}/{definition.op_type}/{definition.name}.jsonl"


def blob_folder(definition: Definition) -> str:
    """The folder of the tensors that a definition's workloads name."""
    return f"{BLOBS}/{definition.op_type}/{definition.name}"


def solution_file(author: str, definition: Definition, name: str) -> str:
    """The file of the solution `name`."""
    return f"{SOLUTIONS}/{author}/{definition.op_type}/{definition.name}/{name}.json"


def provenance_file(name: str) -> str:
    """The provenance of the definition `name`."""
    return f"{PROVENANCE}/{name}.json"
