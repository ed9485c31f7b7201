"""A certificate of decode attention: what the plain tolerance of a benchmark lets pass."""

from __future__ import annotations

from typing import Any

import pytest

import fibcore
from fibcore.plugin import Definition

torch = pytest.importorskip("torch")

LONG = (8165, 32741)
"""Keys of the long workloads of one sequence."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """That of a small decode kernel, on the sizes of one sequence that the plugin gives."""
    root = tmp_path_factory.mktemp("dataset")
    made = small_decode()
    path = root / "definitions" / made.op_type / f"{made.name}.json"
    path.parent.mkdir(parents=True)
    path.write_text(made.to_json(), encoding="utf-8")
    fibcore.add_workloads(dataset=root, all_=True)
    workloads = root / "workloads" / made.op_type / f"{made.name}.jsonl"
    lines = workloads.read_text().splitlines()
    one_sequence = [line for line in lines if '"batch_size":1,' in line]
    assert len(one_sequence) == 4
    workloads.write_text("".join(f"{line}\n" for line in one_sequence))
    (found,) = fibcore.certify(dataset=root, all_=True, device="cpu").certificates
    return found


def small_decode() -> Definition:
    from fibcore.plugin import Serving
    from fibcore.testing.sglang_modules import radix_attention
    from fibcore.testing.trees import tree
    from fibcore_op_gqa import fibcore_extract, fibcore_reference

    sizes = {"num_heads": 32, "head_dim": 16, "scaling": 0.25, "num_kv_heads": 8}
    layer = radix_attention("attn", **sizes)
    serving = Serving(options={"page_size": (64,)})
    kernels = fibcore_extract(tree(layer), serving).kernels
    return fibcore_reference(next(k for k in kernels if "decode" in k.name))


def tried(certificate: Any, keys: int) -> dict[str, Any]:
    pages = -(-keys // 64)
    (on,) = (w for w in certificate.workloads if w.axes["num_kv_indices"] == pages)
    return {one.name: one for one in on.tried}


PASSING = [
    (8165, ("the last key is dropped", "sm_scale + 2 %")),
    (32741, ("the last key is dropped", "sm_scale + 2 %", "the first page is another one")),
]


@pytest.mark.parametrize(("keys", "names"), PASSING)
def test_what_the_plain_tolerance_accepts_is_rejected(
    certificate: Any, keys: int, names: tuple[str, ...]
) -> None:
    found = tried(certificate, keys)
    for name in names:
        assert found[name].plain == 0, name  # every element is within 1e-2
        assert found[name].verdict == "rejected", name


@pytest.mark.parametrize("keys", LONG)
def test_right_kernels_are_accepted_and_all_wrong_ones_rejected(
    certificate: Any, keys: int
) -> None:
    found = tried(certificate, keys).values()
    assert {one.verdict for one in found if one.right} == {"accepted"}
    assert {one.verdict for one in found if not one.right} == {"rejected"}
    assert len([one for one in found if one.right]) >= 3


def test_it_is_certified(certificate: Any) -> None:
    assert certificate.reasons == ()
    assert certificate.certified
