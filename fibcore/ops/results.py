"""What a registry answers with besides the data types of hooks, and the error of a hook."""

from __future__ import annotations

from typing import NamedTuple

import attrs

from fibcore.errors import FibcoreError, PluginError
from fibcore.model.kernel import Extraction
from fibcore.ops.hookspecs import GroundTruth
from fibcore.ops.loading import PluginInfo


@attrs.frozen
class RegisteredOpType:
    """An op type and the plugin that is responsible for it."""

    name: str
    description: str
    plugin: str
    parallel_tags: bool = True


class HookError(PluginError):
    """A hook of a plugin raised, or returned what it may not.

    Attributes:
        plugin: Name of the plugin.
        hook: Name of the hook, `fibcore_extract`.
    """

    def __init__(self, plugin: PluginInfo, hook: str, message: str, subject: str, found: str):
        """An error of `plugin` in `hook` while it worked on `subject` ("model llama")."""
        super().__init__(
            message,
            where=f"plugin {plugin.label}, hook {hook}, {subject}",
            found=found,
            hint=f"report it to the plugin's authors; --disable-plugin {plugin.name} goes without",
        )
        self.plugin = plugin.name
        self.hook = hook


class ExtractResult(NamedTuple):
    """What all plugins found in one tree.

    Attributes:
        extractions: (plugin name, what it found), in the order of plugin names.
        errors: One error for each plugin that failed: a `HookError`, or the `ConfigError` with
            which the plugin says that the model cannot be served in this way.
    """

    extractions: tuple[tuple[str, Extraction], ...]
    errors: tuple[FibcoreError, ...]


class GroundTruthResult(NamedTuple):
    """The ground truths of one definition.

    Attributes:
        offered: (plugin name, ground truth), those of the op type's owner first.
        errors: One error for each plugin that failed, or gave a name that another one has.
    """

    offered: tuple[tuple[str, GroundTruth], ...]
    errors: tuple[HookError, ...]

    @property
    def truths(self) -> tuple[GroundTruth, ...]:
        """The ground truths, the preferred one first."""
        return tuple(truth for _, truth in self.offered)
