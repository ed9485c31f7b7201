"""Certificates of routed experts: of few tokens, and of as many as are taken in several pieces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fibcore
from fibcore.plugin import Definition, Kernel
from fibcore.testing.shares import a_share

pytest.importorskip("torch")

TOKENS = (1, 64, 8192)


def small(weights: str, groups: int, kept: int) -> Definition:
    """16 experts, 4 of them here, of which a token chooses 4 as DeepSeek-V3 does."""
    from fibcore_op_moe import fibcore_reference, formats, routings
    from fibcore_op_moe.kernel import Moe

    moe = Moe(formats.BY_NAME[weights], routings.DS, 4, groups, kept, 16, 4, 256, 128)
    made = fibcore_reference(Kernel("moe", moe.name, moe.parameters(), {}, (), ()))
    assert isinstance(made, Definition)
    return made


@pytest.fixture(
    scope="module",
    params=a_share(
        [("fp8_block_scale", 4, 2), ("bf16", 1, 1), ("mxfp4", 1, 1), ("nvfp4", 4, 2)], 2
    ),
    ids=str,
)
def certificate(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    root: Path = tmp_path_factory.mktemp("dataset")
    made = small(*request.param)
    path = root / "definitions" / made.op_type / f"{made.name}.json"
    path.parent.mkdir(parents=True)
    path.write_text(made.to_json(), encoding="utf-8")
    fibcore.add_workloads(dataset=root, all_=True)
    workloads = root / "workloads" / made.op_type / f"{made.name}.jsonl"
    lines = workloads.read_text().splitlines()
    few = [x for x in lines if any(f'"seq_len":{n}}}' in x for n in TOKENS)]
    workloads.write_text("".join(f"{line}\n" for line in few))
    (found,) = fibcore.certify(dataset=root, all_=True, device="cpu").certificates
    return found


def test_it_is_certified(certificate: Any) -> None:
    assert certificate.reasons == ()
    assert certificate.certified


def test_many_tokens_tell_right_from_wrong(certificate: Any) -> None:
    """More tokens than the reference takes at a time; a float64 evaluation has to take them too."""
    (on,) = (w for w in certificate.workloads if w.axes["seq_len"] == 8192)
    assert {one.verdict for one in on.tried if one.right} == {"accepted"}
    assert {one.verdict for one in on.tried if not one.right} == {"rejected"}
    assert all(one.errors["output"]["relative"] < 0.03 for one in on.tried if one.right)
