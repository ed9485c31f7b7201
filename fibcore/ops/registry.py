"""The plugins in use: every hook call is checked, and an error names plugin and hook.

There is no global plugin manager: `load_plugins` builds a `Registry`, and whoever needs plugins
is given it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import attrs
import pluggy

from fibcore.errors import ConfigError, FibcoreError, PluginError
from fibcore.model.cost import Cost
from fibcore.model.definition import Definition
from fibcore.model.kernel import Extraction, Kernel, Scalar
from fibcore.model.serving import Serving
from fibcore.model.step_batch import StepBatch
from fibcore.model.tree import ModelTree
from fibcore.ops import checks, kernel_checks
from fibcore.ops.authoring.costs import whole
from fibcore.ops.exports import ExportFormat
from fibcore.ops.hookspecs import (
    GroundTruth,
    Identity,
    Implementation,
    TestTemplate,
    WorkloadCase,
)
from fibcore.ops.loading import LoadedPlugin, PluginInfo, describe, find_and_load
from fibcore.ops.options import DeclaredOptions
from fibcore.ops.results import ExtractResult, GroundTruthResult, HookError, RegisteredOpType

__all__ = [
    "ExtractResult",
    "GroundTruthResult",
    "HookError",
    "PluginInfo",
    "RegisteredOpType",
    "Registry",
    "load_plugins",
]

T = TypeVar("T")


class Registry:
    """The active plugins.

    What concerns one op type is asked of the plugin that owns it, and of no other; extraction and
    ground truths are asked of every plugin.

    Attributes:
        plugins: Every plugin that was found, by name, the inactive ones included.
        options: The options that the op types of the active plugins declare.
    """

    def __init__(self, plugins: Iterable[PluginInfo], loaded: Mapping[str, LoadedPlugin]) -> None:
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
            op_type.name: RegisteredOpType(
                op_type.name, op_type.description, name, op_type.parallel_tags
            )
            for name, plugin in loaded.items()
            for op_type in plugin.op_types
        }

    def op_types(self) -> Mapping[str, RegisteredOpType]:
        """The op types of all active plugins, by name."""
        return dict(sorted(self._op_types.items()))

    def check_there_are_plugins(self) -> None:
        """Refuse to look for kernels where nothing could find one: all would seem well.

        Raises:
            PluginError: no plugin is in use.
        """
        if self._active:
            return
        unused = ", ".join(f"{p.label}: {p.status}" for p in self.plugins)
        raise PluginError(
            "no plugin is in use, so that no kernel can be found",
            where="plugins",
            expected="a plugin for each op type that is wanted",
            found=unused or "none is installed",
            hint="pip install fibcore[ops] installs fibcore's own; `fibcore plugins` lists them",
        )

    def distributions(self) -> frozenset[str]:
        """The distributions of the plugins in use."""
        return frozenset(p.distribution for p in self._active.values() if p.distribution)

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
                lambda result: kernel_checks.check_extraction(result, tree, info.op_types),
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
        found = self._ask_owner(
            "fibcore_reference",
            kernel.op_type,
            f"kernel {kernel.name}",
            lambda result: kernel_checks.check_reference(result, kernel),
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
        found = self._ask_owner(
            "fibcore_identify",
            definition.op_type,
            f"definition {definition.name}",
            checks.check_identity,
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

    def ground_truths(self, definition: Definition) -> GroundTruthResult:
        """What a definition's reference can be compared with, of all plugins.

        Those of the plugin that owns the op type come first, the preferred one first. A plugin
        that fails takes nothing from the others: its error stands in the result.
        """
        owner = self._op_types.get(definition.op_type)
        offered: dict[str, tuple[str, GroundTruth]] = {}
        errors: list[HookError] = []
        for plugin in sorted(self._active, key=lambda p: (owner is None or p != owner.plugin, p)):
            try:
                found = self._ground_truths_of(plugin, definition)
            except HookError as error:
                errors.append(error)
                continue
            for truth in found:
                first, _ = offered.setdefault(truth.name, (plugin, truth))
                if first != plugin:
                    errors.append(self._same_name(plugin, first, truth, definition))
        return GroundTruthResult(tuple(offered.values()), tuple(errors))

    def _ground_truths_of(self, plugin: str, definition: Definition) -> tuple[GroundTruth, ...]:
        found = self._call(
            plugin,
            "fibcore_ground_truths",
            f"definition {definition.name}",
            checks.check_ground_truths,
            {"definition": definition},
        )
        return found or ()

    def _same_name(
        self, plugin: str, first: str, truth: GroundTruth, definition: Definition
    ) -> HookError:
        return HookError(
            self._active[plugin],
            "fibcore_ground_truths",
            f"plugin {self._active[first].label} has a ground truth of this name",
            f"definition {definition.name}",
            truth.name,
        )

    def test_template(self, op_type: str) -> TestTemplate | None:
        """The test sizes, inputs and properties of an op type; None where its owner has none.

        Raises:
            HookError: the plugin raised, or returned what is no template of this op type.
        """
        return self._ask_owner(
            "fibcore_test_template",
            op_type,
            f"op type {op_type}",
            lambda result: checks.check_test_template(result, op_type),
            {"op_type": op_type},
        )

    def workloads(
        self, definition: Definition, constants: Mapping[str, Scalar], seed: int
    ) -> tuple[WorkloadCase, ...] | None:
        """The sizes to benchmark of a definition, small to large; None where its owner has none.

        Raises:
            HookError: the plugin raised, or returned what are no cases of this definition.
        """
        return self._ask_owner(
            "fibcore_workloads",
            definition.op_type,
            f"definition {definition.name}",
            lambda result: checks.check_workloads(result, definition),
            {"definition": definition, "constants": constants, "seed": seed},
        )

    def cost(
        self,
        definition: Definition,
        axes: Mapping[str, int],
        values: Mapping[str, Sequence[int]] | None = None,
    ) -> Cost:
        """What one call of a definition costs at some sizes.

        Args:
            definition: The definition.
            axes: Sizes of the var axes.
            values: Elements of integer inputs, as far as they are known.

        Raises:
            HookError: the plugin raised, or returned what is no cost.
            KeyError: a var axis has no size.
        """
        axes = {name: axes[name] for name in definition.var_axes}
        found = self._ask_owner(
            "fibcore_cost",
            definition.op_type,
            f"definition {definition.name}",
            checks.check_cost,
            {"definition": definition, "axes": axes, "values": values or {}},
        )
        return found or whole(definition, axes)

    def step_sizes(self, kernel: Kernel, batch: StepBatch) -> Mapping[str, int]:
        """Sizes of var axes of a kernel in a step that its owner tells; empty where it tells none.

        Raises:
            HookError: the plugin raised, or returned what are no sizes.
        """
        found = self._ask_owner(
            "fibcore_step_sizes",
            kernel.op_type,
            f"kernel {kernel.name}",
            checks.check_step_sizes,
            {"kernel": kernel, "batch": batch},
        )
        return found or {}

    def implementations(self, definition: Definition) -> tuple[Implementation, ...]:
        """Right and wrong implementations of a definition; empty where its owner has none.

        Raises:
            HookError: the plugin raised, or returned what are no implementations.
        """
        found = self._ask_owner(
            "fibcore_implementations",
            definition.op_type,
            f"definition {definition.name}",
            checks.check_implementations,
            {"definition": definition},
        )
        return found or ()

    def exports(self) -> tuple[tuple[str, ExportFormat], ...]:
        """The formats that plugins write kernels in, each with the plugin's name.

        Raises:
            HookError: a plugin raised, or returned what are no formats.
        """
        return tuple(
            (name, one)
            for name, info in self._active.items()
            for one in self._call(
                name, "fibcore_exports", f"plugin {info.label}", checks.check_exports, {}
            )
            or ()
        )

    def _ask_owner(
        self,
        hook: str,
        op_type: str,
        subject: str,
        check: Callable[[object], T],
        arguments: Mapping[str, object],
    ) -> T | None:
        """Call a hook of the plugin that owns an op type; None where nobody does, or has it."""
        owner = self._op_types.get(op_type)
        if owner is None:
            return None
        return self._call(owner.plugin, hook, subject, check, arguments)

    def _call(
        self,
        plugin: str,
        hook: str,
        subject: str,
        check: Callable[[object], T],
        arguments: Mapping[str, object],
    ) -> T | None:
        """Call the hook of one plugin; None where the plugin does not implement it."""
        info = self._active[plugin]
        caller: pluggy.HookCaller = getattr(self._hooks[plugin], hook)
        if not caller.get_hookimpls():
            return None
        try:
            result = caller(**arguments)
        except ConfigError:
            raise  # not a plugin's mistake: the model cannot be served like that
        except (Exception, SystemExit) as error:
            import logging  # for errors alone

            # Errors go into reports, which have no place for where in the plugin it happened.
            log = logging.getLogger("fibcore.ops")
            log.debug("plugin %s, hook %s, %s", info.label, hook, subject, exc_info=error)
            raise HookError(info, hook, "the plugin failed", subject, describe(error)) from error
        try:
            return check(result)
        except ValueError as error:
            message = "the plugin returned what the hook does not allow"
            raise HookError(info, hook, message, subject, str(error)) from error


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
    infos, loaded = find_and_load(disable=disable, require=require, extra=extra, discover=discover)
    _check_claims(loaded, infos)
    return Registry(infos, loaded)


def _check_claims(loaded: Mapping[str, LoadedPlugin], infos: Sequence[PluginInfo]) -> None:
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
