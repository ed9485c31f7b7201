"""Real configs on two releases: every module is accounted for, and the sizes follow from them.

The configs stand beside the project and not in it; without them the tests are skipped.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import first_principles
import pytest

from fibcore.errors import ConfigError, UnknownModelError
from fibcore.extraction.unclaimed import unclaimed_modules
from fibcore.model.kernel import Kernel, NotCovered, Problem
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree, ModuleNode
from fibcore.ops.registry import Registry
from fibcore.testing.shares import a_share

CONFIGS = Path(__file__).parents[3] / "shared" / "configs"
NAMES = a_share(sorted(path.stem for path in CONFIGS.glob("*.json")), 3)
STAGES = {"decode_ps1", "decode_ps64", "prefill_ps1", "prefill_ps64", "ragged"}
# Modules that a plugin accounts for without a name of their own: they are parts of what it names.
# A tower reads a table of a rotary embedding, and what turns by it has a name; a pooler is not run
# where logits are wanted.
PARTS = ("LogitsProcessor", "TopK", "HashTopK", "Vision", "RotaryEmbedding", "Pooler")
# Modules that SGLang cannot construct either. The file of MiMo-V2-Flash is without its `auto_map`,
# and transformers' own class has RoPE settings for each kind of layer, a dict of dicts: the table
# of rotary embeddings (`get_rope`) raises TypeError for such a key.
REFUSED = {"XiaomiMiMo--MiMo-V2-Flash": "rotary_emb"}


@attrs.frozen
class Found:
    """What all plugins make of one model."""

    version: str
    tree: ModelTree
    kernels: tuple[Kernel, ...]
    not_covered: tuple[NotCovered, ...]
    problems: tuple[Problem, ...]
    claimed: frozenset[str]


@pytest.fixture(scope="module", params=NAMES or ["none"])
def name(request: pytest.FixtureRequest) -> str:
    if not NAMES:
        pytest.skip(f"no configs in {CONFIGS}")
    return str(request.param)


@pytest.fixture(scope="module")
def config(name: str) -> Any:
    return json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def found(name: str, config: Any, real: Callable[..., ModelTree], op_plugins: Registry) -> Found:
    try:
        tree = real(config)
    except ConfigError as error:
        if "lacks a key" in error.message and name.startswith("Qwen--Qwen3-VL"):
            pytest.skip(f"{name} is cut down: {error.message}")
        raise
    except UnknownModelError as error:
        pytest.skip(error.summary)
    extractions, errors = op_plugins.extract(tree, Serving())
    assert not errors
    return Found(
        tree.source_version or "",
        tree,
        tuple(k for _, e in extractions for k in e.kernels),
        tuple(n for _, e in extractions for n in e.not_covered),
        tuple(p for _, e in extractions for p in e.problems),
        frozenset().union(*(e.claimed for _, e in extractions)),
    )


@pytest.fixture(scope="module")
def expected(config: Any) -> Any:
    return first_principles.needs(config)


def named(found: Found) -> Iterator[tuple[str, str]]:
    """Path of a module and the name of what it is reported as."""
    for kernel in found.kernels:
        yield from ((use.path, kernel.name) for use in kernel.uses)
    for entry in (*found.not_covered, *found.problems):
        yield from ((use.path, entry.what) for use in entry.uses)


def test_every_leaf_is_a_kernel_or_named(found: Found) -> None:
    left = {use.path for use in unclaimed_modules(found.tree, found.claimed)}
    reported = {path for path, _ in named(found)}
    assert not left & found.claimed
    # Who claims a call of a kernel reports the module in which it is called.
    assert reported <= {claim.partition(":")[0] for claim in found.claimed}
    for node in found.tree.walk():
        if node.cls.startswith("torch.nn.parameter."):
            continue  # a tensor
        if node.leaf and node.path not in reported | left:
            assert node.path in found.claimed
            inside_experts = re.search(r"\.experts\.\d+\.", node.path)
            # A module that is not run may be claimed with the function that is called instead.
            assert inside_experts or node.idle or node.class_name.startswith(PARTS), node.path


def test_nothing_is_missing(name: str, found: Found) -> None:
    missing = [m for m in found.tree.missing if m.path.rpartition(".")[2] != REFUSED.get(name)]
    assert not missing


def test_each_attention_layer_runs_all_stages_of_one_kernel_or_is_named(found: Found) -> None:
    stages: dict[str, set[str]] = {}
    sizes: dict[str, set[tuple[Any, ...]]] = {}
    # What moves data and no more is beside the attention.
    gaps = {use.path for entry in found.not_covered if not entry.moves for use in entry.uses}
    for kernel in found.kernels:
        sparse = kernel.op_type == "dsa_paged" and kernel.parameters["kind"] == "attention"
        if sparse or kernel.op_type in ("sparse_mla_dsv4", "msa_sparse"):
            gaps |= {use.path for use in kernel.uses}  # one kernel of both stages
        if not kernel.op_type.startswith(("gqa_", "mla_")):
            continue
        if kernel.parameters.get("causal") is False:  # of vision towers, in one stage
            continue
        own = {n: v for n, v in kernel.parameters.items() if n not in ("kind", "page_size")}
        stage = str(kernel.parameters["kind"])
        if "page_size" in kernel.parameters:
            stage += f"_ps{kernel.parameters['page_size']}"
        for use in kernel.uses:
            assert stage not in stages.setdefault(use.path, set()), "two kernels of one stage"
            stages[use.path].add(stage)
            sizes.setdefault(use.path, set()).add((kernel.op_type[:3], *own.items()))
    layers = [n for n in found.tree.walk() if n.is_a("RadixAttention")]
    assert layers
    assert stages.keys() <= {n.path for n in layers}
    for layer in layers:
        ran = stages.get(layer.path, set())
        families = {family for family, *_ in sizes.get(layer.path, ())}
        assert len(sizes.get(layer.path, ())) <= 1, "one layer has one size"
        if not ran:
            assert layer.path in gaps
        elif families == {"gqa"} and len(ran) > 2:
            assert ran == STAGES  # a gap that another plugin names gives way to these
        elif families == {"mla"}:
            assert ran in (STAGES - {"ragged"}, {"ragged"})
        elif layer.path in gaps:  # bidirectional over the prompt
            assert ran == {"decode_ps1", "decode_ps64"}
        else:
            assert ran == STAGES


def fused_experts(node: ModuleNode) -> int:
    """How many shared experts run among the routed ones of a layer."""
    fused = node.arguments.get("num_fused_shared_experts")
    return int(fused) if isinstance(fused, int) and node.is_a("FusedMoE") else 0


def test_gemms_have_the_sizes_of_the_config(found: Found, config: Any, expected: Any) -> None:
    gemms: Counter[tuple[int, int]] = Counter()
    for kernel in found.kernels:
        # Batches of matrices are held by a test of their own.
        if kernel.op_type == "gemm" and "batch_size" not in kernel.parameters:
            gemms[int(kernel.parameters["N"]), int(kernel.parameters["K"])] += len(kernel.uses)
    wanted = Counter(expected.gemms)
    noted = any("SGLang fuses" in note for k in found.kernels for note in k.notes)
    if noted or any(map(fused_experts, found.tree.walk())):
        # A shared expert that runs in the routed experts' kernel has no GEMMs of its own.
        wanted -= expected.shared
    if {"linear_num_value_heads", "index_n_heads"} & config.get("text_config", config).keys():
        # Releases differ in how many GEMMs projections of linear attention and indexers are.
        gemms, wanted = _merged(gemms, wanted)
    assert gemms == wanted


def _merged(
    gemms: Counter[tuple[int, int]], wanted: Counter[tuple[int, int]]
) -> tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]]:
    """What differs, as rows by K: a projection may be one GEMM or several on the same input."""
    common = gemms & wanted
    rows = []
    for one in (gemms - common, wanted - common):
        total: Counter[tuple[int, int]] = Counter()
        for (n, k), count in one.items():
            total[0, k] += n * count
        rows.append(total)
    return rows[0], rows[1]


def test_attention_has_the_heads_of_the_config(found: Found, expected: Any) -> None:
    attention: Counter[tuple[str, int, int, int | tuple[int, int]]] = Counter()
    latent: Counter[tuple[int, int, int]] = Counter()
    for kernel in found.kernels:
        plain = re.fullmatch(
            r"gqa_paged_decode_h(\d+)_kv(\d+)_(?:d(\d+)|qk(\d+)_vo(\d+))_ps1(\w*)", kernel.name
        )
        if plain:
            size = int(plain[3]) if plain[3] else (int(plain[4]), int(plain[5]))
            attention[plain[6], int(plain[1]), int(plain[2]), size] += len(kernel.uses)
        absorbed = re.fullmatch(
            r"(?:mla_paged_decode|dsa_sparse_attention)_h(\d+)_ckv(\d+)_kpe(\d+)(?:_topk\d+)?_ps1"
            r"(?:_fp8kv)?",
            kernel.name,
        )
        if absorbed:
            h, c, r = map(int, absorbed.groups())
            latent[h, c, r] += len(kernel.uses)
    for entry in found.not_covered:
        if entry.what.startswith("dsa sparse attention with "):  # of a quantised cache
            for use in entry.uses:
                node = found.tree.find(use.path)
                assert node is not None
                sizes = (node.argument(n) for n in ("num_heads", "v_head_dim", "head_dim"))
                h, c, whole = map(int, sizes)
                latent[h, c, whole - c] += 1
        variant = entry.what.removeprefix("gqa_paged with ")
        if variant != entry.what:
            for use in entry.uses:
                node = found.tree.find(use.path)
                assert node is not None
                sizes = (node.argument(n) for n in ("num_heads", "num_kv_heads", "head_dim"))
                h, kv, d = map(int, sizes)
                attention[variant, h, kv, d] += 1
    assert attention == expected.attention
    assert latent == expected.latent


def test_experts_have_the_sizes_of_the_config(found: Found, expected: Any) -> None:
    moe: Counter[tuple[int, int, int, int]] = Counter()
    for kernel in found.kernels:
        if kernel.op_type == "moe":
            k, e, h, i = re.findall(
                r"topk(\d+)(?:_ng\d+_kg\d+)?_e(\d+)_h(\d+)_i(\d+)", kernel.name
            )[0]
            moe[int(e), int(k), int(h), int(i)] += len(kernel.uses)
    for entry in found.not_covered:
        if entry.what.startswith("moe with"):
            for use in entry.uses:
                node = found.tree.find(use.path)
                assert node is not None
                e, k, h, i = (
                    int(node.argument(n))
                    for n in ("num_experts", "top_k", "hidden_size", "intermediate_size")
                )
                fused = fused_experts(node)
                moe[e - fused, k - fused, h, i] += 1
    assert moe == expected.moe


def test_absorbed_products_are_named_beside_latent_attention(found: Found, config: Any) -> None:
    names = {n.what: len(n.uses) for n in found.not_covered}
    products = {what: count for what, count in names.items() if "(absorbed " in what}
    config = config.get("text_config", config)
    if "kv_lora_rank" not in config:
        assert not products
        return
    heads, latent = config["num_attention_heads"], config["kv_lora_rank"]
    nope, layers = config["qk_nope_head_dim"], config["num_hidden_layers"]
    layers = len(config.get("linear_attn_config", {}).get("full_attn_layers", range(layers)))
    value = config.get("v_head_dim") or config["hidden_size"] // heads
    assert products == {
        f"batched GEMM b{heads}_n{latent}_k{nope} (absorbed query projection)": layers,
        f"batched GEMM b{heads}_n{value}_k{latent} (absorbed value projection)": layers,
    }
    # The plugin of GEMMs has kernels for them, at the same modules.
    kernels = {k.name: k for k in found.kernels}
    for n, k in ((latent, nope), (value, latent)):
        kernel = kernels[f"bmm_bf16_n_{n}_k_{k}"]
        assert (len(kernel.uses), kernel.facts["batch_size"].value) == (layers, heads)
