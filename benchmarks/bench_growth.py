"""Cost of extraction against the number of layers, and against the names that a config lists.

A checkpoint of hundreds of ignored names, or of a hundred layers, is the same model to a reader as
one of a dozen: layers that are alike are elaborated once, and names that differ in their numbers
alone are looked at once. What a model costs must not be the product of both.

Every measurement is a whole process, started anew, and what is compared is processor time: other
work on the machine changes it least. The contestants take turns, and the best of each counts. The
first process has Python keep the bytecode of a checkout, as pip does, and is not counted.

    python benchmarks/bench_growth.py [--sglang SRC] [--repetitions 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from processes import as_installed, measure

LAYERS = (12, 24, 48, 96)
NAMES = (0, 50, 250, 1000)
LIMITS = {"layers": 2.0, "names": 1.2}
"""How much more eight times the layers, and twenty times the names, may cost."""
CONFIG = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 151936,
}


def config(layers: int, names: int) -> dict[str, Any]:
    """A model of experts in NVFP4, so many layers long, with so many layers left as they were."""
    made = {**CONFIG, "num_hidden_layers": layers}
    if names:
        # Of each layer the router and a projection, as such checkpoints have it; then experts.
        kinds = ["mlp.gate", "self_attn.o_proj"]
        kinds += [f"mlp.experts.{n}.down_proj" for n in range(names)]
        listed = [f"model.layers.{layer}.{kind}" for kind in kinds for layer in range(layers)]
        made["quantization_config"] = {
            "quant_method": "modelopt",
            "quant_algo": "NVFP4",
            "kv_cache_quant_algo": None,
            "group_size": 16,
            "ignore": ["lm_head", *listed][:names],
        }
    return made


def main() -> int:
    """Measure, print, and return 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(description="how the cost of extraction grows")
    parser.add_argument(
        "--target-dir", default="./repos", help="folder that holds the repositories"
    )
    parser.add_argument("--sglang", help="SGLang source, as for fibcore extract")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    source = ["--target-dir", options.target_dir]
    source += ["--sglang", options.sglang] if options.sglang else []

    series = {
        "layers": [(layers, (layers, 50)) for layers in LAYERS],
        "names": [(names, (48, names)) for names in NAMES],
    }
    sizes = sorted({size for points in series.values() for _, size in points})
    seconds: dict[tuple[int, int], float] = {}
    memory: dict[tuple[int, int], float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        environment = as_installed(Path(scratch, "bytecode"))
        files = {size: Path(scratch, "{}-{}.json".format(*size)) for size in sizes}
        for size, file in files.items():
            file.write_text(json.dumps(config(*size)), encoding="utf-8")
        for repetition in range(options.repetitions + 1):
            for size, file in files.items():
                took, peak = measure([
                    *(sys.executable, "-m", "fibcore", "extract", "--model-name", "grown"),
                    *("--config", str(file), "--dry-run", "-q", *source),
                ], environment)  # fmt: skip
                if not repetition:
                    break
                seconds[size] = min(took, seconds.get(size, took))
                memory[size] = max(peak, memory.get(size, peak))

    growth = {
        "layers": seconds[LAYERS[-1], 50] / seconds[LAYERS[0], 50],
        "names": seconds[48, NAMES[-1]] / seconds[48, NAMES[1]],
    }
    kept = all(times < LIMITS[name] for name, times in growth.items())
    if options.json:
        points = {
            name: [
                {name: number, "processor_seconds": seconds[size], "peak_mb": memory[size]}
                for number, size in found
            ]
            for name, found in series.items()
        }
        result = {**points, "growth": growth, "limits": LIMITS, "kept": kept}
        print(json.dumps(result, indent=2))  # noqa: T201 - a program's output
        return 0 if kept else 1
    for name, found in series.items():
        for number, size in found:
            line = f"{number:6} {name:7} {seconds[size]:6.2f} s  {memory[size]:6.1f} MB"
            print(line)  # noqa: T201
    print(f"{LAYERS[-1] // LAYERS[0]} times the layers: {growth['layers']:.2f} times the cost")  # noqa: T201
    print(f"{NAMES[-1] // NAMES[1]} times the names: {growth['names']:.2f} times the cost")  # noqa: T201
    print("within the limits" if kept else f"NOT KEPT: the limits {LIMITS}")  # noqa: T201
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
