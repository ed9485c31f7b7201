"""A file of a dump made a definition: every repair is named, what cannot be repaired is refused.

The faults are those of flashinfer-python 0.6.13 and 0.7.4 (`flashinfer/trace/template.py`,
`build_fi_trace_fn`), found in dumps of all its templates.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping

import attrs

from fibcore.errors import DefinitionError, TraceError
from fibcore.model.definition import Axis, Definition, TensorSpec
from fibcore.model.dtypes import DTYPES
from fibcore.ops.checks import FILE_NAME
from fibcore.ops.registry import Registry
from fibcore.traces.disagreements import disagreements
from fibcore.traces.reading import UNKNOWN, TracedTensor, TraceFile
from fibcore.traces.reads import reads
from fibcore.traces.references import Reference, analyse, is_whole, parameters_of, with_run

INDEX_DTYPE = "int32"
"""What FlashInfer's kernels take for offsets, page numbers and lengths."""

INDEX_NAME = re.compile(r"(^|_)(indptr|indices|index|ids|lens?|lengths?|offsets?|tables?)$")
"""Names of tensors that hold such numbers and never data."""


@attrs.frozen
class Repair:
    """One thing that was wrong in a file, and what was done about it.

    Attributes:
        place: JSON path.
        message: What was wrong and what was done, as a sentence.
    """

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@attrs.frozen
class Repaired:
    """A definition out of a dump, and all that was repaired in it."""

    definition: Definition
    repairs: tuple[Repair, ...]


def repair(file: TraceFile, registry: Registry, tags: Iterable[str] = ()) -> Repaired:
    """Make the definition of a traced kernel.

    Args:
        file: The dump's file.
        registry: The plugins, which know what cannot be in a definition of their op types.
        tags: Tags to add.

    Raises:
        TraceError: the file has a fault that cannot be repaired without a guess; it says where.
    """
    return _Repair(file).run(registry, tuple(tags))


