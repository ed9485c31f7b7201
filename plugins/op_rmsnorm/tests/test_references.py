"""The references against float64, SGLang's own method and plausible mistakes."""

from __future__ import annotations

import re
from typing import Any

import pytest

import fibcore_op_rmsnorm as plugin
from fibcore.plugin import Definition, Serving
from fibcore.testing.harness import harness
from fibcore.testing.templates import Template, load_run
from fibcore.testing.trees import TENSOR, call, module, tree
from fibcore.testing.wrong_references import Mistake, assert_rejected, parameters

torch = pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402 - torch may be missing

LAYERS = "sglang.srt.layers.layernorm."
STEMS = ("rmsnorm", "fused_add_rmsnorm", "gemma_rmsnorm", "gemma_fused_add_rmsnorm")
CPU = torch.device("cpu")


TEMPLATE = Template.of(plugin, "rmsnorm", seed=7)


def definition(stem: str, hidden_size: int, eps: float = 1e-5) -> Definition:
    cls = "GemmaRMSNorm" if stem.startswith("gemma") else "RMSNorm"
    calls = (call(TENSOR, TENSOR) if "fused" in stem else call(TENSOR),)
    node = module("n", LAYERS + cls, {"hidden_size": hidden_size, "eps": eps}, calls=calls)
    (kernel,) = plugin.fibcore_extract(tree(node), Serving()).kernels
    made = plugin.fibcore_reference(kernel)
    assert made is not None
    return made


def failures(source: str, made: Definition) -> list[str]:
    """The properties that reject a reference."""
    run, cases = load_run(source), TEMPLATE.cases(made)[1:2]
    return list(TEMPLATE.rejected(made, run, cases, crashes=(RuntimeError,)))


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("hidden_size", [64, 128, 1536])
def test_the_right_references_have_the_properties(stem: str, hidden_size: int) -> None:
    made = definition(stem, hidden_size)
    assert failures(made.reference, made) == []


@pytest.mark.parametrize("stem", STEMS)
def test_chunks_of_rows_leave_no_seam(stem: str) -> None:
    made = definition(stem, 64)
    small = re.sub(r"CHUNK_ELEMENTS = \d+", "CHUNK_ELEMENTS = 192", made.reference)
    assert small != made.reference
    inputs = TEMPLATE.module.make_inputs(
        made.to_dict(), {"batch_size": 8}, CPU, torch.Generator().manual_seed(1)
    )
    assert torch.equal(
        load_run(small)(*inputs.values()), load_run(made.reference)(*inputs.values())
    )
    assert failures(small, made) == []


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
def test_memory_does_not_grow_with_the_rows(stem: str) -> None:
    made = definition(stem, 512)
    values = TEMPLATE.module.make_inputs(
        made.to_dict(), {"batch_size": 20_000}, CPU, torch.Generator().manual_seed(1)
    )
    with Largest() as largest:
        load_run(made.reference)(*values.values())
    assert 0 < largest.elements <= 2**22 < 20_000 * 512


def test_sizes_are_checked() -> None:
    run = load_run(definition("fused_add_rmsnorm", 64).reference)
    x, w = torch.zeros(2, 64, dtype=torch.bfloat16), torch.ones(64, dtype=torch.bfloat16)
    with pytest.raises(AssertionError):
        run(torch.zeros(2, 32, dtype=torch.bfloat16), x, w)
    with pytest.raises(AssertionError):
        run(x, x[:1], w)
    with pytest.raises(AssertionError):
        run(x, x, w[:1])


def test_a_definition_with_other_tensors_is_skipped() -> None:
    data = definition("rmsnorm", 64).to_dict()
    data["inputs"]["scale"] = {"shape": None, "dtype": "float32"}
    with pytest.raises(pytest.skip.Exception, match="scale"):
        TEMPLATE.module.make_inputs(data, {"batch_size": 1}, CPU, torch.Generator())


