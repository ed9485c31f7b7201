"""The references: properties, chunks, memory, checks of sizes."""

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


@pytest.mark.parametrize("vocab_size", [64, 1000])
def test_the_references_have_the_properties(
    definition: Make, template: Template, stem: str, vocab_size: int
) -> None:
    made = definition(stem, vocab_size)
    assert_accepted(template, made, cases=template.cases(made)[:2])


def test_the_sums_of_a_long_row_may_round(definition: Make, template: Template) -> None:
    # In eight running sums, as torch adds on a CPU with AVX2 alone.
    made = definition("softmax", 128256)

    def run(logits: Any, temperature: Any) -> Any:
        scaled = logits / temperature[:, None]
        powers = (scaled - scaled.amax(dim=-1, keepdim=True)).exp()
        sums = torch.zeros(len(powers), 8)
        for part in powers.unflatten(-1, (-1, 8)).unbind(1):
            sums += part
        return powers / sums.sum(dim=-1, keepdim=True)

    for _, check in template.checks(made, run, template.cases(made)[:2]):
        check()


def test_right_draws_pass_whatever_the_seed(definition: Make, template: Template) -> None:
    # 20 runs of a test that may fail in one of a million.
    made = definition("top_k_top_p_sampling_from_probs")
    cases = [{"id": "batch7", "batch_size": 7}]
    for seed in range(20):
        torch.manual_seed(seed)
        assert_accepted(template, made, cases=cases)


def test_chunks_of_rows_leave_no_seam(definition: Make, template: Template, stem: str) -> None:
    if stem == "softmax":
        pytest.skip("it takes all rows at once")
    made = definition(stem)
    small = with_constants(made, CHUNK_ELEMENTS=3 * 64)
    inputs = template.inputs(made, {"batch_size": 8})
    runs = []
    for one in (made, small):
        torch.manual_seed(1)
        runs.append(load_run(one.reference)(*inputs.values()))
    assert runs[0].shape == runs[1].shape
    if not stem.endswith("renorm_probs"):
        # The rows of each chunk draw the next numbers of one stream.
        assert_accepted(template, small, cases=template.cases(small)[1:2])
    else:
        assert torch.equal(*runs)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that is made besides the output."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float64:
            self.elements = max(self.elements, result.numel())
        return result


def test_memory_does_not_grow_with_the_rows(definition: Make, template: Template) -> None:
    made = with_constants(definition("top_k_top_p_sampling_from_probs"), CHUNK_ELEMENTS=2**12)
    inputs = template.inputs(made, {"batch_size": 1000})
    with Largest() as largest:
        load_run(made.reference)(*inputs.values())
    assert 0 < largest.elements <= 2**12 < 1000 * 64


def test_small_probabilities_are_drawn_as_often_as_they_should_be(definition: Make) -> None:
    # 2^17 tokens of which the second half has 2^-26 of the first half's probability each: numbers
    # of 24 bits would draw none of them, or too many.
    vocab_size = 2**17
    run = load_run(definition("sampling_from_probs", vocab_size).reference)
    row = torch.full((1, vocab_size), 2.0**-26)
    row[0, 0] = 1.0 - (vocab_size - 1) * 2.0**-26
    torch.manual_seed(5)
    draws = torch.cat([run(row.expand(64, -1)) for _ in range(64)])
    # 2^17 · 2^-26 = 2^-9 of 4096 draws: 8, give or take 3; with numbers of 24 bits 0, or 32.
    assert 1 <= int((draws > 0).sum()) <= 20
    assert int((draws > vocab_size // 2).sum()) >= 1


def test_sizes_are_checked(definition: Make, template: Template, stem: str) -> None:
    made = definition(stem)
    run, inputs = load_run(made.reference), template.inputs(made, {"batch_size": 7})
    first, *parameters = inputs
    with pytest.raises(AssertionError):
        run(**{**inputs, first: inputs[first][:, :32]})
    for name in parameters:
        with pytest.raises(AssertionError):
            run(**{**inputs, name: inputs[name][:1]})


def test_a_definition_with_other_tensors_is_skipped(definition: Make, template: Template) -> None:
    data = definition("sampling_from_probs").to_dict()
    data["inputs"]["indices"] = {"shape": ["batch_size"], "dtype": "int32"}
    with pytest.raises(pytest.skip.Exception, match="indices"):
        template.module.make_inputs(data, {"batch_size": 1}, torch.device("cpu"), torch.Generator())
