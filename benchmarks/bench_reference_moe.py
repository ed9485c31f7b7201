"""Time, memory and error of a dataset's MoE references, beside two peers in one run.

The peer is the plain formulation: it dequantises the weights of all experts to float32, goes
through the experts of this rank, selects the tokens of each, and adds what it makes of them. The
kernel shows how far a reference is from the hardware's limit, where one runs for bfloat16 weights:
FlashInfer's fused one where it is built, else torch's grouped product. Routing is random, about
even. Errors are against float64, relative to the largest element, on a few tokens, before the
output is rounded to bfloat16 and after; memory is what a call takes beyond its inputs.

Other formulations can be timed in the same run: `--other FILE` names a Python file with a function
`variants(reference)` that makes of a reference's source text {name: source text}.

    python benchmarks/bench_reference_moe.py [DATASET] [--tokens 1 16 128 1024 4096] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measuring import conclude, megabytes, milliseconds

BLOCK = 128
CHECKED_TOKENS = 4
Inputs = dict[str, Any]
Call = Callable[[], Any]
ON_INPUT = "llama4_routing_on_input"
ROUTINGS = ("ds_routing", "renorm_routing", "default_routing", ON_INPUT)


# --- inputs --------------------------------------------------------------------------------------


def inputs(definition: dict[str, Any], tokens: int, device: str) -> Inputs:
    """Normal tensors of a definition, of a size with which up and gate are about one."""
    axes = {n: a.get("value", tokens) for n, a in definition["axes"].items()}
    torch.manual_seed(0)
    # A stretch of numbers that is repeated, for drawing billions takes long; its length is a prime.
    numbers = torch.randn(1_000_003, device=device)
    hidden, inner = axes["hidden_size"], axes["intermediate_size"]
    # fp8 numbers have a standard deviation of 48, which the scales take back.
    scales = {
        "hidden_states_scale": 1 / 48,
        "gemm1_weights_scale": hidden**-0.5 / 48,
        "gemm2_weights_scale": inner**-0.5 / 48,
        "output1_scales_scalar": hidden**-0.5 / 48**2,
        "output1_scales_gate_scalar": hidden**-0.5 / 48**2,
        "output2_scales_scalar": inner**-0.5 / 48,
    }
    spread = {"gemm1_weights": hidden**-0.5, "gemm2_weights": inner**-0.5}
    made: Inputs = {}
    for name, spec in definition["inputs"].items():
        if spec["shape"] is None:
            made[name] = 2.5 if name == "routed_scaling_factor" else 0
            continue
        shape, dtype = [axes[axis] for axis in spec["shape"]], getattr(torch, spec["dtype"])
        if name == "routing_logits":
            made[name] = _logits(shape, device).to(dtype)
        elif name == "routing_bias":
            made[name] = torch.zeros(shape, dtype=dtype, device=device)
        elif name in scales:
            made[name] = (torch.rand(shape, device=device) + 0.5) * scales[name]
        else:
            factor = 48 if "float8" in spec["dtype"] else spread.get(name, 1)
            made[name] = _repeated((numbers * factor).clamp(-448, 448).to(dtype), shape)
    return made


def _logits(shape: list[int], device: str) -> Any:
    """Logits without ties that bfloat16 holds exactly: random permutations of even steps."""
    step = 8 / 2 ** math.ceil(math.log2(shape[1]))
    return torch.rand(shape, device=device).argsort(dim=1) * step


def _repeated(numbers: Any, shape: list[int]) -> Any:
    count = math.prod(shape)
    # uint8: torch repeats fp8 tensors on some devices only.
    repeated = numbers.view(torch.uint8).repeat(-(-count // len(numbers)))
    return repeated.view(numbers.dtype)[:count].view(shape)


# --- the peer ------------------------------------------------------------------------------------


def routed(constants: dict[str, Any], given: Inputs) -> tuple[Any, Any]:
    """The experts and the weights of all tokens, by the formulas of the four routings."""
    kind, top_k = constants["ROUTING"], constants["TOP_K"]
    logits = given["routing_logits"].float()
    if kind == "ds_routing":
        scores = torch.sigmoid(logits)
        groups = (scores + given["routing_bias"].float()).unflatten(
            1, (constants["NUM_GROUPS"], -1)
        )
        rank = groups.topk(min(2, groups.shape[2]), dim=2).values.sum(2)
        kept = torch.zeros_like(rank).scatter(1, rank.topk(constants["TOP_GROUPS"]).indices, 1.0)
        allowed = groups.masked_fill(kept.unsqueeze(2) == 0, -torch.inf).flatten(1)
        chosen = allowed.topk(top_k).indices
        weights = scores.gather(1, chosen)
        return chosen, weights / weights.sum(1, keepdim=True) * given["routed_scaling_factor"]
    best, chosen = logits.topk(top_k)
    if kind == ON_INPUT:
        return chosen, torch.sigmoid(best)
    if kind == "renorm_routing":
        return chosen, torch.softmax(best, 1)
    return chosen, torch.softmax(logits, 1).gather(1, chosen)


def dequantised(given: Inputs, name: str, dtype: torch.dtype, experts: slice) -> Any:
    """Weights [e, m, k] of some experts, times the scales of their blocks."""
    values = given[name][experts].to(dtype)
    if f"{name}_scale" not in given:
        return values
    scale = given[f"{name}_scale"][experts].to(dtype)
    return values * scale.repeat_interleave(BLOCK, 1).repeat_interleave(BLOCK, 2)


def activations(given: Inputs, dtype: torch.dtype) -> Any:
    """Hidden states [n, hidden], times the scales of their blocks."""
    x = given["hidden_states"].to(dtype)
    if "hidden_states_scale" in given:
        x = x * given["hidden_states_scale"].to(dtype).T.repeat_interleave(BLOCK, 1)
    return x


def one_expert(given: Inputs, expert: int, x: Any, first: Any, second: Any) -> Any:
    """What an expert makes of its tokens."""
    scale = {n: given[n][expert].to(x.dtype) for n in given if n.endswith("_scalar")}
    up, gate = (x @ first.T).chunk(2, dim=1)
    up = up * scale.get("output1_scales_scalar", 1)
    gate = gate * scale.get("output1_scales_gate_scalar", 1)
    y = (up * gate / (1 + torch.exp(-gate))) @ second.T
    return y * scale.get("output2_scales_scalar", 1)


def peer(constants: dict[str, Any], given: Inputs, dtype: torch.dtype = torch.float32) -> Any:
    """The plain formulation, not rounded.

    In float64, which shows the errors, weights are dequantised for one expert at a time.
    """
    at_once = dtype == torch.float32
    names, everything = ("gemm1_weights", "gemm2_weights"), slice(None)
    whole = [dequantised(given, n, dtype, everything) for n in names] if at_once else []
    x = activations(given, dtype)
    chosen, weights = routed(constants, given)
    total = torch.zeros_like(x)
    for expert in range(len(given["gemm1_weights"])):
        of_tokens = chosen == expert + given.get("local_expert_offset", 0)
        tokens = torch.nonzero(of_tokens.any(1)).squeeze(1)
        if tokens.numel() == 0:
            continue
        weight = (weights * of_tokens).sum(1).index_select(0, tokens).unsqueeze(1).to(dtype)
        this = slice(expert, expert + 1)
        both = [w[expert] for w in whole] or [dequantised(given, n, dtype, this)[0] for n in names]
        rows = x.index_select(0, tokens)
        if constants["ROUTING"] == ON_INPUT:
            total.index_add_(0, tokens, one_expert(given, expert, rows * weight, *both))
        else:
            total.index_add_(0, tokens, one_expert(given, expert, rows, *both) * weight)
    return total


# --- a kernel ------------------------------------------------------------------------------------


def kernel(constants: dict[str, Any], given: Inputs) -> tuple[str, Call] | None:
    """The fastest kernel for bfloat16 weights on this machine; None where there is none."""
    if given["gemm1_weights"].dtype != torch.bfloat16 or constants["ROUTING"] == ON_INPUT:
        return None
    fused = _flashinfer(constants, given)
    if fused is not None:
        return "flashinfer", fused
    grouped = getattr(torch.nn.functional, "grouped_mm", getattr(torch, "_grouped_mm", None))
    if grouped is None or given["hidden_states"].device.type != "cuda":
        return None
    return "grouped_mm", lambda: _by_groups(grouped, constants, given)


def _flashinfer(constants: dict[str, Any], given: Inputs) -> Call | None:
    try:
        from flashinfer.fused_moe import cutlass_fused_moe, gen_cutlass_fused_moe_sm90_module

        if not gen_cutlass_fused_moe_sm90_module().is_compiled:
            return None
    except (ImportError, RuntimeError):
        return None
    x, ranks = given["hidden_states"], given["routing_logits"].shape[1]
    ranks //= len(given["gemm1_weights"])

    def call() -> Any:
        chosen, weights = routed(constants, given)
        output = torch.empty_like(x)
        cutlass_fused_moe(
            *(x, chosen.int(), weights, given["gemm1_weights"], given["gemm2_weights"]),
            *(torch.bfloat16,),
            quant_scales=None,
            ep_size=ranks,
            ep_rank=given.get("local_expert_offset", 0) // len(given["gemm1_weights"]),
            output=output,
        )
        return output

    return call


def _by_groups(grouped: Callable[..., Any], constants: dict[str, Any], given: Inputs) -> Any:
    """The pairs of a token and an expert, sorted, in two grouped products of bfloat16."""
    chosen, weights = routed(constants, given)
    local = (chosen - given.get("local_expert_offset", 0)).flatten()
    count = len(given["gemm1_weights"])
    local = torch.where((local >= 0) & (local < count), local, count)
    experts, order = torch.sort(local)
    ends = torch.searchsorted(experts, torch.arange(1, count + 1, device=local.device)).int()
    order = order[: int(ends[-1])]
    token = order // chosen.shape[1]
    x = given["hidden_states"][token]
    up, gate = grouped(x, given["gemm1_weights"].mT, offs=ends).chunk(2, dim=1)
    hidden = up * torch.nn.functional.silu(gate)
    y = grouped(hidden, given["gemm2_weights"].mT, offs=ends) * weights.flatten()[order, None]
    total = torch.zeros_like(given["hidden_states"], dtype=torch.float32)
    return total.index_add_(0, token, y).to(torch.bfloat16)


# --- measuring -----------------------------------------------------------------------------------


def few(given: Inputs) -> Inputs:
    """The inputs of the first tokens."""
    rows = slice(CHECKED_TOKENS)
    made = dict(given)
    for name in ("routing_logits", "hidden_states"):
        made[name] = given[name][rows]
    if "hidden_states_scale" in given:
        made["hidden_states_scale"] = given["hidden_states_scale"][:, rows]
    return made


def error(output: Any, right: Any) -> float:
    """The largest error of the first tokens, by the largest element."""
    largest = right.abs().max().clamp(min=1e-30)
    return float((output[:CHECKED_TOKENS].double() - right).abs().max() / largest)


def loaded(source: str) -> dict[str, Any]:
    """What a reference defines."""
    namespace: dict[str, Any] = {}
    exec(source, namespace)  # noqa: S102 - what is measured
    # The routing is the one whose function there is; experts are in groups where constants say so.
    namespace["ROUTING"] = next(name for name in ROUTINGS if name in namespace)
    return {"NUM_GROUPS": 1, "TOP_GROUPS": 1, **namespace}


def of_source(source: str, given: Inputs, right: Any, device: str, patience: float) -> Inputs:
    """The figures of a reference."""
    run = loaded(source)["run"]
    made = "output = torch.empty((seq_len, HIDDEN_SIZE), dtype=torch."
    unrounded = loaded(source.replace(f"{made}bfloat16", f"{made}float32"))["run"]

    def call() -> Any:
        return run(**given)

    return {
        "ms": milliseconds(call, device, patience),
        "mb": megabytes(call, device),
        "error": error(call(), right),
        "unrounded": error(unrounded(**given), right),
    }


def measured(
    definition: dict[str, Any],
    tokens: int,
    device: str,
    patience: float,
    others: dict[str, str],
) -> list[dict[str, Any]]:
    """The figures of one definition: the reference, its peer, the kernel, other formulations."""
    given = inputs(definition, tokens, device)
    constants = loaded(definition["reference"])
    right = peer(constants, few(given), torch.float64)

    def plain() -> Any:
        return peer(constants, given).to(torch.bfloat16)

    ours = of_source(definition["reference"], given, right, device, patience)
    rows = [
        {"who": "reference", **ours},
        {
            "who": "peer",
            "ms": milliseconds(plain, device, patience),
            "mb": megabytes(plain, device),
            "error": error(plain(), right),
            "unrounded": error(peer(constants, given), right),
        },
    ]
    limit = kernel(constants, given)
    if limit is not None:
        name, call = limit
        row = {"who": name, "ms": milliseconds(call, device, patience)}
        rows.append({**row, "mb": megabytes(call, device), "error": error(call(), right)})
    for name, source in others.items():
        rows.append({"who": name, **of_source(source, given, right, device, patience)})
    for row in rows:
        row |= {
            "definition": definition["name"],
            "tokens": tokens,
            "speed": rows[1]["ms"] / row["ms"],
        }
    return rows


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    memory = f"{row['mb']:.0f}" if row["mb"] is not None else "-"
    unrounded = f"{row['unrounded']:.1e}" if "unrounded" in row else "-"
    return (
        f"  {row['who']:34}{row['tokens']:7}{row['speed']:8.2f}{row['ms']:10.3f}{memory:>8}"
        f"{row['error']:9.1e}{unrounded:>9}"
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="MoE references beside their peers")
    parser.add_argument("dataset", type=Path, nargs="?", default=Path("repos/flashinfer-trace"))
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 16, 128, 1024, 4096])
    parser.add_argument("--only", nargs="+", default=[""], help="parts of definitions' names")
    parser.add_argument("--other", type=Path, action="append", default=[])
    parser.add_argument("--patience", type=float, default=0.3, help="seconds for each measurement")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found: list[dict[str, Any]] = []
    for path in sorted(options.dataset.glob("definitions/moe/*.json")):
        definition = json.loads(path.read_text(encoding="utf-8"))
        if not any(part in definition["name"] for part in options.only):
            continue
        head = f"{'tokens':>7}{'speed':>8}{'ms':>10}{'MB':>8}{'error':>9}{'f32 out':>9}"
        print(f"{definition['name']}\n{'':36}{head}")  # noqa: T201 - a program's output
        others: dict[str, str] = {}
        for file in options.other:
            others |= loaded(file.read_text(encoding="utf-8"))["variants"](definition["reference"])
        for tokens in options.tokens:
            with torch.no_grad():
                rows = measured(definition, tokens, device, options.patience, others)
            print("\n".join(map(line, rows)), flush=True)  # noqa: T201
            found += rows
    conclude(found, options.dataset, options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
