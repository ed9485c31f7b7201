"""The references: properties, chunks, bounds of memory, checks of sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fibcore.plugin import Definition
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted

torch = pytest.importorskip("torch")

Make = Callable[..., dict[str, Definition]]
Small = dict[str, Definition]


@pytest.mark.parametrize("kind", ["attention", "indexer", "scaled"])
@pytest.mark.parametrize("keys", [1, 100, 1 << 20])
def test_the_references_have_the_properties(
    small: Small, template: Template, kind: str, keys: int
) -> None:
    assert_accepted(template, with_constants(small[kind], CPU_KEYS=keys))


def test_chunks_of_queries_leave_no_seam(small: Small, template: Template) -> None:
    made = small["attention"]
    inputs = template.inputs(made, {"keys": [150, 0, 3, 101, 100, 7, 190]})
    whole = load_run(with_constants(made, CPU_KEYS=1 << 20).reference)(*inputs.values())
    parts = load_run(with_constants(made, CPU_KEYS=300).reference)(*inputs.values())
    for one, other in zip(parts, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=2**-7, atol=1e-5)


def test_chunks_of_keys_leave_no_seam(small: Small, template: Template) -> None:
    made = small["indexer"]
    inputs = template.inputs(made, {"keys": [500, 0, 3, 41, 40, 7, 90]})
    whole = load_run(with_constants(made, CPU_KEYS=1 << 20).reference)(*inputs.values())
    parts = load_run(with_constants(made, CPU_KEYS=64).reference)(*inputs.values())
    assert torch.equal(parts.sort().values, whole.sort().values)


def test_the_best_key_stands_first(small: Small, template: Template) -> None:
    made = small["indexer"]
    inputs = template.inputs(made, {"keys": [300]})
    chosen = load_run(made.reference)(*inputs.values())[0].long()
    values, scales = template.module._unpacked(inputs["k_index_cache_fp8"])
    scores, _, _ = template.module._scores(inputs, 0, values[chosen], scales[chosen])
    assert bool((scores.diff() <= 1e-4).all())


def test_sizes_are_checked(small: Small, template: Template) -> None:
    for made in small.values():
        inputs = template.inputs(made, {"keys": [50, 3]})
        run = load_run(made.reference)
        for name, value in inputs.items():
            if not isinstance(value, torch.Tensor) or name == "ckv_cache":
                continue
            part = value[:1] if name == "block_table" else value[..., :1]
            with pytest.raises(AssertionError):
                run(**{**inputs, name: part})