class _Repair:
    """The work on one file."""

    def __init__(self, file: TraceFile) -> None:
        self.file = file
        self.repairs: list[Repair] = []
        self.inputs: dict[str, TracedTensor] = dict(file.inputs)
        self.outputs: dict[str, TracedTensor] = dict(file.outputs)
        self.dropped: set[str] = set()

    def run(self, registry: Registry, tags: tuple[str, ...]) -> Repaired:
        file = self.file
        for place in file.extra:
            self._note(place, "no key of a definition; left out")
        self._names()
        reference = analyse(file.reference, file.file)
        self._unread_inputs(reference)
        self._absent_inputs(reference)
        mapping = parameters_of(reference, list(self.inputs), file.file)
        for place, expected, found in disagreements(file, reference, mapping):
            raise self._refusal(place, "the tensors disagree", expected, found)
        written = self._outputs(reference)
        self._optional()
        axes = self._axes()
        inputs = self._specs("inputs", self.inputs)
        outputs = self._specs("outputs", self.outputs)
        constraints = self._constraints(axes)
        checks = list(_checks(axes, inputs, constraints))
        source = reference.source
        if not is_whole(reference, list(inputs)):
            name = reference.function.name
            source = with_run(reference, list(inputs), mapping, checks=checks, written=written)
            checked = " and checks sizes and constraints" if checks else ""
            self._note(
                "$.reference",
                f"it has no run with the inputs in order; one that calls {name}{checked} is added",
            )
            if reference.typing_names:
                names = ", ".join(reference.typing_names)
                self._note("$.reference", f"{names} of typing is used and not imported; imported")
        definition = self._definition(axes, inputs, outputs, constraints, source, self._tags(tags))
        for finding in registry.identify(definition).contradictions:
            raise self._refusal("$.axes", "the sizes contradict each other", None, finding)
        return Repaired(definition, tuple(self.repairs))

    def _note(self, place: str, message: str) -> None:
        self.repairs.append(Repair(place, message))

    def _refusal(
        self,
        place: str,
        message: str,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
    ) -> TraceError:
        where = f"{self.file.file} {place}"
        return TraceError(message, where=where, expected=expected, found=found, hint=hint)

    def _names(self) -> None:
        for key in ("name", "op_type"):
            value = getattr(self.file, key)
            if not FILE_NAME.fullmatch(value):
                expected = "letters, digits, _ - + . (no . first)"
                raise self._refusal(f"$.{key}", "it cannot be a file name", expected, repr(value))

    def _unread_inputs(self, reference: Reference) -> None:
        """Leave out optional inputs that are for the kernel alone."""
        dtypes = {name: tensor.dtype for name, tensor in self.inputs.items()}
        known = {name: dtype for name, dtype in dtypes.items() if dtype in DTYPES}
        read = reads(reference.function, known)
        unmatched = [name for name in reference.open if name not in self.inputs]
        for name, tensor in list(self.inputs.items()):
            if not tensor.optional or name in read or name in reference.required:
                continue
            if name in reference.parameters:
                why = "the reference does not read this optional input"
            elif reference.function.args.kwarg is None and not unmatched:
                why = "the reference does not take this optional input"
            else:
                continue
            del self.inputs[name]
            self.dropped.add(name)
            self._note(f"$.inputs.{name}", f"{why}; left out")

    def _absent_inputs(self, reference: Reference) -> None:
        """Tensors that the traced call did not get, so that their dtype is not known."""
        for name, tensor in list(self.inputs.items()):
            if tensor.dtype != UNKNOWN:
                continue
            place = f"$.inputs.{name}"
            if INDEX_NAME.search(name) and tensor.shape:
                self.inputs[name] = attrs.evolve(tensor, dtype=INDEX_DTYPE)
                self._note(f"{place}.dtype", f"unknown of an index tensor; {INDEX_DTYPE}")
            elif tensor.optional and name in reference.parameters:
                if name in reference.required:
                    raise self._refusal(
                        f"{place}.dtype",
                        "the dtype is unknown, and the reference cannot do without the tensor",
                        "a dtype of the format",
                        "unknown, as the traced call did not pass it",
                    )
                del self.inputs[name]
                self.dropped.add(name)
                self._note(place, "the traced call did not pass this optional input; left out")
            else:
                raise self._refusal(
                    f"{place}.dtype",
                    "the dtype of a data tensor is unknown",
                    "a dtype of the format",
                    "unknown, as tracing found no tensor under this name",
                    "trace a call that passes it as one tensor",
                )

    def _outputs(self, reference: Reference) -> dict[str, str]:
        """Give outputs names of their own; the result is what `run` has to copy and return.

        An output that repeats an input is that input after the call: the reference returns it,
        or writes into it, or does neither and the output is left out.
        """
        repeated = [name for name in self.outputs if name in self.file.inputs]
        returned = reference.returned
        if returned is None and len(self.outputs) == 1:
            returned = 1  # whatever it returns is the one output
        if returned == len(self.outputs):
            for name in repeated:
                self._rename(name, "the name of an input")
            return {}
        if repeated and returned == len(self.outputs) - len(repeated) != 0:
            for name in repeated:
                del self.outputs[name]
                self.dropped.add(name)
                self._note(
                    f"$.outputs.{name}",
                    "it repeats an input, and the reference does not return it; left out",
                )
            return {}
        if returned == 0 and len(repeated) == len(self.outputs):
            written = {name: self._rename(name, "the name of an input") for name in repeated}
            self._note(
                "$.reference", "it writes into its inputs; run gives it copies and returns them"
            )
            return written
        raise self._refusal(
            "$.outputs",
            "the reference does not return the outputs",
            f"{len(self.outputs)} values: {', '.join(self.outputs)}",
            "a number of values that its text does not tell"
            if returned is None
            else f"{returned} values",
        )

    def _rename(self, name: str, why: str) -> str:
        new = f"updated_{name}"
        while new in self.inputs or new in self.outputs or new in self.file.axes:
            new = f"updated_{new}"
        self.outputs = {new if n == name else n: t for n, t in self.outputs.items()}
        self._note(f"$.outputs.{name}", f"it has {why}; called {new}")
        return new

    def _optional(self) -> None:
        for group, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            for name, tensor in tensors.items():
                if tensor.optional:
                    self._note(f"$.{group}.{name}.optional", "no key of a definition; left out")

    def _axes(self) -> dict[str, Axis]:
        tensors = [*self.inputs.values(), *self.outputs.values()]
        used = dict.fromkeys(axis for tensor in tensors for axis in tensor.shape or ())
        axes = {}
        for name, (kind, size, description) in self.file.axes.items():
            place = f"$.axes.{name}"
            if name not in used and (kind == "var" or size is None):
                self._note(
                    place, "no tensor has this axis, so that nothing gives it a size; left out"
                )
                self.dropped.add(name)
                continue
            if kind == "const" and size is None:
                raise self._refusal(
                    place,
                    "a const axis without a size",
                    "the size that the traced tensors have there",
                    "no value, as tracing found no tensor with this axis",
                )
            axes[name] = Axis("const" if kind == "const" else "var", size, description)
        for name in used:
            if name not in axes:
                axes[name] = Axis("var")
                self._note(f"$.axes.{name}", "tensors have this axis and axes does not; a var axis")
        return axes

    def _specs(self, group: str, tensors: Mapping[str, TracedTensor]) -> dict[str, TensorSpec]:
        specs = {}
        for name, tensor in tensors.items():
            place = f"$.{group}.{name}"
            shape = tensor.shape
            if shape == ():
                shape = None
                self._note(f"{place}.shape", "[] for a scalar; null")
            if tensor.dtype not in DTYPES:
                raise self._refusal(
                    f"{place}.dtype",
                    "the dtype of a data tensor is unknown"
                    if tensor.dtype == UNKNOWN
                    else "a dtype that the format does not have",
                    "one of " + ", ".join(DTYPES),
                    repr(tensor.dtype),
                )
            specs[name] = TensorSpec(shape, tensor.dtype, tensor.description)
        return specs

    def _constraints(self, axes: Mapping[str, Axis]) -> tuple[str, ...]:
        kept = []
        for index, constraint in enumerate(self.file.constraints):
            place = f"$.constraints[{index}]"
            gone = sorted(_names(constraint) & (self.dropped - set(axes) - set(self.inputs)))
            if gone:
                self._note(place, f"it is about {', '.join(gone)}, which was left out; left out")
            else:
                kept.append(constraint)
        return tuple(kept)

    def _tags(self, more: tuple[str, ...]) -> tuple[str, ...]:
        kept = []
        for tag in self.file.tags:
            category, _, value = tag.partition(":")
            if not category or (":" in tag and not value):
                self._note("$.tags", f"{tag!r} is no category:value and no flag; left out")
            elif category == "status":
                if value != "unverified":
                    message = f"{tag}, which nothing proves here; status:unverified"
                    self._note("$.tags", message)
            else:
                kept.append(tag)
        if not self.file.tag_values("status"):
            self._note("$.tags", "no status; status:unverified")
        if not self.file.tag_values("fi_api"):
            self._note(
                "$.tags", "no fi_api, so that the traced function is not known; none is added"
            )
        return (*kept, *more, "status:unverified")

    def _definition(
        self,
        axes: Mapping[str, Axis],
        inputs: Mapping[str, TensorSpec],
        outputs: Mapping[str, TensorSpec],
        constraints: tuple[str, ...],
        reference: str,
        tags: tuple[str, ...],
    ) -> Definition:
        try:
            return Definition(
                self.file.name,
                self.file.op_type,
                axes,
                inputs,
                outputs,
                reference,
                self.file.description,
                tags,
                constraints,
            )
        except DefinitionError as error:
            place = f"$.{error.where}" if error.where else "$"
            raise self._refusal(
                place, error.message, error.expected, error.found, error.hint
            ) from None


def _names(expression: str) -> set[str]:
    try:
        tree = ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()  # the definition refuses it, and says so
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _checks(
    axes: Mapping[str, Axis], inputs: Mapping[str, TensorSpec], constraints: Iterable[str]
) -> Iterable[str]:
    """Statements that hold the inputs against const axes and constraints."""
    where: dict[str, str] = {}
    for name, spec in inputs.items():
        for dimension, axis in enumerate(spec.shape or ()):
            where.setdefault(axis, f"{name}.shape[{dimension}]")
    for axis, size in ((n, a.value) for n, a in axes.items() if a.value is not None):
        if axis in where:
            yield f"assert {where[axis]} == {size}, {axis!r}"
    bound: set[str] = set()
    for constraint in constraints:
        needed = [axis for axis in axes if axis in _names(constraint) - set(inputs)]
        if any(axis not in where for axis in needed):
            continue  # a const axis that no input has
        for axis in needed:
            if axis not in bound:
                bound.add(axis)
                yield f"{axis} = {where[axis]}"
        yield f"assert {constraint}"