ROOT = "torch.rsqrt(mean_square + EPSILON)"
SUM = "hidden_states[rows].to(torch.float32) + residual[rows].to(torch.float32)"
# Plausible mistakes: name, text of the reference, text in its place, references that have it.
MISTAKES = [
    ("epsilon outside the root", ROOT, "(1.0 / (mean_square.sqrt() + EPSILON))", STEMS),
    ("epsilon added to 1 / root", ROOT, "(torch.rsqrt(mean_square) + EPSILON)", STEMS),
    ("epsilon forgotten", ROOT, "torch.rsqrt(mean_square)", STEMS),
    ("epsilon as a lower bound", ROOT, "torch.rsqrt(mean_square.clamp(min=EPSILON))", STEMS),
    ("epsilon of another model", "EPSILON = 1e-05", "EPSILON = 1e-06", STEMS),
    ("root forgotten", ROOT, "(1.0 / (mean_square + EPSILON))", STEMS),
    ("mean instead of mean square", "x.square().mean", "x.mean", STEMS),
    ("mean of magnitudes", "x.square().mean", "x.abs().mean", STEMS),
    ("sum instead of mean", "x.square().mean", "x.square().sum", STEMS),
    ("variance about the mean", "x.square().mean", "x.var", STEMS),
    ("mean over the rows", "mean(dim=-1", "mean(dim=0", STEMS),
    ("mean of all but the last", "x.square().mean", "x[:, :-1].square().mean", STEMS),
    ("weight forgotten", "(normalised * scale)", "(normalised)", STEMS),
    (
        "mean square in the activations' dtype",
        "mean_square = x.square()",
        "mean_square = x.to(output.dtype).square()",
        STEMS,
    ),
    ("root in the activations' dtype", ROOT, f"{ROOT}.to(output.dtype)", STEMS),
    ("Gemma's offset", "scale = weight", "scale = 1.0 + weight", STEMS[:2]),
    ("Gemma's offset forgotten", "scale = 1.0 + weight", "scale = weight", STEMS[2:]),
    ("residual not added", SUM, "hidden_states[rows].to(torch.float32)", STEMS[1::2]),
    ("residual alone", SUM, "residual[rows].to(torch.float32)", STEMS[1::2]),
    ("residual subtracted", SUM, SUM.replace("+", "-"), STEMS[1::2]),
    (
        "residual added after the norm",
        "(normalised * scale)",
        "(normalised * scale + residual[rows])",
        STEMS[1::2],
    ),
    ("result written over the input", "torch.empty_like(hidden_states)", "hidden_states", STEMS),
]


BY_STEM = {
    stem: [
        Mistake.of(name, right, wrong) for name, right, wrong, stems in MISTAKES if stem in stems
    ]
    for stem in STEMS
}


@pytest.mark.parametrize(("stem", "mistake"), parameters(BY_STEM))
def test_wrong_references_are_rejected(stem: str, mistake: Mistake) -> None:
    made = definition(stem, 512)
    cases = TEMPLATE.cases(made)[1:2]
    assert_rejected(TEMPLATE, made, mistake, cases=cases, crashes=(RuntimeError,))


# --- SGLang ------------------------------------------------------------------------------------


def native(made: Definition, inputs: dict[str, Any]) -> Any:
    """What SGLang's own method makes of the inputs; skips where its source is not at hand."""
    package, reason = harness().find_sglang(None)
    if package is None:
        pytest.skip(reason)
    truths = plugin.fibcore_ground_truths(made)
    assert truths is not None
    (truth,) = (t for t in truths if t.kind == "sglang")
    namespace: dict[str, Any] = {"__name__": "ground_truth"}
    exec(truth.source, namespace)  # noqa: S102 - the ground truth is what is tested
    return namespace[truth.entry](harness().SGLangSource(package), **inputs)


@pytest.mark.parametrize("eps", [1e-5, 1e-6])
@pytest.mark.parametrize("stem", STEMS)
def test_agrees_with_sglang(stem: str, eps: float) -> None:
    made = definition(stem, 512, eps)
    data = made.to_dict()
    for case in TEMPLATE.module.cases(data):
        inputs = TEMPLATE.module.make_inputs(data, case, CPU, torch.Generator().manual_seed(3))
        expected = native(made, {n: v.clone() for n, v in inputs.items()})
        actual = load_run(made.reference)(*inputs.values())
        torch.testing.assert_close(actual, expected, rtol=1e-2, atol=8e-3)


def test_sglang_rejects_mistakes_too() -> None:
    made = definition("fused_add_rmsnorm", 512)
    data = made.to_dict()
    inputs = TEMPLATE.module.make_inputs(
        data, {"batch_size": 7}, CPU, torch.Generator().manual_seed(3)
    )
    expected = native(made, {n: v.clone() for n, v in inputs.items()})
    # These move every element by less than the tolerance of bfloat16; a property sees them.
    small = ("dtype", "but the last")
    for name, right, wrong, stems in MISTAKES:
        if "fused_add_rmsnorm" in stems and not any(part in name for part in small):
            own = {n: v.clone() for n, v in inputs.items()}
            actual = load_run(made.reference.replace(right, wrong))(*own.values())
            same_inputs = all(torch.equal(own[n], inputs[n]) for n in inputs)
            close = actual.shape == expected.shape and torch.allclose(
                actual, expected, rtol=1e-2, atol=8e-3
            )
            assert not (close and same_inputs), name
