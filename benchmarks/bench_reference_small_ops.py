"""Time, memory and error of references of small kernels, beside a plain formulation in one run.

These are rotary embeddings, look-ups, activations, norms, quantisation, sampling, and writes to the
KV cache. The peer is what one writes down first: whole tensors in float32, one operation after the
other; a draw is of probabilities that were sorted and masked. Inputs are a definition's own
workloads, at the numbers of tokens that are asked for. Errors are the largest difference from the
peer, by its largest element; of draws there is none. Memory is what a call takes beyond its inputs.

    python benchmarks/bench_reference_small_ops.py [DATASET] [--tokens 1 64 4096] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from measuring import conclude, megabytes, milliseconds
from torch.nn import functional

from fibcore.model.definition import Definition
from fibcore.ops.registry import Registry, load_plugins

PATIENCE_S = 0.2
Inputs = dict[str, Any]
Peer = Callable[[Definition, Inputs], Any]
TOKENS = ("num_tokens", "nnz_kv", "batch_size", "M")
"""Var axes that count tokens or rows, the first that a definition has."""


# --- peers ---------------------------------------------------------------------------------------


def rope(definition: Definition, given: Inputs) -> Any:
    """Halves, or elements that stand side by side, in float32; of a table, its angles' sines."""
    if "inv_freq" in given:
        angles = torch.outer(given["positions"].float(), given["inv_freq"])
        angles = torch.cat((angles, angles), -1)
        scaling, dtype = given["attention_scaling"], definition.outputs["cos"].dtype
        pair = (angles.cos() * scaling, angles.sin() * scaling)
        return tuple(x.to(getattr(torch, dtype)) for x in pair)
    if "cos" in given:
        cos, sin = given["cos"][:, None], given["sin"][:, None]
        return tuple(_whole(given[name], cos, sin) for name in "qk")
    rows = given["cos_sin_cache"][given["positions"]].float()
    cos, sin = rows[:, None].chunk(2, dim=-1)
    gptj, turned = "gptj" in definition.name, rows.shape[-1]
    found = []
    for name in "qk":
        x = given[name].float()
        part, rest = x[..., :turned], x[..., turned:]
        a, b = (part[..., 0::2], part[..., 1::2]) if gptj else part.chunk(2, dim=-1)
        pair = (a * cos - b * sin, b * cos + a * sin)
        out = torch.stack(pair, -1).flatten(-2) if gptj else torch.cat(pair, -1)
        found.append(torch.cat((out, rest), -1).to(given[name].dtype))
    return tuple(found)


def _whole(x: Any, cos: Any, sin: Any) -> Any:
    first, second = x.float().chunk(2, dim=-1)
    return (x.float() * cos + torch.cat((-second, first), -1) * sin).to(x.dtype)


def embedding(definition: Definition, given: Inputs) -> Any:  # noqa: ARG001 - a peer's
    """Rows, masked where another rank has them, times the number where there is one."""
    weight, ids = given["weight"], given["input_ids"]
    if "vocab_start_index" in given:
        rows = ids - given["vocab_start_index"]
        own = (rows >= 0) & (rows < len(weight))
        return functional.embedding(rows * own, weight) * own[:, None]
    found = functional.embedding(ids, weight)
    return found * given["embed_scale"] if "embed_scale" in given else found


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu": functional.gelu,
    "silu": functional.silu,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu2": lambda x: functional.relu(x).square(),
    "relu": functional.relu,
}


def activation(definition: Definition, given: Inputs) -> Any:
    """The function of torch on a float32 copy, times the second half where there is a gate."""
    x = given["input"].float()
    name = next((n for n in ACTIVATIONS if definition.name.startswith(f"{n}_")), None)
    if name is None:
        return None
    if "_and_mul" in definition.name:
        gate, up = x.chunk(2, dim=-1)
        return (ACTIVATIONS[name](gate) * up).to(given["input"].dtype)
    return ACTIVATIONS[name](x).to(given["input"].dtype)


def layernorm(definition: Definition, given: Inputs) -> Any:
    """Mean and variance of a float32 copy."""
    name, *rest = given
    x = given[name].float()
    line = next(x for x in definition.reference.splitlines() if x.startswith("EPS"))
    variance, mean = torch.var_mean(x, dim=-1, keepdim=True, correction=0)
    x = (x - mean) * torch.rsqrt(variance + float(line.partition(" = ")[2]))
    for factor in rest:
        x = x + given[factor].float() if factor == "bias" else x * given[factor].float()
    return x.to(getattr(torch, definition.outputs["output"].dtype))


def quantize(definition: Definition, given: Inputs) -> Any:
    """A scale for each group, row or tensor, in float32; of other formats there is no peer."""
    name = definition.name
    if not name.startswith(("per_", "static_")) or "ue8m0" in name:
        return None
    first, *scale = given.values()
    dtype = getattr(torch, definition.outputs["quantized"].dtype)
    most = 127.0 if dtype == torch.int8 else 448.0
    x = first.float()
    if "group" in name:
        x = x.unflatten(-1, (definition.const_axes["num_groups"], -1))
    if scale:
        step = scale[0].float()
    elif "per_tensor" in name:
        step = x.abs().max() / most
    else:
        step = x.abs().amax(-1, keepdim=True).clamp(min=1e-10) / most
    q = x / step
    q = (q.round() if dtype == torch.int8 else q).clamp(-most, most).to(dtype)
    return q.view(first.shape)


