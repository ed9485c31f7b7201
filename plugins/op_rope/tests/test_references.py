"""The reference: properties, chunks, memory, checks of sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fibcore.plugin import Definition
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import assert_accepted

torch = pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402 - torch may be missing

Make = Callable[..., Definition]

STYLES = ("neox", "gptj")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("head_size", "rotary_dim"), [(64, 64), (80, 20), (128, 64), (6, 2)])
def test_the_reference_has_the_properties(
    definition: Make, template: Template, style: str, head_size: int, rotary_dim: int
) -> None:
    assert_accepted(template, definition(style, head_size, rotary_dim))


@pytest.mark.parametrize("style", STYLES)
def test_chunks_of_tokens_leave_no_seam(definition: Make, template: Template, style: str) -> None:
    made = definition(style, 24, 16)
    small = with_constants(made, CHUNK_ELEMENTS=1)
    case = template.cases(made)[1]
    inputs = template.inputs(made, case)
    whole = load_run(made.reference)(*inputs.values())
    for part, out in zip(load_run(small.reference)(*inputs.values()), whole, strict=True):
        assert torch.equal(part, out)


class Largest(TorchDispatchMode):
    """Notes the largest float32 tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
            self.elements = max(self.elements, result.numel())
        return result


def test_memory_does_not_grow_with_the_tokens(definition: Make) -> None:
    run = load_run(with_constants(definition("gptj", 64, 64), CHUNK_ELEMENTS=20_480).reference)
    q, k = torch.zeros(900, 4, 64).bfloat16(), torch.zeros(900, 1, 64).bfloat16()
    table, positions = torch.zeros(10, 64), torch.zeros(900, dtype=torch.int64)
    with Largest() as largest:
        run(q, k, table, positions)
    assert 640 < largest.elements <= 20_480 < q.numel()


def test_sizes_are_checked(definition: Make) -> None:
    run = load_run(definition("neox", 64, 32).reference)
    x, table, p = torch.zeros(2, 3, 64), torch.zeros(5, 32), torch.zeros(2, dtype=torch.int64)
    run(x, x, table, p)
    for wrong in (
        (x[..., :32], x[..., :32], table, p),
        (x, x[..., :32], table, p),
        (x, x[:1], table, p),
        (x, x, table[:, :16], p),
        (x, x, table, p[:1]),
    ):
        with pytest.raises(AssertionError):
            run(*wrong)


def test_positions_have_to_be_in_the_table(definition: Make) -> None:
    run = load_run(definition("neox", 64, 32).reference)
    x, table = torch.zeros(1, 1, 64), torch.zeros(5, 32)
    for position in (-1, 5):
        with pytest.raises((IndexError, RuntimeError)):
            run(x, x, table, torch.tensor([position]))


def test_a_definition_with_other_tensors_is_skipped(definition: Make, template: Template) -> None:
    data = definition().to_dict()
    data["inputs"]["scale"] = {"shape": None, "dtype": "float32"}
    with pytest.raises(pytest.skip.Exception, match="scale"):
        template.module.make_inputs(
            data, template.module.cases(data)[0], torch.device("cpu"), torch.Generator()
        )
