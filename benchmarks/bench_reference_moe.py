"""Time and peak memory of the fp8 MoE reference beside the obvious one, measured in the same run.

The obvious way dequantises all experts to float32 at once, [experts, 2 x intermediate, hidden], and
then applies them one after the other. Every contestant runs in a process of its own on the same
inputs; its memory is what it takes beyond inputs and outputs. Results are compared.

    python benchmarks/bench_reference_moe.py [--device cpu|cuda] [--tokens 1024 --experts 256
        --local 32 --hidden 7168 --intermediate 2048] [--repetitions 3] [--json]

Without sizes, on CUDA those of DeepSeek-V3 at TP 8, EP 8 and of Kimi-K2 with all of its 384 experts
on one GPU; small ones on a CPU.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

BLOCK = 128
DEEPSEEK = {
    "tokens": 1024,
    "experts": 256,
    "local": 32,
    "hidden": 7168,
    "intermediate": 2048,
    "groups": 8,
}
KIMI = {**DEEPSEEK, "experts": 384, "local": 384, "groups": 1}
SMALL = {**DEEPSEEK, "tokens": 128, "hidden": 1024, "intermediate": 512}
SIZES = {"cuda": [DEEPSEEK, KIMI], "cpu": [SMALL]}
LIMIT_BYTES = 1 << 30
# The obvious way is not asked to hold more than this of float32 weights.
PEER_LIMIT_BYTES = {"cuda": 32 << 30, "cpu": 4 << 30}
CONTESTANTS = ("reference", "full dequantisation")

Arguments = dict[str, Any]
Contestant = Callable[..., "torch.Tensor"]


def make_inputs(sizes: dict[str, int], device: str) -> Arguments:
    """Random inputs of the definition; tokens are spread over all experts."""
    import torch

    generator = torch.Generator().manual_seed(0)
    tokens, local, hidden = sizes["tokens"], sizes["local"], sizes["hidden"]
    inner = sizes["intermediate"]
    # A stretch of numbers that is repeated, for drawing billions takes long; its length is a prime.
    numbers = (torch.randn(1_000_003, generator=generator) * 48).clamp(-448, 448)
    numbers = numbers.to(torch.float8_e4m3fn).view(torch.uint8).to(device)

    def weights(*shape: int) -> torch.Tensor:
        count = 1
        for size in shape:
            count *= size
        repeats = -(-count // numbers.numel())
        return numbers.repeat(repeats)[:count].view(torch.float8_e4m3fn).view(shape)

    def scales(factor: float, *shape: int) -> torch.Tensor:
        return ((torch.rand(shape, generator=generator) + 0.5) * factor).to(device)

    rows = (torch.randn(tokens, hidden, generator=generator) * 48).clamp(-448, 448)
    return {
        "routing_logits": torch.randn(tokens, sizes["experts"], generator=generator).to(device),
        "routing_bias": torch.zeros(sizes["experts"], dtype=torch.bfloat16, device=device),
        "hidden_states": rows.to(torch.float8_e4m3fn).to(device),
        "hidden_states_scale": scales(1 / 48, hidden // BLOCK, tokens),
        "gemm1_weights": weights(local, 2 * inner, hidden),
        "gemm1_weights_scale": scales(
            1 / (48 * hidden**0.5), local, 2 * inner // BLOCK, hidden // BLOCK
        ),
        "gemm2_weights": weights(local, hidden, inner),
        "gemm2_weights_scale": scales(
            1 / (48 * inner**0.5), local, hidden // BLOCK, inner // BLOCK
        ),
        "local_expert_offset": 0,
        "routed_scaling_factor": 2.5,
    }


def load_reference(sizes: dict[str, int]) -> tuple[Contestant, Callable[..., Any]]:
    """`run` of the definition that the plugin writes, and its routing."""
    from fibcore.model.kernel import Kernel
    from fibcore_op_moe.definitions import define
    from fibcore_op_moe.formats import FP8_BLOCK
    from fibcore_op_moe.kernel import Moe
    from fibcore_op_moe.routings import DS

    groups = sizes["groups"]
    moe = Moe(
        weights=FP8_BLOCK,
        routing=DS,
        top_k=8,
        num_groups=groups,
        top_groups=max(1, groups // 2),
        num_experts=sizes["experts"],
        num_local_experts=sizes["local"],
        hidden_size=sizes["hidden"],
        intermediate_size=sizes["intermediate"],
    )
    made = define(Kernel("moe", moe.name, moe.parameters(), {}, ()))
    namespace: dict[str, Any] = {}
    exec(made.reference, namespace)  # noqa: S102 - this repository's own reference
    run: Contestant = namespace["run"]
    names = list(made.inputs)

    def with_inputs(**inputs: Any) -> torch.Tensor:
        return run(*(inputs[name] for name in names))

    return with_inputs, namespace["route"]


def full_dequantisation(route: Callable[..., Any], **inputs: Any) -> torch.Tensor:
    """The obvious way: all experts in float32 at once."""
    import torch

    def dequantised(name: str) -> torch.Tensor:
        values: torch.Tensor = inputs[name].float()
        scale: torch.Tensor = inputs[f"{name}_scale"]
        scale = scale.repeat_interleave(BLOCK, dim=1).repeat_interleave(BLOCK, dim=2)
        return values * scale

    chosen, weights = route(
        inputs["routing_logits"], inputs["routing_bias"], inputs["routed_scaling_factor"]
    )
    rows = inputs["hidden_states_scale"].repeat_interleave(BLOCK, dim=0).T
    x = inputs["hidden_states"].float() * rows
    first, second = dequantised("gemm1_weights"), dequantised("gemm2_weights")
    inner = second.shape[2]
    total = torch.zeros_like(x)
    for expert in range(len(first)):
        tokens, slots = torch.nonzero(
            chosen == expert + inputs["local_expert_offset"], as_tuple=True
        )
        both = x[tokens] @ first[expert].T
        hidden = both[:, :inner] * torch.nn.functional.silu(both[:, inner:])
        weight = weights[tokens, slots, None]
        total.index_add_(0, tokens, hidden @ second[expert].T * weight)
    result: torch.Tensor = total.to(torch.bfloat16)
    return result


def measure(name: str, sizes: dict[str, int], device: str, repetitions: int) -> dict[str, Any]:
    """Run one contestant in this process: seconds of each run, peak bytes beyond inputs, a sum."""
    import torch

    inputs = make_inputs(sizes, device)
    run, route = load_reference(sizes)
    cuda = device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = _reset_peak()
    with torch.no_grad():

        def once() -> torch.Tensor:
            if name == "reference":
                return run(**inputs)
            return full_dequantisation(route, **inputs)

        output = once()  # the first run also warms up libraries
        own = output.numel() * output.element_size()
        after = torch.cuda.max_memory_allocated() if cuda else _peak_of_process()
        seconds = []
        for _ in range(repetitions):
            if cuda:
                torch.cuda.synchronize()
            start = time.perf_counter()
            once()
            if cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    return {
        "seconds": seconds,
        "peak_bytes": max(after - before - own, 0),
        "mean_output": float(output.double().abs().mean()),
        "device": torch.cuda.get_device_name() if cuda else "CPU",
    }


def _peak_of_process() -> int:
    """Peak resident bytes of this process, since `_reset_peak` where the system can do that."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts in bytes


