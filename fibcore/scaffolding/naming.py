"""What a new plugin is called, and whether it can be called that."""

from __future__ import annotations

import importlib.util
import re

import attrs

from fibcore import __version__
from fibcore.errors import UsageError
from fibcore.ops.registry import Registry

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST = 40  # names of definitions, files and tests begin with it
_PREFIX = "op_"


@attrs.frozen
class Names:
    """What parts of a plugin are called.

    Attributes:
        name: The plugin's entry point and its first op type, `paged_copy`.
    """

    name: str

    @property
    def folder(self) -> str:
        """The folder of the distribution."""
        return _PREFIX + self.name

    @property
    def package(self) -> str:
        """The package that Python imports."""
        return f"fibcore_op_{self.name}"

    @property
    def distribution(self) -> str:
        """What pip installs."""
        return self.package.replace("_", "-")

    def words(self) -> dict[str, str]:
        """What stands in files in the place of each word."""
        return {
            "name": self.name,
            "package": self.package,
            "distribution": self.distribution,
            "fibcore": _requirement(__version__),
        }


def _requirement(version: str) -> str:
    """This fibcore and those that promise the same: `fibcore>=0.1,<0.2` for 0.1.0."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return f"fibcore>={major}.{minor},<{major}.{minor + 1}"


def check(name: str, registry: Registry) -> Names:
    """The names of a new plugin.

    Args:
        name: What its author calls it.
        registry: The installed plugins.

    Raises:
        UsageError: it is no name for a plugin, or another plugin or package has it.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise UsageError(
            "a plugin cannot have this name",
            where="NAME",
            expected=f"snake_case of at most {_LONGEST} characters, such as paged_copy",
            found=repr(name),
            hint=_suggestion(name),
        )
    if name.startswith(_PREFIX):
        raise UsageError(
            f"folder and package get {_PREFIX} by themselves",
            where="NAME",
            expected="the op's name alone",
            found=repr(name),
            hint=f"fibcore new-op {name.removeprefix(_PREFIX)}",
        )
    names = Names(name)
    holder = _holder(names, registry)
    if holder is not None:
        raise UsageError(
            "the name is taken",
            where="NAME",
            expected="a name that no installed plugin, op type or package has",
            found=f"{name!r}, of {holder}",
            hint="choose another name, or uninstall what has it; fibcore plugins lists the plugins",
        )
    return names


def _suggestion(name: str) -> str | None:
    """What to do about a name, where one is near that can be had."""
    near = re.sub(r"\W+", "_", name.strip()).strip("_").lower()[:_LONGEST].strip("_")
    return f"fibcore new-op {near}" if _NAME.fullmatch(near) else None


def _holder(names: Names, registry: Registry) -> str | None:
    """What has the name already; None where nothing does."""
    for plugin in registry.plugins:
        if plugin.name == names.name or plugin.distribution == names.distribution:
            return f"the plugin {plugin.label}"
    taken = registry.op_types().get(names.name)
    if taken is not None:
        return f"an op type of the plugin {taken.plugin}"
    spec = importlib.util.find_spec(names.package)
    if spec is not None:
        return f"the package {names.package} ({spec.origin or 'a folder without __init__.py'})"
    return None
