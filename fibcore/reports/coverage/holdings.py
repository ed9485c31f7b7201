"""What a dataset holds of models: definitions, how they were extracted, tests, benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from fibcore.dataset import Dataset, Provenance
from fibcore.dataset.inventory import Inventory
from fibcore.errors import DatasetError, FibcoreError
from fibcore.model.definition import Definition
from fibcore.model.launch import DEFAULT_GPU
from fibcore.model.options import Option, OptionValue
from fibcore.model.serving import Serving
from fibcore.ops.options import DeclaredOptions
from fibcore.regular_files import read_text
from fibcore.verification.add import FOLDER as TESTS
from fibcore.verification.module_rendering import module_file


@attrs.frozen
class Served:
    """One way in which a model is served.

    Attributes:
        tp: Tensor-parallel size.
        ep: Expert-parallel size; 0 stands for the usual one of a TP size.
        options: Options of op types that are recorded, (name, value) in the order of names.
        launch: Options of its launch line that decide about kernels; "" without one.
        gpu: The GPU that serves it.
    """

    tp: int
    ep: int
    options: tuple[tuple[str, OptionValue], ...] = ()
    launch: str = ""
    gpu: str = DEFAULT_GPU

    @classmethod
    def recorded(cls, serving: Serving) -> Served:
        """How a dataset says that a model was served."""
        line = "" if serving.launch is None else serving.launch.line
        options = tuple(sorted(serving.options.items()))
        return cls(serving.tp, serving.ep, options, line, serving.gpu)

    @property
    def line(self) -> str | None:
        """A launch line that serves a model like this; None where the sizes say it all."""
        if not self.launch:
            return None
        return f"{self.launch} --tp-size {self.tp} --ep-size {self.ep}"

    @property
    def words(self) -> tuple[str, ...]:
        """The words of a command line that say it, but for the options of op types."""
        on = () if self.gpu == DEFAULT_GPU else ("--gpu", self.gpu)
        if self.line is not None:
            return ("--launch", self.line, *on)
        return ("--tp", str(self.tp), "--ep", str(self.ep), *on)

    def label(self, declared: DeclaredOptions) -> str:
        """As people read it."""
        further = [self.launch] if self.launch else []
        further += [f"on {self.gpu}"] if self.gpu != DEFAULT_GPU else []
        options = declared.describe(dict(self.options))
        return ", ".join((f"TP {self.tp}", f"EP {self.ep}", *options, *further))


@attrs.define
class DatasetHoldings:
    """What a dataset holds, read once.

    Attributes:
        root: Its folder.
        definitions: The definitions by name.
        provenance: What is recorded of them.
        inventory: Workloads, solutions and traces.
        problems: Files that are not usable.
    """

    root: Path
    definitions: dict[str, Definition]
    provenance: dict[str, Provenance]
    inventory: Inventory
    problems: list[FibcoreError]
    _tests: dict[str, str] = attrs.field(factory=dict)

    def tested(self, definition: Definition) -> bool:
        """Whether a module of the reference tests names a definition."""
        op_type = definition.op_type
        if op_type not in self._tests:
            path = self.root / TESTS / module_file(op_type)
            try:
                self._tests[op_type] = read_text(path) if path.is_file() else ""
            except (OSError, UnicodeDecodeError) as error:
                self._tests[op_type] = ""
                self.problems.append(
                    DatasetError("cannot read the tests", where=str(path), found=str(error))
                )
        return f'"{definition.name}"' in self._tests[op_type]

    def models(self) -> tuple[str, ...]:
        """The models of the tags."""
        names = {m for d in self.definitions.values() for m in d.tag_values("model")}
        return tuple(sorted(names))

    def served(self, model: str) -> dict[Served, None]:
        """How a model was served when its definitions were extracted."""
        entries = [
            entry
            for provenance in self.provenance.values()
            for entry in provenance.entries
            if entry.model == model
        ]
        return dict.fromkeys(Served.recorded(entry.serving) for entry in entries)

    def values(self, option: Option[Any], model: str) -> set[Any]:
        """The values of an option that a model's definitions were extracted for."""
        return {
            fact.value
            for p in self.provenance.values()
            for entry in p.entries
            if entry.model == model
            for fact in entry.facts.values()
            if option.origin in fact.origins and option.takes(fact.value)
        }


def read_holdings(root: Path, inventory: Inventory) -> DatasetHoldings:
    """Read what a dataset holds; a folder that is not there is an empty one.

    Raises:
        DatasetError: the folder of definitions cannot be read at all.
    """
    store = Dataset(root)
    definitions, broken = store.read()
    problems: list[FibcoreError] = [*broken, *inventory.errors]
    provenance = {}
    for definition in definitions:
        try:
            record = store.provenance(definition.name)
        except DatasetError as error:
            problems.append(error)
            continue
        if record is not None:
            provenance[definition.name] = record
    return DatasetHoldings(root, {d.name: d for d in definitions}, provenance, inventory, problems)
