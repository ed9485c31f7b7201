"""Writes baseline solutions into a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fibcore.benchmarking.solutions.render import (
    REFERENCE,
    file_of,
    render_reference,
    render_solution,
    solution_name,
    state_of,
)
from fibcore.benchmarking.solutions.report import AddSolutionsReport
from fibcore.dataset import Dataset
from fibcore.dataset.generated_files import GeneratedFiles
from fibcore.dataset.selection import chosen_definitions, open_dataset
from fibcore.errors import FibcoreError, PluginError, UsageError
from fibcore.keywords import api, several
from fibcore.model.definition import Definition
from fibcore.ops.checks import FILE_NAME
from fibcore.ops.hookspecs import GroundTruth
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fibcore.ops.registry import Registry

Capability = tuple[int, int]

AUTHOR = "baseline"
"""The author of solutions that others are compared with."""


@api(Where)
def add_solutions(
    *,
    op_type: str | Sequence[str] = (),
    definition_name: str | Sequence[str] = (),
    all_: bool = False,
    author: str = AUTHOR,
    capability: Capability | None = None,
    force: bool = False,
    **where: Unpack[Where],
) -> AddSolutionsReport:
    """Write `solutions/<author>/<op_type>/<definition>/<solution>.json`, one for each ground truth.

    Exactly one of the three selectors is required. A solution is the source of the ground truth
    that the reference tests compare with, and a `run` with the definition's inputs. Ground truths
    out of SGLang are left out: they are read from its source, which a solution does not have. Where
    that leaves none, the definition's reference is its baseline. A file that was edited since it
    was generated, or that fibcore did not write, is kept and reported. The same call again changes
    no byte.

    Args:
        op_type: Op types whose definitions get solutions.
        definition_name: Names of single definitions.
        all_: Every definition of the dataset.
        author: Whose solutions they are, which is a folder and a field. flashinfer-bench looks for
            baselines of the author "baseline".
        capability: CUDA compute capability of the GPU to benchmark on, (9, 0): what needs another
            one is left out. Without it everything is written.
        force: Replace edited files too.
        **where: Where the dataset is, and the plugins; see `fibcore.workspace.Where`.

    Raises:
        UsageError: no selector or several, an unknown op type or name; an author that is no name
            for a folder.
        DatasetError: there is no such dataset, or it cannot be written.
    """
    if not FILE_NAME.fullmatch(author):
        raise UsageError(
            "not a name for an author",
            where="--author",
            expected="letters, digits and _ . + -",
            found=repr(author),
        )
    workspace = Workspace.of(**where)
    store, registry = open_dataset(workspace.dataset_folder, workspace.registry)
    with store.locked():
        chosen, problems = chosen_definitions(
            store,
            registry,
            op_type=several(op_type),
            definition_name=several(definition_name),
            all_=all_,
        )
        writer = _Writer(store, registry, author, capability, force=force)
        writer.problems += problems
        for definition in chosen:
            writer.add(definition)
        return writer.report()


class _Writer:
    """Writes the files of one call and remembers what became of them."""

    def __init__(
        self,
        dataset: Dataset,
        registry: Registry,
        author: str,
        capability: Capability | None,
        *,
        force: bool,
    ) -> None:
        self.dataset = dataset
        self.registry = registry
        self.author = author
        self.capability = capability
        self.files = GeneratedFiles(dataset, state_of, force=force)
        self.solutions: dict[str, tuple[str, ...]] = {}
        self.left_out: dict[str, dict[str, str]] = {}
        self.without: list[str] = []
        self.problems: list[FibcoreError] = []

    def report(self) -> AddSolutionsReport:
        """The result so far."""
        return AddSolutionsReport(
            self.dataset.root,
            tuple(self.files.written),
            tuple(self.files.unchanged),
            tuple(self.files.refused),
            self.solutions,
            self.left_out,
            tuple(self.without),
            tuple(self.problems),
        )

    def add(self, definition: Definition) -> None:
        """Write the solutions of one definition; what goes wrong is a problem."""
        truths, errors = self.registry.ground_truths(definition)
        self.problems += errors
        if errors and not truths:
            return
        names: list[str] = []
        for _, truth in truths:
            reason = self._reason(truth)
            if reason is not None:
                self.left_out.setdefault(definition.name, {})[truth.name] = reason
                continue
            name = solution_name(definition, truth.entry)
            try:
                if name in names:
                    where = f"definition {definition.name}, ground truth {truth.name}"
                    message = "two ground truths of a definition have one entry"
                    raise PluginError(message, where=where, found=truth.entry)
                text = render_solution(definition, truth, self.author)
            except PluginError as error:
                self.problems.append(error)
                continue
            if self.files.write(file_of(definition, name, self.author), text):
                names.append(name)
        if truths and len(self.left_out.get(definition.name, ())) == len(truths):
            name = solution_name(definition, REFERENCE)
            text = render_reference(definition, self.author)
            if self.files.write(file_of(definition, name, self.author), text):
                names.append(name)
        if names:
            self.solutions[definition.name] = tuple(names)
        else:
            self.without.append(definition.name)

    def _reason(self, truth: GroundTruth) -> str | None:
        """The reason why a ground truth becomes no solution; None where it becomes one."""
        if truth.kind == "sglang":
            return "it reads SGLang's source, which a solution does not have"
        if not truth.solution:
            return "its plugin gives it for tests alone"
        if self.capability is not None and truth.device == "cuda":
            low, high = truth.min_capability, truth.max_capability
            have = ".".join(map(str, self.capability))
            if low is not None and self.capability < low:
                return f"it needs compute capability {low[0]}.{low[1]} or higher, not {have}"
            if high is not None and self.capability > high:
                return f"it needs compute capability {high[0]}.{high[1]} or lower, not {have}"
        return None
