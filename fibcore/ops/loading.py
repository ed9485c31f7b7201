"""Loading of plugins: entry points, versions, and whether each one conforms to the hooks."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs
import pluggy

from fibcore.errors import PluginError, UsageError, nearest
from fibcore.ops import checks, hookspecs
from fibcore.ops.hookspecs import HOOK_API, HOOK_API_ATTRIBUTE, PROJECT, OpType

if TYPE_CHECKING:
    from importlib_metadata import EntryPoint

GROUP = "fibcore"
"""The entry-point group in which plugins announce themselves."""

Cause = Literal["disabled", "missing module", "version conflict", "plugin bug"]


@attrs.frozen
class PluginInfo:
    """What is known of one plugin, whether it can be used or not.

    Attributes:
        name: The entry point's name; what `--disable-plugin` takes.
        distribution: The distribution that brings it; None where it was handed over as an object.
        version: That distribution's version.
        status: "active"; "disabled" where the user asked for that; "skipped" where it is broken.
        reason: Why it is not active, as a sentence for people.
        op_types: Names of the op types that it is responsible for, where it is active.
        cause: The kind of reason.
    """

    name: str
    distribution: str | None
    version: str | None
    status: Literal["active", "disabled", "skipped"]
    reason: str | None = None
    op_types: tuple[str, ...] = ()
    cause: Cause | None = None

    @property
    def label(self) -> str:
        """Name, distribution and version in a line: `gqa (fibcore-op-gqa 0.1.0)`."""
        if self.distribution is None:
            return self.name
        return f"{self.name} ({self.distribution} {self.version or 'of unknown version'})"


@attrs.frozen
class LoadedPlugin:
    """A usable plugin.

    Attributes:
        hooks: Its hooks. Each plugin has a manager of its own, so that one can be called without
            the others, wrappers included.
        op_types: What it is responsible for.
    """

    hooks: pluggy.HookRelay
    op_types: tuple[OpType, ...]


def find_and_load(
    *,
    disable: Sequence[str] = (),
    require: Sequence[str] = (),
    extra: Mapping[str, object] | None = None,
    discover: bool = True,
) -> tuple[list[PluginInfo], dict[str, LoadedPlugin]]:
    """Find, load and check the plugins, each by itself; see `fibcore.ops.registry.load_plugins`.

    Returns:
        What is known of each, and the usable ones by name.

    Raises:
        UsageError: `disable` or `require` names a plugin that does not exist, or both name one.
        PluginError: a required plugin cannot be used.
    """
    _installed_version.cache_clear()
    given = dict(extra or {})
    announced = _entry_points() if discover else []
    known = {found.name for found in announced} | set(given)
    _check_names("--disable-plugin", disable, known)
    _check_names("require", require, known)
    both = sorted(set(disable) & set(require))
    if both:
        raise UsageError("a plugin is both required and disabled", found=", ".join(both))

    infos: list[PluginInfo] = []
    loaded: dict[str, LoadedPlugin] = {}
    for found in announced:
        if found.name in given:
            continue
        info = _info(found)
        taken = next((i for i in infos if i.name == info.name), None)
        if taken is not None:
            reason = f"its name is taken by {taken.distribution} {taken.version}"
            info = attrs.evolve(info, status="skipped", cause="plugin bug", reason=reason)
            if info.name in require:
                raise _unusable(info)
        elif info.name in disable:
            info = attrs.evolve(info, status="disabled", cause="disabled", reason="disabled")
        else:
            load = functools.partial(_load, found)
            info = _add(info, load, loaded, required=info.name in require)
        infos.append(info)
    for name, plugin in given.items():
        info = PluginInfo(name, None, None, "active")
        if name in disable:
            info = attrs.evolve(info, status="disabled", cause="disabled", reason="disabled")
        else:
            info = _add(info, functools.partial(_same, plugin), loaded, required=True)
        infos.append(info)
    return infos, loaded


@attrs.frozen
class _Announced:
    """An entry point, and what its distribution says of itself; nothing where there is none.

    Attributes:
        entry_point: Names the plugin.
        distribution: The distribution's name.
        version: Its version.
        requires: Its requirements.
    """

    entry_point: EntryPoint
    distribution: str | None = None
    version: str | None = None
    requires: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.entry_point.name

    @classmethod
    def of(cls, entry_point: EntryPoint) -> _Announced:
        """Read what belongs to an entry point."""
        if entry_point.dist is None:
            return cls(entry_point)
        headers = entry_point.dist.metadata  # parses the file each time
        requires = tuple(headers.get_all("Requires-Dist") or ())
        return cls(entry_point, headers.get("Name"), headers.get("Version"), requires)


def _entry_points() -> list[_Announced]:
    import importlib_metadata  # costs 30 ms; `import fibcore.ops.registry` should not

    # By name and distribution, so that neither the path nor the file system decides anything.
    return sorted(
        map(_Announced.of, importlib_metadata.entry_points(group=GROUP)),
        key=lambda found: (found.name, found.distribution or ""),
    )


def _check_names(option: str, names: Collection[str], known: Collection[str]) -> None:
    if isinstance(names, str):
        raise UsageError("a list of plugin names is needed", where=option, found=repr(names))
    for name in names:
        if name not in known:
            raise UsageError(
                "no plugin has this name",
                where=option,
                expected=", ".join(nearest(name, known)) or "an installed plugin",
                found=repr(name),
                hint="fibcore plugins lists them",
            )


def _info(found: _Announced) -> PluginInfo:
    return PluginInfo(found.name, found.distribution, found.version, "active")


def _add(
    info: PluginInfo,
    load: Callable[[], object],
    loaded: dict[str, LoadedPlugin],
    *,
    required: bool,
) -> PluginInfo:
    """Load a plugin into `loaded`, or say why that cannot be.

    Args:
        info: What is known of it.
        load: Gives the plugin.
        loaded: The usable plugins by name.
        required: Whether a broken plugin is an error.
    """
    try:
        usable = _checked(load(), info)
    except _BrokenPlugin as broken:
        info = attrs.evolve(info, status="skipped", cause=broken.cause, reason=broken.reason)
        if required:
            raise _unusable(info) from broken
        return info
    loaded[info.name] = usable
    return attrs.evolve(info, op_types=tuple(o.name for o in usable.op_types))


class _BrokenPlugin(Exception):
    """Why a plugin cannot be used."""

    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason)
        self.cause: Cause = cause
        self.reason = reason


def _unusable(info: PluginInfo) -> PluginError:
    return PluginError(
        "a plugin that is needed cannot be used",
        where=f"plugin {info.label}",
        found=f"{info.cause}: {info.reason}",
    )


def _same(plugin: object) -> object:
    return plugin


def _load(found: _Announced) -> object:
    """The plugin that an entry point names.

    Raises:
        _BrokenPlugin: with the cause: another version than it needs, a module that is not there,
            or a mistake of the plugin.
    """
    conflict = _version_conflict(found.requires)
    if conflict:
        raise _BrokenPlugin("version conflict", conflict)
    entry_point = found.entry_point
    own_package = entry_point.module.partition(".")[0]
    try:
        plugin: object = entry_point.load()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in (own_package, ""):
            raise _BrokenPlugin("plugin bug", describe(error)) from error
        if missing == PROJECT:
            reason = f"it needs {error.name}, which this fibcore does not have"
            raise _BrokenPlugin("version conflict", reason) from error
        raise _BrokenPlugin("missing module", f"it needs {error.name}") from error
    except ImportError as error:
        source = (error.name or "").partition(".")[0]
        cause: Cause = "plugin bug" if source in (own_package, "") else "version conflict"
        raise _BrokenPlugin(cause, describe(error)) from error
    except (Exception, SystemExit) as error:
        raise _BrokenPlugin("plugin bug", describe(error)) from error
    return plugin


def _version_conflict(requirements: Iterable[str]) -> str | None:
    """What a distribution requires and another version of which is installed.

    A requirement that is not installed at all shows when the plugin is imported, if it matters.
    """
    unclear = [text for text in requirements if not _plainly_met(text)]
    if not unclear:
        return None
    from packaging.requirements import InvalidRequirement, Requirement

    for text in unclear:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            return f"its requirement {text!r} cannot be read"
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name == PROJECT:
            from fibcore import __version__ as version
        else:
            installed = _installed_version(requirement.name)
            if installed is None:
                continue
            version = installed
        if not requirement.specifier.contains(version, prereleases=True):
            return f"it needs {requirement}, {version} is installed"
    return None


@functools.cache
def _installed_version(distribution: str) -> str | None:
    """The version of a distribution, for which all of `sys.path` is looked through; None for none.

    Nearly every plugin requires the same few. What is installed is read anew for each loading.
    """
    import importlib_metadata

    try:
        return importlib_metadata.version(distribution)
    except importlib_metadata.PackageNotFoundError:
        return None


_PLAIN = re.compile(r"([A-Za-z0-9_.-]+)((?:,?(?:>=|<)\d+(?:\.\d+)*)*)")
_BOUND = re.compile(r"(>=|<)([\d.]+)")


def _plainly_met(text: str) -> bool:
    """Whether a requirement like `fibcore<0.2,>=0.1` is met, as comparing numbers alone shows.

    It is what nearly every plugin says; `packaging`, which decides all else, takes 14 ms to import.
    """
    found = _PLAIN.fullmatch(text.replace(" ", ""))
    if found is None:
        return False
    if found[1] == PROJECT:
        from fibcore import __version__ as version
    else:
        installed = _installed_version(found[1])
        if installed is None:
            return False
        version = installed
    if not re.fullmatch(r"\d+(\.\d+)*", version):
        return False
    have = _release(version)
    return all(
        have >= _release(bound) if sign == ">=" else have < _release(bound)
        for sign, bound in _BOUND.findall(found[2])
    )


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a release without zeros at the end, so that 1.0 is 1."""
    numbers = [int(part) for part in version.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _checked(plugin: object, info: PluginInfo) -> LoadedPlugin:
    """The plugin, after its hooks were held against the hook specifications.

    Raises:
        _BrokenPlugin: a hook is not as they say.
    """
    if plugin is None:
        raise _BrokenPlugin("plugin bug", "it is None")
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        _check_hook_api(plugin)
        manager.register(plugin, info.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        known = ", ".join(sorted(n for n in vars(hookspecs) if n.startswith("fibcore_")))
        reason = f"{' '.join(str(error).split())}; the hooks are {known}"
        raise _BrokenPlugin("plugin bug", reason) from error
    except _BrokenPlugin:
        raise
    except Exception as error:  # reading its attributes may run its code
        raise _BrokenPlugin("plugin bug", describe(error)) from error
    if not manager.get_hookcallers(plugin):
        raise _BrokenPlugin("plugin bug", "it implements no hook; are they marked @hookimpl?")
    if not manager.hook.fibcore_op_types.get_hookimpls():
        return LoadedPlugin(manager.hook, ())
    try:
        result = manager.hook.fibcore_op_types()
        return LoadedPlugin(manager.hook, checks.check_op_types(result))
    except Exception as error:
        raise _BrokenPlugin("plugin bug", f"fibcore_op_types: {describe(error)}") from error


def _check_hook_api(plugin: object) -> None:
    """Raise where a plugin says that it is for another version of the hooks."""
    wanted = getattr(plugin, HOOK_API_ATTRIBUTE, HOOK_API)
    if type(wanted) is not int:
        raise _BrokenPlugin("plugin bug", f"its {HOOK_API_ATTRIBUTE} is {wanted!r}, not a number")
    if wanted != HOOK_API:
        reason = f"it is for version {wanted} of the hooks, this fibcore has version {HOOK_API}"
        raise _BrokenPlugin("version conflict", reason)


def describe(error: BaseException) -> str:
    """The exception in a line, with the last place in source text that it came through."""
    text = " ".join(str(error).split())
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    import traceback  # for errors alone

    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        last = frames[-1]
        line += f" ({Path(last.filename).name}:{last.lineno} in {last.name})"
    return line