def _reset_peak() -> int:
    """Forget what making the inputs took at its peak (Linux); returns the peak from then on."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        # Memory that was freed and kept would hide what is taken from it.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        clear.write_text("5", encoding="ascii")
    return _peak_of_process()


def in_child(name: str, sizes: dict[str, int], device: str, repetitions: int) -> dict[str, Any]:
    """`measure` in a process of its own.

    Raises:
        SystemExit: it failed; its output is shown.
    """
    given = json.dumps([name, sizes, device, repetitions])
    command = [sys.executable, __file__, "--measure", given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if done.returncode:
        raise SystemExit(f"{name}, {sizes}:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def bench(sizes: dict[str, int], device: str, repetitions: int) -> dict[str, Any]:
    """All contestants on one kernel, and what they do not keep."""
    weights = 4 * 3 * sizes["local"] * sizes["intermediate"] * sizes["hidden"]
    results: dict[str, dict[str, Any]] = {}
    for name in CONTESTANTS:
        if name != "reference" and weights > PEER_LIMIT_BYTES[device]:
            continue
        results[name] = in_child(name, sizes, device, repetitions)
    broken = []
    values = [result["mean_output"] for result in results.values()]
    if max(values) - min(values) > 1e-3 * abs(values[0]):
        broken.append(f"contestants disagree: {values}")
    if results["reference"]["peak_bytes"] >= LIMIT_BYTES:
        broken.append(f"memory {results['reference']['peak_bytes']} bytes, limit {LIMIT_BYTES}")
    return {
        "sizes": sizes,
        "float32_weights_bytes": weights,
        "results": results,
        "broken": broken,
    }


def main() -> int:
    """Measure, print, and return 1 where a limit is not kept or results differ."""
    parser = argparse.ArgumentParser(description="time and memory of the fp8 MoE reference")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    for size in DEEPSEEK:
        parser.add_argument(f"--{size}", type=int)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*json.loads(options.measure))))  # noqa: T201 - to the parent
        return 0
    device = options.device
    if device is None:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    given = {name: getattr(options, name) for name in DEEPSEEK if getattr(options, name)}
    wanted = [{**SIZES[device][0], **given}] if given else SIZES[device]
    benches = [bench(sizes, device, options.repetitions) for sizes in wanted]
    broken = [what for found in benches for what in found["broken"]]
    if options.json:
        print(json.dumps(benches, indent=2))  # noqa: T201 - a program's output
        return 1 if broken else 0
    for found in benches:
        print(f"{found['results']['reference']['device']}, {found['sizes']}")  # noqa: T201
        for name, result in found["results"].items():
            took = statistics.median(result["seconds"]) * 1e3
            print(f"  {name:22} {took:10.1f} ms {result['peak_bytes'] / 2**20:10.1f} MiB")  # noqa: T201
        if len(found["results"]) < len(CONTESTANTS):
            held = found["float32_weights_bytes"] / 2**30
            print(f"  {CONTESTANTS[1]:22} not run: {held:.0f} GiB of float32 weights")  # noqa: T201
    print("within all limits" if not broken else "NOT KEPT: " + "; ".join(broken))  # noqa: T201
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
