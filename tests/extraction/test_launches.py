"""What a step launches: one launch for each use, alternatives once, what is idle not at all."""

from __future__ import annotations

from typing import Any

import attrs

from fibcore.extraction.launches import Launch, launches
from fibcore.model.kernel import Extraction, Kernel, KernelCollector, use
from fibcore.model.tree import ModelTree, ModuleRef, ParameterRef
from fibcore.testing.trees import TENSOR, call, module, operation, tree

LOGITS = "sglang.srt.layers.logits_processor.LogitsProcessor"
WEIGHT = ParameterRef("thing.weight", (8, 4), "bfloat16")


def kernel(name: str, **more: Any) -> Kernel:
    return Kernel("op", name, {}, {}, (), **more)


def counted(made: ModelTree, found: KernelCollector, stage: str = "decode") -> dict[str, Any]:
    extraction = found.finish()
    return {
        one.what: (one.state, one.count) for one in every(made, extraction) if one.stage == stage
    }


def every(made: ModelTree, extraction: Extraction) -> tuple[Launch, ...]:
    nobodys = [use(n) for n in made.walk() if n.leaf and n.path not in extraction.claimed]
    return launches(made, [extraction], extraction.claimed, nobodys)


def test_a_use_is_a_launch_of_its_stage() -> None:
    nodes = [module(f"layers.{n}.attn", "Attention") for n in range(3)]
    found = KernelCollector()
    for node in nodes:
        found.add(kernel("decode", tags=("stage:decode",)), node)
        found.add(kernel("norm"), node)
    made = tree(*nodes)
    assert counted(made, found) == {"decode": ("defined", 3), "norm": ("defined", 3)}
    assert counted(made, found, "prefill") == {"norm": ("defined", 3)}


def test_a_stage_that_is_neither_is_launched_in_both() -> None:
    node = module("layers.0.indexer", "Indexer")
    found = KernelCollector()
    found.add(kernel("indexer", tags=("stage:indexer",)), node)
    for stage in ("decode", "prefill"):
        assert counted(tree(node), found, stage) == {"indexer": ("defined", 1)}


def test_what_is_called_in_one_stage_alone_is_launched_in_that() -> None:
    prefill, any_stage = attrs.evolve(call(TENSOR), stage="prefill"), call(TENSOR)
    held = [
        module("tower.norm", "Norm"),
        module("tower.head", "Head", calls=[prefill, any_stage]),
    ]
    few = module("few", "Norm", calls=[attrs.evolve(prefill, by_size=True)])
    tower = module("tower", "Tower", calls=[prefill], children=held)
    both = module("both", "Norm", calls=[prefill, attrs.evolve(prefill, stage="decode")])
    found = KernelCollector()
    for node in (held[0], both, few):
        found.add(kernel("norm"), node)
    found.not_covered("an op", "why", held[1])
    made = tree(tower, both, few)
    assert counted(made, found) == {"norm": ("defined", 2)}
    assert counted(made, found, "prefill") == {"an op": ("named", 1), "norm": ("defined", 3)}


def test_of_alternatives_as_many_are_launched_as_of_one() -> None:
    nodes = [module(f"layers.{n}.{name}", "A") for n in range(2) for name in ("mqa", "mha")]
    found = KernelCollector()
    for node in nodes:
        for name in ("ps1", "ps64") if node.path.endswith("mqa") else ("ragged",):
            found.add(kernel(name, choice="attention"), node)
    found.not_covered("written otherwise", "why", nodes[0], choice="attention")
    assert counted(tree(*nodes), found) == {"ps1": ("defined", 2)}


def test_what_has_no_definition_is_named_or_unknown() -> None:
    nodes = [module(name, name.capitalize()) for name in ("named", "nobodys", "doubtful")]
    found = KernelCollector()
    found.not_covered("an op", "why", nodes[0])
    found.problem("a kernel", "why", nodes[2])
    assert counted(tree(*nodes), found) == {
        "an op": ("named", 1),
        "Nobodys": ("unknown", 1),
        "a kernel": ("unknown", 1),
    }


