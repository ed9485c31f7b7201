"""The plugins: discovery through entry points, checks of what their hooks return.

There is no global plugin manager: `load_plugins` builds a `Registry`, and whoever needs plugins
is given it.
"""

from __future__ import annotations

import functools
import re
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import attrs
import pluggy

from fibcore.errors import ConfigError, FibcoreError, PluginError, UsageError
from fibcore.model.definition import Definition
from fibcore.model.kernel import Extraction, Kernel, Scalar
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree
from fibcore.ops import checks as hook_checks
from fibcore.ops import hookspecs
from fibcore.ops.hookspecs import PROJECT, GroundTruth, Identity, OpType, TestTemplate, WorkloadCase
from fibcore.ops.options import DeclaredOptions

if TYPE_CHECKING:
    from importlib_metadata import EntryPoint

GROUP = "fibcore"
"""The entry-point group in which plugins announce themselves."""

Cause = Literal["disabled", "missing module", "version conflict", "plugin bug"]
T = TypeVar("T")


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
class RegisteredOpType:
    """An op type and the plugin that is responsible for it."""

    name: str
    description: str
    plugin: str


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


class Registry:
    """The active plugins. Every hook call is checked, and an error names plugin and hook.

    A hook that one plugin answers asks the plugin that is responsible for the op type first, then
    the others by name, so that a stranger's mistake cannot hide the right answer.

    Attributes:
        plugins: Every plugin that was found, by name, the inactive ones included.
        options: The options that the op types of the active plugins declare.
    """

    def __init__(self, plugins: Iterable[PluginInfo], loaded: Mapping[str, _Loaded]) -> None:
        """Use `load_plugins` instead, which makes both fit."""
        self.plugins: tuple[PluginInfo, ...] = tuple(sorted(plugins, key=lambda p: p.name))
        self._hooks = {name: plugin.hooks for name, plugin in loaded.items()}
        self._active = {p.name: p for p in self.plugins if p.status == "active"}
        self.options = DeclaredOptions(
            (f"op type {op_type.name}", option)
            for plugin in loaded.values()
            for op_type in plugin.op_types
            for option in op_type.options
        )
        self._op_types = {
            op_type.name: RegisteredOpType(op_type.name, op_type.description, name)
            for name, plugin in loaded.items()
            for op_type in plugin.op_types
        }

    def op_types(self) -> Mapping[str, RegisteredOpType]:
        """The op types of all active plugins, by name."""
        return dict(sorted(self._op_types.items()))

    def skipped(self) -> tuple[PluginInfo, ...]:
        """The plugins that are broken and therefore not used."""
        return tuple(p for p in self.plugins if p.status == "skipped")

    def extract(self, tree: ModelTree, serving: Serving) -> ExtractResult:
        """Let every plugin find its kernels in `tree`.

        A plugin that fails takes nothing from the others: its error stands in the result.
        Options that `serving` leaves out have their declared defaults.
        """
        serving = attrs.evolve(serving, options=self.options.completed(serving.options))
        extractions: list[tuple[str, Extraction]] = []
        errors: list[FibcoreError] = []
        for info in self._active.values():
            found = self._extract_one(info, tree, serving)
            if isinstance(found, FibcoreError):
                errors.append(found)
            elif found is not None:
                extractions.append((info.name, found))
        return ExtractResult(tuple(extractions), tuple(errors))

    def _extract_one(
        self, info: PluginInfo, tree: ModelTree, serving: Serving
    ) -> Extraction | FibcoreError | None:
        try:
            return self._call(
                info.name,
                "fibcore_extract",
                f"model {tree.model}",
                lambda result: hook_checks.check_extraction(result, tree, info.op_types),
                {"tree": tree, "serving": serving},
            )
        except FibcoreError as error:
            return error

    def reference(self, kernel: Kernel) -> Definition:
        """The definition of a kernel.

        Raises:
            HookError: the plugin raised, or the definition does not fit the kernel.
            PluginError: no plugin answers for the kernel's op type.
        """
        found = self._first(
            "fibcore_reference",
            kernel.op_type,
            f"kernel {kernel.name}",
            lambda result: hook_checks.check_reference(result, kernel),
            {"kernel": kernel},
        )
        if found is None:
            raise PluginError(
                "no plugin writes definitions of this op type",
                where=f"kernel {kernel.name}",
                expected="one of " + (", ".join(sorted(self._op_types)) or "none at all"),
                found=kernel.op_type,
            )
        return found

    def identify(self, definition: Definition) -> Identity:
        """Which function a definition computes, and where its sizes contradict each other.

        Raises:
            HookError: the plugin raised, or returned what is no identity.
        """
        found = self._first(
            "fibcore_identify",
            definition.op_type,
            f"definition {definition.name}",
            hook_checks.check_identity,
            {"definition": definition},
        )
        return found or Identity()

    def variant(self, definition: Definition) -> str:
        """The name of the function that a definition computes; "" where its tensors tell it.

        Raises:
            HookError: as `identify`.
        """
        return self.identify(definition).variant

    def function_of(self, definition: Definition) -> str:
        """The variant; for an op type of no plugin the name, without a version suffix.

        Nobody can say then whether two definitions with equal tensors compute the same (GELU and
        its tanh approximation do not), so that only those of one name count as one kernel.

        Raises:
            HookError: as `identify`.
        """
        found = self.variant(definition)
        if found or definition.op_type in self._op_types:
            return found
        return re.sub(r"_v([2-9]|[1-9][0-9]+)$", "", definition.name)

    def ground_truths(self, definition: Definition) -> tuple[GroundTruth, ...]:
        """What a definition's reference can be compared with, the preferred one first.

        Raises:
            HookError: the plugin raised, or returned what is no ground truth.
        """
        found = self._first(
            "fibcore_ground_truths",
            definition.op_type,
            f"definition {definition.name}",
            hook_checks.check_ground_truths,
            {"definition": definition},
        )
        return found or ()

    def test_template(self, op_type: str) -> TestTemplate | None:
        """The test sizes, inputs and properties of an op type; None where no plugin has any.

        Raises:
            HookError: the plugin raised, or returned what is no template of this op type.
        """
        return self._first(
            "fibcore_test_template",
            op_type,
            f"op type {op_type}",
            lambda result: hook_checks.check_test_template(result, op_type),
            {"op_type": op_type},
        )

    def workloads(
        self, definition: Definition, constants: Mapping[str, Scalar], seed: int
    ) -> tuple[WorkloadCase, ...] | None:
        """The sizes to benchmark of a definition, small to large; None where no plugin has any.

        Raises:
            HookError: the plugin raised, or returned what are no cases of this definition.
        """
        return self._first(
            "fibcore_workloads",
            definition.op_type,
            f"definition {definition.name}",
            lambda result: hook_checks.check_workloads(result, definition),
            {"definition": definition, "constants": constants, "seed": seed},
        )

    def _first(
        self,
        hook: str,
        op_type: str,
        subject: str,
        check: Callable[[object], T],
        arguments: Mapping[str, object],
    ) -> T | None:
        owner = self._op_types.get(op_type)
        order = sorted(self._active, key=lambda name: (owner is None or name != owner.plugin, name))
        for name in order:
            found = self._call(name, hook, subject, check, arguments)
            if found is not None:
                return found
        return None

    def _call(
        self,
        plugin: str,
        hook: str,
        subject: str,
        check: Callable[[object], T],
        arguments: Mapping[str, object],
    ) -> T | None:
        """Call the hook of one plugin; None where it has none or does not answer."""
        info = self._active[plugin]
        caller: pluggy.HookCaller = getattr(self._hooks[plugin], hook)
        if not caller.get_hookimpls():
            return None
        try:
            result = caller(**arguments)
        except ConfigError:
            raise  # not a plugin's mistake: the model cannot be served like that
        except (Exception, SystemExit) as error:
            raise HookError(info, hook, "the plugin failed", subject, _describe(error)) from error
        if caller.spec is not None and caller.spec.opts["firstresult"]:
            if result is None:
                return None  # the definition or op type is not this plugin's
        else:  # a list of what the plugins returned, from which pluggy leaves out None
            result = result[0] if result else None
        try:
            return check(result)
        except ValueError as error:
            message = "the plugin returned what the hook does not allow"
            raise HookError(info, hook, message, subject, str(error)) from error


