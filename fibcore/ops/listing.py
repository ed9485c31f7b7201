"""`fibcore plugins`: the plugins that are installed, and what they are responsible for."""

from __future__ import annotations

from typing import Any

import attrs

from fibcore.model.json import to_data
from fibcore.ops.registry import PluginInfo, RegisteredOpType


@attrs.frozen
class PluginsReport:
    """The plugins that were found, usable or not, and the op types of the usable ones."""

    plugins: tuple[PluginInfo, ...]
    op_types: tuple[RegisteredOpType, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"plugins": to_data(self.plugins), "op_types": to_data(self.op_types)}
