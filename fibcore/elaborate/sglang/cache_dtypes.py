"""What dtype the server gives the KV cache with `--kv-cache-dtype auto`.

`ModelRunner` (since 0.5.16 `srt/mem_cache/kv_cache_dtype.py`) asks the model's quantisation config
for `kv_cache_quant_algo`, which its class makes of what the checkpoint has: ModelOpt's keys, a
compressed-tensors `kv_cache_scheme` in recent releases. Releases before 0.5.3 ask for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Mod, Obj, Raised
from fibcore.model.tree import SourcePlace

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_ASKED = "kv_cache_quant_algo"
_MODULES = ("srt.mem_cache.kv_cache_dtype", "srt.model_executor.model_runner")


def cache_dtype(ev: Evaluator, root: Mod) -> str:
    """A choice of `--kv-cache-dtype` that auto comes to, "model" for the model's own dtype.

    "auto" where the source does not tell.

    Args:
        ev: The evaluator of the source tree.
        root: The model.
    """
    texts = [m.text for name in _MODULES if (m := ev.index.module(f"{ev.index.package}.{name}"))]
    if not texts:
        return "auto"
    config = root.attrs.get("quant_config")  # `getattr(model, "quant_config", None)`
    if config is None or not any(_ASKED in text for text in texts):
        return "model"
    if not isinstance(config, Obj):
        return "auto"
    try:
        algorithm: Any = ev.attributes.find(config, _ASKED, root.place or SourcePlace("", 1))
    except Raised:
        return "auto"
    if isinstance(algorithm, str):
        return "fp8_e4m3" if algorithm.upper() == "FP8" else "model"
    return "model" if algorithm is None or algorithm is ABSENT else "auto"
