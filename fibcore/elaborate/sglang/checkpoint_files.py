"""Which files lie beside a checkpoint's config, as far as the config says so.

`load_config_file` and the Hub's reader make ModelOpt's `hf_quant_config.json` a part of the config.
Where that says nothing of quantisation there is no such file, and a model that looks for it itself
(`os.path.exists(os.path.join(folder, "hf_quant_config.json"))`) does not find it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from fibcore.configs.model_config import QUANT_FILE
from fibcore.elaborate.python.values import ABSENT, Native
from fibcore.model.tree import Alternatives, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@attrs.frozen
class _NotThere(Unknown):
    """The path of a file that is not in the checkpoint's folder, wherever that folder is."""


def without_quantization() -> dict[str, Native]:
    """What stands for functions of `os.path` where the config says nothing of quantisation."""
    return {
        "os.path.join": Native("join", _join),
        **{f"os.path.{name}": Native(name, _is_there) for name in ("exists", "isfile")},
    }


def _join(ev: Evaluator, args: list[Any], kwargs: dict[str, Any], place: SourcePlace) -> Any:
    """The path of a file in a folder; that the folder is not known is what tells the checkpoint's.

    A model's constructor gets no other folder from outside.
    """
    if len(args) == 2 and isinstance(args[0], (Unknown, Alternatives)) and args[1] == QUANT_FILE:
        return _NotThere(f"the path of {QUANT_FILE}", place)
    return ABSENT


def _is_there(ev: Evaluator, args: list[Any], kwargs: dict[str, Any], place: SourcePlace) -> Any:
    return False if args and isinstance(args[0], _NotThere) else ABSENT
