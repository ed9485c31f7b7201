"""The references: properties, chunks, memory, checks of sizes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fibcore.plugin import Definition
from fibcore.testing.templates import Template, load_run

torch = pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402 - torch may be missing

STEMS = ("rmsnorm", "fused_add_rmsnorm", "gemma_rmsnorm", "gemma_fused_add_rmsnorm")
CPU = torch.device("cpu")


def failures(template: Template, source: str, made: Definition) -> list[str]:
    """The properties that reject a reference."""
    run, cases = load_run(source), template.cases(made)[1:2]
    return list(template.rejected(made, run, cases, crashes=(RuntimeError,)))


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("hidden_size", [64, 128, 1536])
def test_the_right_references_have_the_properties(
    definition: Any, template: Any, stem: str, hidden_size: int
) -> None:
    made = definition(stem, hidden_size)
    assert failures(template, made.reference, made) == []


def test_rows_of_float32_have_the_properties(wide: Any, template: Any) -> None:
    made = wide(128)
    assert made.inputs["hidden_states"].dtype == made.outputs["output"].dtype == "float32"
    assert made.inputs["weight"].dtype == "bfloat16"
    assert failures(template, made.reference, made) == []


@pytest.mark.parametrize("stem", STEMS)
def test_chunks_of_rows_leave_no_seam(definition: Any, template: Any, stem: str) -> None:
    made = definition(stem, 64)
    small = re.sub(r"CHUNK_ELEMENTS = \d+", "CHUNK_ELEMENTS = 192", made.reference)
    assert small != made.reference
    inputs = template.module.make_inputs(
        made.to_dict(), {"batch_size": 8}, CPU, torch.Generator().manual_seed(1)
    )
    assert torch.equal(
        load_run(small)(*inputs.values()), load_run(made.reference)(*inputs.values())
    )
    assert failures(template, small, made) == []


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


@pytest.mark.parametrize("stem", STEMS)
def test_memory_does_not_grow_with_the_rows(definition: Any, template: Any, stem: str) -> None:
    made = definition(stem, 512)
    values = template.module.make_inputs(
        made.to_dict(), {"batch_size": 20_000}, CPU, torch.Generator().manual_seed(1)
    )
    with Largest() as largest:
        load_run(made.reference.replace(" = 33554432", " = 4194304"))(*values.values())
    assert 0 < largest.elements <= 2**22 < 20_000 * 512


def test_sizes_are_checked(definition: Any) -> None:
    run = load_run(definition("fused_add_rmsnorm", 64).reference)
    x, w = torch.zeros(2, 64, dtype=torch.bfloat16), torch.ones(64, dtype=torch.bfloat16)
    with pytest.raises(AssertionError):
        run(torch.zeros(2, 32, dtype=torch.bfloat16), x, w)
    with pytest.raises(AssertionError):
        run(x, x[:1], w)
    with pytest.raises(AssertionError):
        run(x, x, w[:1])


def test_a_definition_with_other_tensors_is_skipped(definition: Any, template: Any) -> None:
    data = definition("rmsnorm", 64).to_dict()
    data["inputs"]["scale"] = {"shape": None, "dtype": "float32"}
    with pytest.raises(pytest.skip.Exception, match="scale"):
        template.module.make_inputs(data, {"batch_size": 1}, CPU, torch.Generator())