@attrs.frozen
class _Loaded:
    """A usable plugin.

    Attributes:
        hooks: Its hooks. Each plugin has a manager of its own, so that one can be called without
            the others, wrappers included.
        op_types: What it is responsible for.
    """

    hooks: pluggy.HookRelay
    op_types: tuple[OpType, ...]


def load_plugins(
    *,
    disable: Sequence[str] = (),
    require: Sequence[str] = (),
    extra: Mapping[str, object] | None = None,
    discover: bool = True,
) -> Registry:
    """Find, load and check the plugins.

    A plugin that cannot be loaded is skipped, and `Registry.plugins` says why; one named in
    `require` or handed over in `extra` is an error then.

    Args:
        disable: Names of plugins that are not even loaded.
        require: Names of plugins without which nothing should run.
        extra: Plugins as objects by name, for tests and scripts; each takes the place of an
            installed plugin of the same name.
        discover: Whether to look for installed plugins at all.

    Raises:
        UsageError: `disable` or `require` names a plugin that does not exist, or both name one.
        PluginError: a required plugin cannot be used, or two plugins claim one op type.
    """
    given = dict(extra or {})
    entry_points = _entry_points() if discover else []
    known = {e.name for e in entry_points} | set(given)
    _check_names("disable", disable, known)
    _check_names("require", require, known)
    both = sorted(set(disable) & set(require))
    if both:
        raise UsageError("a plugin is both required and disabled", found=", ".join(both))

    infos: list[PluginInfo] = []
    loaded: dict[str, _Loaded] = {}
    for entry_point in entry_points:
        if entry_point.name in given:
            continue
        info = _info(entry_point)
        taken = next((i for i in infos if i.name == info.name), None)
        if taken is not None:
            reason = f"its name is taken by {taken.distribution} {taken.version}"
            info = attrs.evolve(info, status="skipped", cause="plugin bug", reason=reason)
            if info.name in require:
                raise _unusable(info)
        elif info.name in disable:
            info = attrs.evolve(info, status="disabled", cause="disabled", reason="disabled")
        else:
            load = functools.partial(_load, entry_point)
            info = _add(info, load, loaded, required=info.name in require)
        infos.append(info)
    for name, plugin in given.items():
        info = PluginInfo(name, None, None, "active")
        if name in disable:
            info = attrs.evolve(info, status="disabled", cause="disabled", reason="disabled")
        else:
            info = _add(info, functools.partial(_same, plugin), loaded, required=True)
        infos.append(info)
    _check_claims(loaded, infos)
    return Registry(infos, loaded)


