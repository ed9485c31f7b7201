"""References: properties, chunks, checks of sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fibcore.plugin import Definition
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted
from fibcore_op_activation.kinds import KINDS

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


@pytest.mark.parametrize("size", [8, 100, 1536])
@pytest.mark.parametrize("kind", KINDS)
def test_references_have_the_properties(
    definition: Make, template: Template, kind: str, size: int
) -> None:
    assert_accepted(template, definition(kind, size), cases=[{"id": "few", "num_tokens": 7}])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("relu", "silu")])
def test_chunks_of_rows_leave_no_seam(definition: Make, template: Template, kind: str) -> None:
    made = definition(kind, 64)
    small = with_constants(made, CHUNK_ELEMENTS=64 * 6)
    inputs = template.inputs(made, {"num_tokens": 8})
    whole = load_run(made.reference)(*inputs.values())
    assert torch.equal(load_run(small.reference)(*inputs.values()), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_checked(definition: Make, kind: str) -> None:
    run = load_run(definition(kind, 64).reference)
    scalars = [3.0] * len(KINDS[kind].scalars)
    for width in (63, 65, 32, 256):
        with pytest.raises(AssertionError):
            run(torch.zeros(2, width, dtype=torch.bfloat16), *scalars)


def test_forms_of_gelu_differ_by_what_is_known(definition: Make) -> None:
    x = torch.tensor([[2.0, -2.0, 0.5, 0.0]], dtype=torch.bfloat16)
    values = {
        "gelu": [1.9545, -0.0455, 0.34573, 0.0],
        "gelu_tanh": [1.95460, -0.04540, 0.34571, 0.0],
        "quick_gelu": [1.93566, -0.06434, 0.35038, 0.0],
        "silu": [1.76159, -0.23841, 0.31123, 0.0],
        "relu2": [4.0, 0.0, 0.25, 0.0],
    }
    for kind, expected in values.items():
        output = load_run(definition(kind, 4).reference)(x)
        torch.testing.assert_close(output.float(), torch.tensor([expected]), rtol=4e-3, atol=1e-6)


def test_scalars_may_be_tensors(definition: Make, template: Template) -> None:
    made = definition("situ_and_mul", 64)
    inputs = template.inputs(made, {"num_tokens": 3})
    run = load_run(made.reference)
    expected = run(*inputs.values())
    tensors = {n: v if n == "input" else torch.tensor(v) for n, v in inputs.items()}
    assert torch.equal(run(*tensors.values()), expected)
