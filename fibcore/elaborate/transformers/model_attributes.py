"""What attributes transformers' base class of models may have.

The table is written by `tools/model_attributes.py`.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

TABLE = Path(__file__).with_name("model_attributes.json")


def may_have(name: str) -> bool:
    """Whether `PreTrainedModel`, its bases or its instances may have an attribute of this name.

    Names that begin with an underscore may come with any release.
    """
    return name.startswith("_") or name in _names()


@functools.cache
def _names() -> frozenset[str]:
    return frozenset(json.loads(TABLE.read_text("utf-8"))["names"])
