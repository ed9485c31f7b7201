"""Writes reference tests into a dataset."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.dataset import Dataset
from fibcore.dataset.generated_files import GeneratedFiles, Refusal
from fibcore.dataset.seals import State, seal, state_of
from fibcore.dataset.selection import Selection, no_definitions, open_dataset, select
from fibcore.errors import FibcoreError, PluginError, UsageError
from fibcore.keywords import api, several
from fibcore.model.definition import Definition
from fibcore.progress import report, report_at, report_end
from fibcore.verification.emitted import conftest_text
from fibcore.verification.module_rendering import (
    TestedDefinition,
    covered_definitions,
    module_file,
    render_module,
)
from fibcore.verification.report import AddTestsReport
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fibcore.ops.hookspecs import GroundTruth, TestTemplate
    from fibcore.ops.registry import Registry

FOLDER = "tests/references"
CONFTEST = f"{FOLDER}/conftest.py"
STEP = "writing the reference tests"


@api(Where)
def add_reference_tests(
    *,
    op_type: str | Sequence[str] = (),
    definition_name: str | Sequence[str] = (),
    definitions_dir: str | Path | None = None,
    all_: bool = False,
    tolerance: float | None = None,
    per_definition: bool = False,
    force: bool = False,
    **where: Unpack[Where],
) -> AddTestsReport:
    """Write `tests/references/conftest.py` and one `test_<op_type>.py` per op type.

    Exactly one of the four selectors is to be given. A module covers all definitions of its op
    type; with `definition_name` those that it covers already and the named ones. A file that was
    edited since it was generated, or that fibcore did not write, is kept and reported. What is
    already as it should be is not written again.

    Args:
        op_type: Op types whose definitions are to be tested.
        definition_name: Names of single definitions.
        definitions_dir: The dataset's folder `definitions`, or one of the folders in it. Where no
            dataset is named, the folder says which one is meant.
        all_: Every definition of the dataset.
        tolerance: rtol and atol of the chosen definitions, in place of the defaults by dtype. It
            stays with a definition until another one is given, or `force`.
        per_definition: One `test_<definition>.py` for each of the chosen definitions, as pull
            requests to the published dataset have them. An op type that has its own module here
            keeps it, and is refused: each definition would be tested twice.
        force: Replace edited files too, and go back to default tolerances.
        **where: Where the dataset is, and the plugins; see `fibcore.workspace.Where`.

    Raises:
        UsageError: no selector or several, an unknown op type or name, a tolerance below 0.
        DatasetError: there is no such dataset, or it cannot be written.
    """
    given = [bool(op_type), bool(definition_name), definitions_dir is not None, all_]
    if sum(given) != 1:
        raise UsageError(
            "say which definitions are to be tested",
            expected="one of --op-type, --definition-name, --definitions-dir, --all",
            found=f"{sum(given)} of them",
        )
    check_tolerance(tolerance)
    workspace = Workspace.of(**where)
    folder = None if definitions_dir is None else Path(definitions_dir)
    dataset = workspace.dataset or (folder and _dataset_of(folder)) or workspace.dataset_folder
    store, registry = open_dataset(dataset, workspace.registry)
    op_type, definition_name = several(op_type), several(definition_name)
    if folder is not None:
        op_type = _op_types_below(dataset, folder)
    with store.locked():
        selection = select(
            store,
            op_type=op_type,
            definition_name=definition_name,
            known_op_types=registry.op_types(),
        )
        writer = _Writer(store, registry, force=force, per_definition=per_definition)
        writer.problems += selection.errors
        for wanted in op_type:
            if wanted not in selection.op_types:
                writer.problems.append(no_definitions(f"of the op type {wanted}"))
        if not op_type and not selection.op_types:
            writer.problems.append(no_definitions(f"in {dataset}"))
        total, progress = len(selection.op_types), workspace.progress
        for done, name in enumerate(selection.op_types):
            report(progress, STEP, done, total)
            report_at(progress, STEP, name)
            begun, before = time.monotonic(), len(writer.tests)
            writer.add_module(name, selection, tolerance, whole=not definition_name)
            tested = f"tests of {len(writer.tests) - before} definitions"
            report_end(progress, f"[{done + 1}/{total}] {name}", tested, time.monotonic() - begun)
        if total:
            report(progress, STEP, total, total)
        return writer.report()


def check_tolerance(tolerance: float | None) -> None:
    """Refuse a tolerance that is no number of at least 0.

    Raises:
        UsageError: it is none.
    """
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0):
        raise UsageError(
            "no such tolerance",
            where="--tolerance",
            expected="a number of at least 0",
            found=repr(tolerance),
        )


def _dataset_of(folder: Path) -> Path | None:
    """The dataset that `.../definitions` or `.../definitions/OP_TYPE` is in."""
    folder = folder.absolute()
    named = folder if folder.name == "definitions" else folder.parent
    return named.parent if named.name == "definitions" else None


def _op_types_below(dataset: Path, folder: Path) -> tuple[str, ...]:
    """The op types that a folder of definitions means; () for all.

    Raises:
        UsageError: the folder is not one of the dataset's definitions.
    """
    definitions = (dataset / "definitions").resolve()
    real = folder.resolve()
    if real == definitions:
        return ()
    if real.parent == definitions and real.is_dir():
        return (real.name,)
    raise UsageError(
        "the folder is not one of the dataset's definitions",
        where=f"--definitions-dir {folder}",
        expected=f"{dataset / 'definitions'} or a folder in it",
        hint="--dataset names another dataset",
    )


@attrs.frozen
class _Offered:
    """What plugins offer for a definition: (plugin, ground truth), and the tolerance."""

    truths: tuple[tuple[str, GroundTruth], ...]
    tolerance: float | None

    def of(self, plugins: Collection[str | None]) -> TestedDefinition:
        """With the ground truths of these plugins alone."""
        truths = tuple(truth for plugin, truth in self.truths if plugin in plugins)
        return TestedDefinition(truths, self.tolerance)


def _from(plugin: str | None, error: PluginError) -> PluginError:
    """The error, with the plugin whose ground truths it is about."""
    return PluginError(
        error.message,
        where=f"ground truths of plugin {plugin}, {error.where}",
        expected=error.expected,
        found=error.found,
        hint=error.hint,
    )


class _Writer:
    """Writes the files of one call and remembers what became of them."""

    def __init__(
        self, dataset: Dataset, registry: Registry, *, force: bool, per_definition: bool
    ) -> None:
        self.dataset = dataset
        self.per_definition = per_definition
        self.registry = registry
        self.force = force
        self.files = GeneratedFiles(dataset, state_of, force=force)
        self.tests: dict[str, str] = {}
        self.ground_truths: dict[str, tuple[str, ...]] = {}
        self.problems: list[FibcoreError] = []
        self.conftest: bool | None = None

    def report(self) -> AddTestsReport:
        """What was done."""
        return AddTestsReport(
            self.dataset.root,
            tuple(self.files.written),
            tuple(self.files.unchanged),
            tuple(self.files.refused),
            dict(sorted(self.tests.items())),
            dict(sorted(self.ground_truths.items())),
            tuple(self.problems),
        )

    def add_module(
        self, op_type: str, selection: Selection, tolerance: float | None, *, whole: bool
    ) -> None:
        """Write the test module of an op type, and conftest.py before the first of them.

        Args:
            op_type: The op type.
            selection: What was chosen.
            tolerance: Of the chosen definitions; None leaves theirs.
            whole: Whether the module is to cover all definitions of the op type.
        """
        try:
            template = self.registry.test_template(op_type)
            if template is None:
                raise PluginError(
                    "no plugin has tests for this op type",
                    where=op_type,
                    expected="a plugin that implements fibcore_test_template for it",
                    found=", ".join(p.label for p in self.registry.plugins) or "no plugin",
                    hint="fibcore plugins shows which plugins are active",
                )
        except PluginError as error:
            self.problems.append(error)
            return
        path = f"{FOLDER}/{module_file(op_type)}"
        before = covered_definitions(self.files.read(path) or "")
        if self.per_definition:
            if self.files.read(path) is not None:
                self.files.refused.append(
                    Refusal(path, "its definitions would be tested twice; remove it first")
                )
                return
            for definition in selection.of(op_type):
                if definition.name in selection.names:
                    self._add_one(definition, template, selection, tolerance)
            return
        covered = [
            d
            for d in selection.of(op_type)
            if whole or d.name in before or d.name in selection.names
        ]
        offered = self._with_ground_truths(covered, before, selection.names, tolerance)
        self._write(path, op_type, template, offered)

    def _add_one(
        self,
        definition: Definition,
        template: TestTemplate,
        selection: Selection,
        tolerance: float | None,
    ) -> None:
        """Write the module of one definition."""
        path = f"{FOLDER}/{module_file(definition.name)}"
        before = covered_definitions(self.files.read(path) or "")
        offered = self._with_ground_truths([definition], before, selection.names, tolerance)
        self._write(path, definition.op_type, template, offered, only=definition.name)

    def _write(
        self,
        path: str,
        op_type: str,
        template: TestTemplate,
        offered: Mapping[str, _Offered],
        *,
        only: str | None = None,
    ) -> None:
        rendered = self._render(op_type, template, offered, only)
        if rendered is None:
            return
        text, tested = rendered
        if not self._write_conftest():
            self.files.refused.append(
                Refusal(path, f"it needs fibcore's {CONFTEST}, which was refused")
            )
        elif self.files.write(path, text):
            for name, entry in tested.items():
                self.tests[name] = path
                self.ground_truths[name] = tuple(truth.name for truth in entry.truths)

    def _with_ground_truths(
        self,
        definitions: Sequence[Definition],
        before: Mapping[str, float | None],
        chosen: frozenset[str],
        tolerance: float | None,
    ) -> dict[str, _Offered]:
        owner = self._owner(definitions[0].op_type) if definitions else None
        offered = {}
        for definition in definitions:
            own = before.get(definition.name)
            if definition.name in chosen and (self.force or tolerance is not None):
                own = tolerance
            found = self.registry.ground_truths(definition)
            self.problems += found.errors
            # Without its owner's its properties are tested still, and the module says what is
            # missing.
            if not any(error.plugin == owner for error in found.errors):
                offered[definition.name] = _Offered(found.offered, own)
        return offered

    def _owner(self, op_type: str) -> str | None:
        known = self.registry.op_types().get(op_type)
        return None if known is None else known.plugin

    def _render(
        self,
        op_type: str,
        template: TestTemplate,
        offered: Mapping[str, _Offered],
        only: str | None,
    ) -> tuple[str, dict[str, TestedDefinition]] | None:
        """The module's text and what it knows of definitions; None where the owner's does not work.

        The ground truths of every other plugin come in by themselves: those that cannot be in a
        test module (they import what is not there) are left out, and a problem says so.
        """
        names = {plugin for each in offered.values() for plugin, _ in each.truths}
        owner = self._owner(op_type)
        rendered = None
        taken: list[str | None] = []
        for plugin in (owner, *sorted(names - {owner})):
            tested = {name: each.of((*taken, plugin)) for name, each in offered.items()}
            try:
                rendered = render_module(op_type, template, tested, only=only), tested
            except PluginError as error:
                self.problems.append(_from(plugin, error))
                if plugin == owner:
                    return None
            else:
                taken.append(plugin)
        return rendered

    def _write_conftest(self) -> bool:
        """Write conftest.py; whether the test modules can be run with the one that is there now."""
        if self.conftest is None:
            text = seal(conftest_text())
            # An edited conftest.py serves the modules, too; one that fibcore never wrote does not.
            old = self.files.read(CONFTEST)
            edited = old is not None and state_of(old) is State.EDITED
            self.conftest = self.files.write(CONFTEST, text) or edited
        return self.conftest
