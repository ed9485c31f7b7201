"""What holds for every sequence of definitions that come into a dataset."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcore.dataset import Dataset
from fibcore.model.definition import Definition, const, tensor, var


def kernel(name: str, size: int, words: str, model: str, verified: bool) -> Definition:
    return Definition(
        name=name,
        op_type="toy",
        axes={"batch": var(), "size": const(size)},
        inputs={"x": tensor("batch size", "bfloat16")},
        outputs={"y": tensor("batch size", "bfloat16")},
        reference=f"WORDS = {words!r}\n\n\ndef run(x):\n    return x\n",
        description=words,
        tags=(f"model:{model}", f"status:{'verified' if verified else 'unverified'}"),
    )


KERNELS = st.builds(
    kernel,
    st.sampled_from(["a", "b", "a_v2", "a_v3"]),
    st.integers(1, 4),
    st.sampled_from(["one", "two"]),
    st.sampled_from(["llama", "qwen"]),
    st.booleans(),
)


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@settings(max_examples=40, deadline=None)
@given(st.lists(KERNELS, max_size=10), st.booleans())
def test_deduplication(kernels: list[Definition], batch: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)

        def run() -> list[str]:
            dataset = Dataset(root)
            if not batch:
                return [dataset.add(k).name for k in kernels]
            with dataset.locked():
                return [dataset.add(k).name for k in kernels]

        names = run()
        definitions, errors = Dataset(root).read()
        stored = {d.name: d for d in definitions}
        assert errors == ()
        # One definition for each kernel, whatever the names and the order.
        assert len(stored) == len({k.structure() for k in kernels})
        assert {d.structure() for d in definitions} == {k.structure() for k in kernels}
        for name, k in zip(names, kernels, strict=True):
            assert stored[name].structure() == k.structure()
            assert set(k.tag_values("model")) <= set(stored[name].tag_values("model"))
        for d in definitions:
            # The words and the reference are those of one that came, the first of its kernel.
            first = next(k for k in kernels if k.structure() == d.structure())
            assert (d.reference, d.description) == (first.reference, first.description)
            (status,) = d.tag_values("status")
            proven = any(
                k.reference == d.reference and "status:verified" in k.tags
                for k in kernels
                if k.structure() == d.structure()
            )
            assert (status == "verified") == proven

        before = files(root)
        assert run() == names
        assert files(root) == before


@pytest.mark.parametrize(
    ("there", "expected"),
    [("gemm_n8_k8", "gemm_n64_k32"), ("gemm_n_8_k_8", "gemm_n_64_k_32"), (None, "gemm_n_64_k_32")],
)
def test_new_names_have_their_sizes_as_the_dataset_has_them(
    there: str | None, expected: str, tmp_path: Path
) -> None:
    store = Dataset(tmp_path)
    with store.locked():
        if there is not None:
            store.add(kernel(there, 8, "", "older", False), None)
        outcome = store.add(kernel("gemm_n_64_k_32", 64, "", "newer", False), None)
        again = store.add(kernel("gemm_n_64_k_32", 64, "", "newer", False), None)
    assert (outcome.kind, outcome.name) == ("new", expected)
    assert again.name == expected
    assert len(store.read().definitions) == (1 if there is None else 2)
