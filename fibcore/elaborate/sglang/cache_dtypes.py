"""What dtype the server gives the KV cache with `--kv-cache-dtype auto`.

`ModelRunner` (since 0.5.16 `srt/mem_cache/kv_cache_dtype.py`) asks the model's quantisation config
for `kv_cache_quant_algo`, which its class makes of what the checkpoint has: ModelOpt's keys, a
compressed-tensors `kv_cache_scheme` in recent releases. Releases before 0.5.3 ask for nothing.

For latent attention to chosen keys the server decides before a model is there, by the GPU and
whatever the checkpoint says: `_set_default_nsa_kv_cache_dtype` of `srt/server_args.py` (0.5.9),
`_dsa_kv_cache_dtype_default` of `srt/arg_groups/overrides.py` (0.5.23).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Func, Mod, Obj, Raised
from fibcore.model.tree import SourcePlace

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_ASKED = "kv_cache_quant_algo"
_MODULES = ("srt.mem_cache.kv_cache_dtype", "srt.model_executor.model_runner")

# Which models have such attention, by the config: functions of a module, in 0.5.9 and 0.5.23.
_CONFIGS = "srt.configs.model_config"
_CHOOSES_KEYS = ("is_deepseek_dsa", "is_deepseek_nsa")
# What decides for them, and where it stands; the condition is about learnt sinks of attention.
_DECIDING = ("srt.arg_groups.overrides", "srt.server_args")
_BY_GPU = re.compile(
    r'"fp8_e4m3"\s+if\s+major\s*>=\s*(\d+)(\s+and\s+not\s+has_attention_sinks)?\s+else\s+"bfloat16"'
)
_SINKS = "learnable_sink"
_CAPABILITY = "torch.cuda.get_device_capability"


def cache_dtype(ev: Evaluator, root: Mod, config: Any) -> str:
    """A choice of `--kv-cache-dtype` that auto comes to, "model" for the model's own dtype.

    "auto" where the source does not tell.

    Args:
        ev: The evaluator of the source tree.
        root: The model.
        config: Its config, as the release's class has it.
    """
    by_gpu = _of_chosen_keys(ev, root, config)
    if by_gpu is not None:
        return by_gpu
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


def _of_chosen_keys(ev: Evaluator, root: Mod, config: Any) -> str | None:
    """What the GPU decides for attention to chosen keys; None for other models and releases."""
    place = root.place or SourcePlace("", 1)
    found = [
        match
        for name in _DECIDING
        if (module := ev.index.module(f"{ev.index.package}.{name}")) is not None
        for match in _BY_GPU.finditer(module.text)
    ]
    space = ev.modules.space(f"{ev.index.package}.{_CONFIGS}")
    if not found or space is None:
        return None
    chooses = [f for n in _CHOOSES_KEYS if isinstance(f := ev.modules.name_in(space, n), Func)]
    try:
        if not any(ev.calls.call(function, [config], {}, place) is True for function in chooses):
            return None
        sinks = ev.attributes.find(config, _SINKS, place)
    except Raised:
        return None
    capability = ev.environment.external_call(ev, _CAPABILITY, [], {}, place)
    if not isinstance(capability, (tuple, list)) or not isinstance(capability[0], int):
        return "auto"
    least, without_sinks = found[0].groups()
    plain = without_sinks is not None and sinks is True
    return "fp8_e4m3" if capability[0] >= int(least) and not plain else "bfloat16"
