"""Shares of launches and of their cost, counted by hand."""

from __future__ import annotations

import types
from typing import Any

import attrs
import pytest

from fibcore.extraction.find import find_kernels, resolve
from fibcore.extraction.launches import Launch
from fibcore.model.cost import Cost
from fibcore.model.definition import Definition, const, tensor, var
from fibcore.model.kernel import Fact, Kernel
from fibcore.model.serving import Serving
from fibcore.model.step_batch import StepBatch
from fibcore.model.tree import SourcePlace
from fibcore.ops.registry import Registry
from fibcore.reports.launches import BATCHES, LaunchTotals, share_cells, shares
from fibcore.sources.tree import SourceTree

BANDWIDTH = 3.35e12  # of an H100
PLACE = SourcePlace("f.py", 1)


class Plugins:
    """Writes definitions with the axes of their names, and counts what is read."""

    options = types.SimpleNamespace(several=[types.SimpleNamespace(name="piece")])

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, int]]] = []

    def reference(self, kernel: Kernel) -> Definition:
        names = kernel.name.split("-")
        axes = {name: var() for name in names} | {"N": const(1000)}
        axes |= {"piece": const(64)} if "num_pages" in names else {}
        axes |= {"own_piece": const(32)} if "own_num_pages" in names else {}
        constraints = ("N == 2 * half",) if "half" in names else ()
        x = tensor(" ".join((*names, "N")), "bfloat16")
        return Definition(
            kernel.name,
            "op",
            axes,
            {"x": x},
            {"y": x},
            "def run(x):\n    return x\n",
            constraints=constraints,
        )

    def step_sizes(self, kernel: Kernel, batch: StepBatch) -> dict[str, int]:
        return {"told": batch.tokens // 4} if kernel.name == "told" else {}

    def cost(self, definition: Definition, axes: dict[str, int]) -> Cost:
        self.asked.append((definition.name, dict(axes)))
        return Cost(0, "bfloat16", 335 * axes[definition.var_axes[0]], 0)


def launch(name: str, count: int = 1, stage: str = "decode", **more: Any) -> Launch:
    kernel = Kernel("op", name, {}, more.pop("facts", {}), ())
    return Launch(stage, "defined", name, count, kernel, **more)


def shared(*found: Launch) -> tuple[Any, Plugins]:
    plugins = Plugins()
    step = next(s for s in shares(found, plugins) if s.stage == found[0].stage)  # type: ignore[arg-type]
    return step, plugins


def test_launches_and_floors_are_summed_by_state() -> None:
    step, _ = shared(
        launch("M", 10),
        Launch("decode", "named", "experts", 2, weights=6_700_000),
        Launch("decode", "unknown", "look-up", 1),
        Launch("decode", "copy", "a copy", 3, weights=100),
        Launch("decode", "collective", "all_reduce", 4),
        Launch("prefill", "named", "other", 5),
    )
    assert step.launches == {"defined": 10, "copy": 3, "collective": 4, "named": 2, "unknown": 1}
    assert (step.total, step.moves) == (20, 7)
    assert step.floors["defined"] == pytest.approx(10 * 64 * 335 / BANDWIDTH)
    assert step.floors["named"] == pytest.approx(2e-6)
    assert step.without_cost == {
        "defined": 0,
        "copy": 3,
        "collective": 4,
        "named": 0,
        "unknown": 1,
    }
    assert step.bounded
    assert share_cells(step)[1] == "10 of 20 (50.0 %)"
    assert share_cells(step)[2].startswith("at most ")
    assert share_cells(step)[3] == "all_reduce (4), a copy (3)"
    assert share_cells(step)[4] == "experts (2), look-up (1)"
    assert [k.what for k in step.kernels] == ["experts", "M", "all_reduce", "a copy", "look-up"]


def test_what_moves_data_leaves_the_cost_of_the_rest_known() -> None:
    step, _ = shared(launch("M", 3), Launch("decode", "copy", "a copy", 1))
    assert not step.bounded
    assert (step.cost_text, step.defined) == ("100.0 %", 0.75)
    assert step.to_dict()["moves"] == 1


def test_totals_are_of_all_launches() -> None:
    assert str(LaunchTotals(6, 2, 10)) == (
        "6 (60.0 %) of 10 launches have a definition, 8 (80.0 %) with copies and collectives"
    )
    assert str(LaunchTotals()).startswith("0 (0.0 %) of 0 launches")


def test_nothing_is_launched() -> None:
    decode, prefill = shares((), Plugins())  # type: ignore[arg-type]
    assert (decode.total, decode.defined, decode.defined_cost) == (0, 0.0, 0.0)
    assert set(decode.to_dict()["launches"].values()) == {0}
    assert (decode.batch, prefill.batch) == (
        "64 sequences with 2048 keys each",
        "8192 tokens of 4 sequences",
    )


@pytest.mark.parametrize(
    ("name", "more", "sizes"),
    [
        ("M", {}, (64, 8192)),
        ("M", {"last_tokens": True}, (64, 4)),
        ("batch_size", {}, (64, 8192)),
        ("batch_size-len_indptr", {}, (64, 4)),
        ("num_kv_indices", {}, (131072, 8192)),
        ("num_pages", {}, (2048, 128)),
        ("own_num_pages", {}, (4096, 256)),
        ("max_num_pages", {}, (2048, 2048)),
        ("state_cache_size", {}, (64, 4)),
        ("len_cu_seqlens", {}, (65, 5)),
        ("half", {}, (500, 500)),
        ("num_heads", {"facts": {"num_heads": Fact(16, (), PLACE)}}, (16, 16)),
        ("told", {"facts": {"told": Fact(7, (), PLACE)}}, (16, 2048)),
    ],
)
def test_axes_follow_from_the_batch(
    name: str, more: dict[str, Any], sizes: tuple[int, int]
) -> None:
    for stage, size in zip(BATCHES, sizes, strict=True):
        step, plugins = shared(launch(name, stage=stage, **more))
        ((_, axes),) = plugins.asked
        assert axes[name.partition("-")[0]] == size
        assert step.cost_text == "100.0 %"


def test_an_axis_of_which_nothing_is_known_leaves_the_cost_unknown() -> None:
    step, plugins = shared(launch("num_heads", 3))
    assert plugins.asked == []
    assert step.without_cost["defined"] == 3
    assert step.defined == 1.0


def test_llama_by_hand(sglang_source: Any, op_plugins: Registry) -> None:
    source = SourceTree(sglang_source / "sglang", sglang_source.name.rpartition("-")[2], None, "t")
    found = find_kernels(source, resolve("llama-3.1-8b", source), Serving(), op_plugins)
    for step in shares(found.launches, op_plugins):
        by_name = {kernel.what: kernel.count for kernel in step.kernels}
        # Four products, attention, activation and rotation of 32 layers; 65 norms; the head;
        # softmax and a draw; 32 layers write to the cache. The look-up of embeddings is the rest.
        assert sum(by_name.values()) - by_name.get("VocabParallelEmbedding", 0) >= 292
        assert by_name["fused_add_rmsnorm_h4096"] == 64
        assert by_name["gemm_n_128256_k_4096"] == 1
        attention = [n for n in by_name if n.startswith("gqa_")]
        assert [by_name[n] for n in attention] == [32]
        assert by_name["append_paged_kv_cache_kv8_d128_ps1"] == 32
        assert step.launches["named"] == step.moves == 0
        assert step.launches["unknown"] <= 1
        floors = {k.what: k.floor for k in step.kernels}
        rows = 64 if step.stage == "decode" else 4
        moved = 2 * (rows * 4096 + 128256 * 4096 + rows * 128256)
        assert floors["gemm_n_128256_k_4096"] == pytest.approx(moved / BANDWIDTH)
    assert attrs.asdict(found.launches[0])["stage"] == "decode"