def test_copies_and_collectives_are_no_gaps() -> None:
    node = module("a", "A")
    found = KernelCollector()
    found.not_covered("moves rows", "why", node, moves="copy")
    found.not_covered("sums up", "why", node, moves="collective")
    assert counted(tree(node), found) == {"moves rows": ("copy", 1), "sums up": ("collective", 1)}


def test_what_is_not_run_launches_nothing() -> None:
    nodes = [attrs.evolve(module(name, "Layer"), idle=True) for name in ("a", "b")]
    found = KernelCollector()
    found.not_covered("layer that is not run", "why", nodes[0])
    assert counted(tree(*nodes), found) == {}


def test_what_runs_in_the_kernel_of_a_function_is_launched() -> None:
    node = attrs.evolve(module("norm", "Norm"), idle=True)
    found = KernelCollector()
    found.not_covered("norm inside fused", "why", node, inside=True)
    assert counted(tree(node), found) == {"norm inside fused": ("named", 1)}


def test_what_runs_in_another_kernel_in_one_stage_has_its_own_in_the_other() -> None:
    node = module("layer.norm", "Norm")
    found = KernelCollector()
    found.add(kernel("norm"), node)
    found.not_covered("sum with norm", "why", node, op_types=(), inside=True, stage="decode")
    assert counted(tree(node), found) == {"sum with norm": ("named", 1)}
    assert counted(tree(node), found, "prefill") == {"norm": ("defined", 1)}


def test_calls_that_nobody_claims_and_that_certainly_happen() -> None:
    node = module("thing", "Linear", attributes={"weight": WEIGHT})
    calls = [
        operation("kernels.quantise", TENSOR, module="thing"),
        operation("kernels.maybe", TENSOR, module="thing", possible=True),
        operation("torch.linear", TENSOR, WEIGHT, module="thing", beside=False),  # its own product
        operation("kernels.claimed", TENSOR, module="thing"),
    ]
    made = tree(node, kernel_calls=calls)
    found = KernelCollector()
    found.add(kernel("gemm"), node)
    found.claim(calls[3])
    assert counted(made, found) == {"gemm": ("defined", 1), "quantise": ("unknown", 1)}


def test_rows_behind_the_head_are_last_tokens() -> None:
    head = module("lm_head", "ParallelLMHead")
    logits = module(
        "logits",
        LOGITS,
        calls=[call(TENSOR, TENSOR, ModuleRef("lm_head"))],
    )
    found = KernelCollector()
    found.add(kernel("gemm"), head)
    found.add(kernel("gemm"), module("layers.0.proj", "Linear"))
    found.claim(logits)
    (first, second) = (
        one for one in every(tree(head, logits), found.finish()) if one.stage == "prefill"
    )
    assert (first.what, first.count, first.last_tokens) == ("gemm", 1, True)
    assert (second.what, second.count, second.last_tokens) == ("gemm", 1, False)


def test_order_is_that_of_the_calls_then_the_head_then_what_is_not_called() -> None:
    nodes = [
        module("sampler", "Sampler"),
        module("lm_head", "ParallelLMHead"),
        module("second", "A", calls=[attrs.evolve(call(TENSOR), order=5)]),
        module("first", "A", calls=[attrs.evolve(call(TENSOR), order=2)]),
        module("logits", LOGITS, calls=[call(TENSOR, TENSOR, ModuleRef("lm_head"))]),
    ]
    found = KernelCollector()
    for node in nodes[:4]:
        found.add(kernel(node.path), node)
    found.claim(nodes[4])
    made = every(tree(*nodes), found.finish())
    assert [one.what for one in made if one.stage == "decode"] == [
        *("first", "second", "lm_head", "sampler"),
    ]


def test_weights_are_those_that_modules_hold() -> None:
    node = module("thing", "Experts", attributes={"weight": WEIGHT, "other": 3})
    table = module("table", "VocabEmbedding", attributes={"weight": WEIGHT})
    found = KernelCollector()
    found.not_covered("experts", "why", node)
    found.not_covered("look-up", "why", table)
    by_name = {one.what: one.weights for one in every(tree(node, table), found.finish())}
    assert by_name == {"experts": 64, "look-up": None}
