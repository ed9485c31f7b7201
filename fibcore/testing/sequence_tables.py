"""Checks of workloads over sequences: tables of pages and offsets that fit the sizes of the axes.

They hold for any kernel whose keys are those of sequences, `kv_indptr` long, in pages
(`kv_indices`, `kv_last_page_len` where a page has several tokens) or one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable

from fibcore.model.definition import Definition
from fibcore.ops.hookspecs import WorkloadCase

LONGEST = 32768
"""Keys of the longest sequence that workloads are to have."""


def check_tables(definition: Definition, case: WorkloadCase) -> None:
    """Assert that the tables of a case are those of its axes, and every query has a key."""
    import numpy as np

    axes, tensors = case.axes, case.tensors()
    kv_indptr = tensors["kv_indptr"]
    assert len(kv_indptr) == axes["len_indptr"]
    # No sequence is without keys: its log-sum-exp would be -inf.
    assert (np.diff(kv_indptr) > 0).all()
    keys = np.diff(kv_indptr).astype(np.int64)
    if "kv_indices" not in definition.inputs:
        assert kv_indptr[-1] == axes["total_kv"]
    else:
        pages = tensors["kv_indices"]
        assert kv_indptr[-1] == axes["num_kv_indices"] == len(set(pages.tolist()))
        assert pages.min() > 0
        assert pages.max() < axes["num_pages"]
        if "kv_last_page_len" in definition.inputs:
            tokens = _tokens_per_page(definition)
            last = tensors["kv_last_page_len"]
            assert ((last >= 1) & (last <= tokens)).all()
            keys = (keys - 1) * tokens + last
    if "qo_indptr" not in definition.inputs:
        assert axes["batch_size"] == axes["len_indptr"] - 1
        return
    queries = np.diff(tensors["qo_indptr"])
    assert tensors["qo_indptr"][-1] == axes["total_q"]
    # Causal, aligned at the end: no query is without a key.
    assert ((queries >= 1) & (queries <= keys)).all()


def check_reach(definition: Definition, cases: Iterable[WorkloadCase]) -> None:
    """Assert that sizes reach from one sequence to large batches, prompts and long contexts."""
    sizes = [case.axes for case in cases]
    if "qo_indptr" not in definition.inputs:
        assert {1, 256} <= {axes["batch_size"] for axes in sizes}
    else:
        assert max(axes["total_q"] for axes in sizes) > LONGEST // 4 - 64
    if "kv_indices" in definition.inputs:
        alone = [axes["num_kv_indices"] for axes in sizes if axes["len_indptr"] == 2]
        # One of them is that long, but for a last page that is not full.
        assert LONGEST - 64 < max(alone) * _tokens_per_page(definition) <= LONGEST


def _tokens_per_page(definition: Definition) -> int:
    """The second size of the paged tensors, which have as many pages as the axis `num_pages`."""
    for spec in definition.inputs.values():
        if spec.shape and spec.shape[0] == "num_pages":
            return definition.const_axes[spec.shape[1]]
    raise AssertionError(f"{definition.name} has no paged tensor")
