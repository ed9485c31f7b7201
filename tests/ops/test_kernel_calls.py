"""Calls of kernels as what plugins find: their uses, claims and the checks of both."""

from __future__ import annotations

import pytest
from plugin_toy import kernel

from fibcore.model.kernel import Extraction, KernelCollector, Use, fact
from fibcore.model.tree import Operation, TensorRef, origins_of, with_origins
from fibcore.ops.kernel_checks import check_extraction
from fibcore.testing.trees import PLACE, module, operation, tree

WORDS = with_origins(32000, frozenset({"config:vocab_size"}))
SAMPLER = module("sampler", "sglang.srt.layers.sampler.Sampler")
CALL = operation(
    "flashinfer.sampling.top_p_sampling_from_probs",
    TensorRef((4, WORDS), "float32"),
    module="sampler",
    callers=("sglang.srt.layers.sampler.Sampler.forward", "sglang.srt.layers.sampler.draw"),
    top_p=0.9,
)
TREE = tree(module("norm", "Norm"), kernel_calls=[CALL], parts=[SAMPLER])


def found(call: Operation = CALL) -> Extraction:
    collector = KernelCollector()
    collector.add(kernel("one"), call)
    return collector.finish()


def test_a_call_uses_a_kernel_and_is_claimed() -> None:
    extraction = check_extraction(found(), TREE, {"one"})
    assert extraction.kernels[0].uses == (Use("sampler", CALL.function, PLACE),)
    assert extraction.claimed == {"sampler:flashinfer.sampling.top_p_sampling_from_probs"}


def test_gaps_claim_the_call_as_well() -> None:
    collector = KernelCollector()
    collector.not_covered("top-p", "no definition", CALL)
    collector.problem("top-p", "not known", CALL)
    extraction = check_extraction(collector.finish(), TREE, set())
    assert extraction.claimed == {CALL.key}
    assert extraction.not_covered[0].uses == extraction.problems[0].uses


def test_the_module_of_a_call_has_to_be_there() -> None:
    elsewhere = operation("flashinfer.rmsnorm", module="no.such.layer")
    with pytest.raises(ValueError, match=r"no\.such\.layer"):
        check_extraction(found(elsewhere), TREE, {"one"})
    with pytest.raises(ValueError, match=r"no\.such\.layer:flashinfer\.rmsnorm"):
        check_extraction(Extraction(claimed=frozenset({elsewhere.key})), TREE, {"one"})


def test_facts_of_a_call() -> None:
    proof = fact(CALL.argument(0).shape[1], CALL)
    assert (proof.value, proof.origins, proof.place) == (32000, ("config:vocab_size",), PLACE)
    assert origins_of(WORDS) == {"config:vocab_size"}


def test_what_a_call_says() -> None:
    assert CALL.name == "top_p_sampling_from_probs"
    assert CALL.argument(1, "p", "top_p") == 0.9
    assert CALL.argument(1, "top_k") is None
    assert CALL.goes_through("draw")
    assert CALL.goes_through("sglang.srt.layers.sampler.draw", "other")
    assert CALL.goes_through("top_p_sampling_from_probs")
    assert not CALL.goes_through("sampler", "Sampler")
    assert TREE.node_of(CALL) is SAMPLER
    assert TREE.node_of(operation("f", module="norm")) is TREE.find("norm")
