"""Workloads: what sequences there are, and that the inputs are what a server has."""

from __future__ import annotations

import attrs
import pytest

from fibcore.plugin import Definition
from fibcore_op_msa import fibcore_workloads

np = pytest.importorskip("numpy")

Small = dict[str, Definition]


def test_every_query_sees_blocks_of_its_own(small: Small) -> None:
    found = fibcore_workloads(small["attention"], {"sm_scale": 0.25}, 0)
    assert len(found) == 21
    for case in found[:6]:
        made = case.tensors()
        assert case.scalars == {"sm_scale": 0.25}
        assert made["block_indices"].shape == (case.axes["num_tokens"], 2, 3)
        for length, rows in zip(made["seq_lens"], made["block_indices"], strict=True):
            last = -(-int(length) // 6) - 1
            for row in rows:
                own = row[row >= 0]
                assert len(own) == min(3, last + 1)
                assert own[-1] == last
                assert len(set(own.tolist())) == len(own)


def test_pages_are_not_shared(small: Small) -> None:
    for case in fibcore_workloads(small["indexer"], {}, 0)[:6]:
        made = case.tensors()
        counts = -(-made["seq_lens"] // 4)
        used = [
            page for n, row in zip(counts, made["block_table"], strict=True) for page in row[:n]
        ]
        assert len(set(used)) == len(used)
        assert max(used) < case.axes["num_pages"]
        assert made["block_table"].shape == (case.axes["num_tokens"], case.axes["max_num_pages"])


def test_a_scale_follows_from_heads_where_no_model_says_it(small: Small) -> None:
    assert fibcore_workloads(small["attention"], {}, 0)[0].scalars == {"sm_scale": 8**-0.5}


def test_definitions_of_others_are_not_guessed(small: Small) -> None:
    for made in small.values():
        assert fibcore_workloads(attrs.evolve(made, op_type="other"), {}, 0) == ()