def _entry_points() -> list[EntryPoint]:
    import importlib_metadata  # costs 30 ms; `import fibcore.ops.registry` should not

    # By name and distribution, so that neither the path nor the file system decides anything.
    return sorted(
        importlib_metadata.entry_points(group=GROUP),
        key=lambda e: (e.name, e.dist.name if e.dist else ""),
    )


def _check_names(option: str, names: Collection[str], known: Collection[str]) -> None:
    if isinstance(names, str):
        raise UsageError("a list of plugin names is needed", where=option, found=repr(names))
    for name in names:
        if name not in known:
            raise UsageError(
                "no plugin has this name",
                where=option,
                expected=_nearest(name, known) or "an installed plugin",
                found=repr(name),
                hint="fibcore plugins lists them",
            )


def _nearest(name: str, known: Collection[str]) -> str:
    from rapidfuzz import fuzz, process  # costs 40 ms, for an error message alone

    ranked = process.extract(name, sorted(known), scorer=fuzz.WRatio, limit=3)
    return ", ".join(match for match, _, _ in ranked)


def _info(entry_point: EntryPoint) -> PluginInfo:
    dist = entry_point.dist
    return PluginInfo(
        entry_point.name, dist.name if dist else None, dist.version if dist else None, "active"
    )


def _add(
    info: PluginInfo,
    load: Callable[[], object],
    loaded: dict[str, _Loaded],
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


def _load(entry_point: EntryPoint) -> object:
    """The plugin that an entry point names.

    Raises:
        _BrokenPlugin: with the cause: another version than it needs, a module that is not there,
            or a mistake of the plugin.
    """
    conflict = _version_conflict(entry_point.dist.requires or ()) if entry_point.dist else None
    if conflict:
        raise _BrokenPlugin("version conflict", conflict)
    own_package = entry_point.module.partition(".")[0]
    try:
        plugin: object = entry_point.load()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in (own_package, ""):
            raise _BrokenPlugin("plugin bug", _describe(error)) from error
        if missing == PROJECT:
            reason = f"it needs {error.name}, which this fibcore does not have"
            raise _BrokenPlugin("version conflict", reason) from error
        raise _BrokenPlugin("missing module", f"it needs {error.name}") from error
    except ImportError as error:
        source = (error.name or "").partition(".")[0]
        cause: Cause = "plugin bug" if source in (own_package, "") else "version conflict"
        raise _BrokenPlugin(cause, _describe(error)) from error
    except (Exception, SystemExit) as error:
        raise _BrokenPlugin("plugin bug", _describe(error)) from error
    return plugin


def _version_conflict(requirements: Iterable[str]) -> str | None:
    """What a distribution requires and another version of which is installed.

    A requirement that is not installed at all shows when the plugin is imported, if it matters.
    """
    import importlib_metadata
    from packaging.requirements import InvalidRequirement, Requirement

    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            return f"its requirement {text!r} cannot be read"
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name == PROJECT:
            from fibcore import __version__ as version
        else:
            try:
                version = importlib_metadata.version(requirement.name)
            except importlib_metadata.PackageNotFoundError:
                continue
        if not requirement.specifier.contains(version, prereleases=True):
            return f"it needs {requirement}, {version} is installed"
    return None


def _checked(plugin: object, info: PluginInfo) -> _Loaded:
    """The plugin, after its hooks were held against the hook specifications.

    Raises:
        _BrokenPlugin: a hook is not as they say.
    """
    if plugin is None:
        raise _BrokenPlugin("plugin bug", "it is None")
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin, info.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        known = ", ".join(sorted(n for n in vars(hookspecs) if n.startswith("fibcore_")))
        reason = f"{' '.join(str(error).split())}; the hooks are {known}"
        raise _BrokenPlugin("plugin bug", reason) from error
    except Exception as error:  # reading its attributes may run its code
        raise _BrokenPlugin("plugin bug", _describe(error)) from error
    if not manager.get_hookcallers(plugin):
        raise _BrokenPlugin("plugin bug", "it implements no hook; are they marked @hookimpl?")
    if not manager.hook.fibcore_op_types.get_hookimpls():
        return _Loaded(manager.hook, ())
    try:
        (result,) = manager.hook.fibcore_op_types() or (None,)
        return _Loaded(manager.hook, hook_checks.check_op_types(result))
    except Exception as error:
        raise _BrokenPlugin("plugin bug", f"fibcore_op_types: {_describe(error)}") from error


def _check_claims(loaded: Mapping[str, _Loaded], infos: Sequence[PluginInfo]) -> None:
    labels = {i.name: i.label for i in infos if i.status == "active"}
    owners: dict[str, str] = {}
    for name, plugin in loaded.items():
        for op_type in plugin.op_types:
            other = owners.setdefault(op_type.name, name)
            if other != name:
                raise PluginError(
                    "two plugins claim one op type",
                    where=f"op type {op_type.name}",
                    expected="one plugin that is responsible for it",
                    found=f"{labels[other]} and {labels[name]}",
                    hint=f"go without one of them: --disable-plugin {name}",
                )


def _describe(error: BaseException) -> str:
    """The exception in a line, with the last place in source text that it came through."""
    text = " ".join(str(error).split())
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        last = frames[-1]
        line += f" ({Path(last.filename).name}:{last.lineno} in {last.name})"
    return line