def sampling(definition: Definition, given: Inputs) -> Any:
    """Sorted probabilities, masked, and torch's draw."""
    if "logits" in given:
        return torch.softmax(given["logits"] / given["temperature"][:, None], dim=-1)
    probs = given["probs"]
    ordered, index = probs.sort(dim=-1, descending=True)
    if "top_k" in given:
        place = torch.arange(ordered.shape[1], device=ordered.device)
        ordered = ordered.masked_fill(place >= given["top_k"][:, None], 0.0)
        ordered = ordered / ordered.sum(-1, keepdim=True)
    if "top_p" in given:
        before = ordered.cumsum(-1) - ordered
        ordered = ordered.masked_fill(before > given["top_p"][:, None], 0.0)
    if "min_p" in given:
        ordered = ordered.masked_fill(ordered < given["min_p"][:, None] * ordered[:, :1], 0.0)
    if "renorm" in definition.name:
        ordered = ordered / ordered.sum(-1, keepdim=True)
        return torch.zeros_like(probs).scatter_(1, index, ordered)
    return index.gather(1, torch.multinomial(ordered, 1)).squeeze(1)


def page_append(definition: Definition, given: Inputs) -> Any:  # noqa: ARG001 - a peer's
    """Assignment to places of copies."""
    first, second, sequences, positions, one, other, numbers, begins, _ = given.values()
    page_size = one.shape[1]
    pages = numbers[begins[sequences.long()].long() + positions // page_size].long()
    one, other = one.clone(), other.clone()
    one[pages, (positions % page_size).long()] = first
    other[pages, (positions % page_size).long()] = second
    return one, other


PEERS: dict[str, Peer] = {
    peer.__name__: peer
    for peer in (rope, embedding, activation, layernorm, quantize, sampling, page_append)
}


# --- measuring -----------------------------------------------------------------------------------


def definitions(dataset: Path, op_types: list[str]) -> Iterator[Definition]:
    """The definitions of a dataset that are of one of these op types, by name."""
    for path in sorted(p for op in op_types for p in dataset.glob(f"definitions/{op}/*.json")):
        yield Definition.from_dict(json.loads(path.read_text(encoding="utf-8")))


def cases(
    registry: Registry, definition: Definition, tokens: list[int], device: str
) -> Iterator[tuple[int, Inputs]]:
    """The first workload of each number of tokens, with its inputs."""
    axis = next((name for name in TOKENS if name in definition.var_axes), None)
    left = list(tokens) if axis is not None else []
    for case in registry.workloads(definition, {}, 0) or ():
        if axis is not None and case.axes[axis] in left:
            left.remove(case.axes[axis])
            sizes = {**definition.const_axes, **case.axes}
            known = {name: torch.from_numpy(array) for name, array in case.tensors().items()}
            known |= dict(case.scalars)
            yield case.axes[axis], _inputs(definition, sizes, known, device)


def _inputs(definition: Definition, sizes: dict[str, int], known: Inputs, device: str) -> Inputs:
    """Inputs in order: those that a workload gives, the others normally distributed."""
    torch.manual_seed(0)
    made: Inputs = {}
    for name, spec in definition.inputs.items():
        value = known.get(name)
        if spec.shape is None:
            made[name] = 1.0 if value is None else value
            continue
        if value is None:
            value = torch.randn([sizes[axis] for axis in spec.shape], device=device)
        made[name] = value.to(device).to(getattr(torch, spec.dtype))
    return made


def error(found: Any, right: Any) -> float | None:
    """The largest difference of the first output, by the largest element; None of draws."""
    one, other = (x[0] if isinstance(x, tuple) else x for x in (found, right))
    if one.dtype in (torch.int32, torch.int64):
        return None
    one, other = one.double(), other.double()
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-30))


def measured(definition: Definition, tokens: int, given: Inputs, device: str) -> Any:
    """The figures of one definition; None where it has no peer."""
    peer = PEERS[definition.op_type]
    if peer(definition, given) is None:
        return None
    namespace: dict[str, Any] = {}
    exec(definition.reference, namespace)  # noqa: S102 - what is measured

    def ours() -> Any:
        return namespace["run"](**given)

    def plain() -> Any:
        return peer(definition, given)

    row = {
        "definition": definition.name,
        "tokens": tokens,
        "ms": milliseconds(ours, device, PATIENCE_S),
        "peer_ms": milliseconds(plain, device, PATIENCE_S),
        "mb": megabytes(ours, device),
        "peer_mb": megabytes(plain, device),
        "error": error(ours(), plain()),
    }
    return {**row, "speed": row["peer_ms"] / row["ms"]}


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="references of small kernels beside their peers")
    parser.add_argument("dataset", type=Path, nargs="?", default=Path("repos/flashinfer-trace"))
    parser.add_argument("--op-type", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 64, 4096])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    registry, found = load_plugins(), []
    print(  # noqa: T201 - a program's output
        f"{'definition':46}{'tokens':>7}{'speed':>7}{'ms':>9}{'peer':>9}{'MB':>7}{'peer MB':>9}"
        f"{'error':>9}"
    )
    for definition in definitions(options.dataset, options.op_type):
        for tokens, given in cases(registry, definition, options.tokens, device):
            with torch.no_grad():
                row = measured(definition, tokens, given, device)
            if row is None:
                continue
            found.append(row)
            print(  # noqa: T201
                f"{row['definition']:46}{tokens:7}{row['speed']:7.2f}{row['ms']:9.3f}"
                f"{row['peer_ms']:9.3f}{_text(row['mb'], '.0f'):>7}"
                f"{_text(row['peer_mb'], '.0f'):>9}{_text(row['error'], '.1e'):>9}",
                flush=True,
            )
    conclude(found, options.dataset, options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
