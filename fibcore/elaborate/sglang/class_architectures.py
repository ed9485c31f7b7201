"""The model classes that config classes of SGLang say themselves, whatever a file says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.values import Raised
from fibcore.elaborate.sglang.config_loading import load_config
from fibcore.elaborate.sglang.environment import Environment
from fibcore.elaborate.sglang.own_classes import OwnClasses
from fibcore.elaborate.transformers.config import ConfigBuilder
from fibcore.elaborate.transformers.pins import NEWEST_MAJOR, pinned_transformers, table_of
from fibcore.model.serving import Serving

if TYPE_CHECKING:
    from fibcore.elaborate.sglang.index import SourceIndex

_QUANTIZATION = "quantization"


def class_architecture(index: SourceIndex, data: Mapping[str, Any]) -> str | None:
    """The model class that the config class of a file's model type writes into the config.

    Args:
        index: The SGLang tree.
        data: The file's content.

    Returns:
        Its name; None where SGLang's loader takes no class of its own, or that leaves the file's.
    """
    kind = data.get("model_type")
    ev = Evaluator(index, environment := Environment(Serving(tp=1, ep=1), None))
    classes = OwnClasses(ev)
    own = classes.find(kind) if isinstance(kind, str) else None
    module = None if own is None or not own.registered else index.module(own.module)
    if module is None or ".architectures" not in module.text:
        return None
    table = table_of(pinned_transformers(index.root), NEWEST_MAJOR).table
    if _QUANTIZATION not in module.text:
        # Sections that name every layer of a checkpoint are most of its file.
        data = {key: value for key, value in data.items() if _QUANTIZATION not in key}
    builder = ConfigBuilder(ev, table, "sglang", classes)
    environment.use_configs(builder)
    try:
        names = load_config(builder, data).values.get("architectures")
    except (Raised, Exhausted):
        return None  # the elaboration itself says what is wrong
    first = names[0] if isinstance(names, list) and names else None
    return str(first) if isinstance(first, str) else None
