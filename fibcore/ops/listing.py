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

    @property
    def exit_code(self) -> int:
        """0 where a plugin is in use, else 1: no command could find a kernel."""
        return 0 if any(plugin.status == "active" for plugin in self.plugins) else 1

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        data = {"plugins": to_data(self.plugins), "op_types": to_data(self.op_types)}
        return {**data, "exit_code": self.exit_code}
