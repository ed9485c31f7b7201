"""The definition of a kernel, as flashinfer-trace stores it: model, checks, JSON form.

A `Definition` that exists is valid: construction checks every rule of the format that can be
checked without running the reference.
"""

from __future__ import annotations

import ast
import functools
import keyword
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from fibcore.errors import DefinitionError
from fibcore.model.dtypes import DTYPES
from fibcore.model.json import (
    configure,
    from_data,
    from_text,
    structure_by,
    to_data,
    to_text,
    write_by,
)
from fibcore.syntax import MAX_NESTING, is_nested_deeply, walk

CONSTRAINT_BUILTINS = frozenset({"abs", "all", "any", "int", "len", "max", "min", "range", "sum"})
"""The builtins that a constraint may call."""

MAX_SIZE = 2**63 - 1
"""The largest size of an axis, as tensors have it."""

MAX_CONSTRAINT = 10_000
MAX_REFERENCE = 1 << 20
"""The most characters of a constraint and of a reference: parsed, text takes 500 times its size."""


@attrs.frozen
class Axis:
    """A named dimension: `const` with a value, or `var` bound by the inputs at run time."""

    type: Literal["const", "var"]
    value: int | None = None
    description: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.type not in ("const", "var"):
            raise DefinitionError(
                "unknown axis type", where="type", expected="const or var", found=repr(self.type)
            )
        if self.type == "const":
            whole = isinstance(self.value, int) and not isinstance(self.value, bool)
            if not whole or not 0 <= (self.value or 0) <= MAX_SIZE:
                raise DefinitionError(
                    "a const axis needs its size",
                    where="value",
                    expected=f"an integer from 0 to {MAX_SIZE}",
                    found=repr(self.value),
                )
        elif self.value is not None:
            raise DefinitionError(
                "a var axis has no value",
                where="value",
                expected="no value",
                found=repr(self.value),
            )


def const(value: int, description: str | None = None) -> Axis:
    """A const axis of `value` elements."""
    return Axis("const", int(value), description)


def var(description: str | None = None) -> Axis:
    """A var axis."""
    return Axis("var", None, description)


@attrs.frozen
class TensorSpec:
    """An input or output: its shape as axis names (None for a scalar) and its dtype."""

    shape: tuple[str, ...] | None
    dtype: str
    description: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise DefinitionError(
                "unknown dtype",
                where="dtype",
                expected="one of " + ", ".join(DTYPES),
                found=repr(self.dtype),
            )


def tensor(shape: str, dtype: str, description: str | None = None) -> TensorSpec:
    """A tensor; `shape` is its axis names with blanks between, `"num_pages page_size"`."""
    return TensorSpec(tuple(shape.split()), dtype, description)


def scalar(dtype: str, description: str | None = None) -> TensorSpec:
    """A scalar input."""
    return TensorSpec(None, dtype, description)


def _sorted_tags(tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(tags)))


def _in_order(constraints: Iterable[str]) -> tuple[str, ...]:
    return tuple(constraints)


@attrs.frozen(eq=False)
class Definition:
    """One kernel definition.

    Attributes:
        name: Unique name with the parameters in it; also the file name.
        op_type: The folder it lives in.
        axes: Axis name to `Axis`, in order.
        inputs: Input name to `TensorSpec`, in the order of `run`'s parameters.
        outputs: Output name to `TensorSpec`, in the order that `run` returns them.
        reference: Source of a module with a top-level `run`.
        description: For people.
        tags: `category:value` strings and flags (`fused`), sorted and without repeats.
        constraints: Python expressions over axes and inputs.
    """

    name: str
    op_type: str
    axes: Mapping[str, Axis]
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    reference: str
    description: str | None = None
    tags: tuple[str, ...] = attrs.field(default=(), converter=_sorted_tags)
    constraints: tuple[str, ...] = attrs.field(default=(), converter=_in_order)

    def __attrs_post_init__(self) -> None:
        _check(self)

    @property
    def const_axes(self) -> dict[str, int]:
        """Sizes of the const axes."""
        return {n: a.value for n, a in self.axes.items() if a.value is not None}

    @property
    def var_axes(self) -> tuple[str, ...]:
        """Names of the var axes."""
        return tuple(n for n, a in self.axes.items() if a.type == "var")

    @property
    def reference_hash(self) -> str:
        """SHA-256 of the reference, which evidence refers to."""
        import hashlib  # with OpenSSL, which costs 3 ms

        return hashlib.sha256(self.reference.encode()).hexdigest()

    def tag_values(self, category: str) -> tuple[str, ...]:
        """The values of the tags of one category: `tag_values("model")`."""
        prefix = category + ":"
        return tuple(t[len(prefix) :] for t in self.tags if t.startswith(prefix))

    def with_tags(self, *tags: str, without: str | None = None) -> Definition:
        """A copy with `tags` added and those of the category `without` removed first."""
        kept = [t for t in self.tags if without is None or not t.startswith(without + ":")]
        return attrs.evolve(self, tags=(*kept, *tags))

    def structure(self) -> tuple[Any, ...]:
        """The kernel's identity by its tensors: op type, axes and values, inputs and outputs.

        Names, descriptions and tags of the definition are no part of it. Definitions of one
        structure may still be two functions, which the op type's plugin keeps apart.
        """

        def tensors(specs: Mapping[str, TensorSpec]) -> tuple[Any, ...]:
            return tuple((n, s.shape, s.dtype) for n, s in specs.items())

        axes = tuple(sorted((n, a.type, a.value) for n, a in self.axes.items()))
        return (self.op_type, axes, tensors(self.inputs), tensors(self.outputs))

    def to_dict(self) -> dict[str, Any]:
        """Plain data in the format's key order."""
        data: dict[str, Any] = to_data(self)
        return data

    def to_json(self) -> str:
        """The file's text: UTF-8, 2-space indent, newline at the end."""
        return to_text(self.to_dict())

    @classmethod
    def from_dict(cls, data: object, where: str = "$") -> Definition:
        """The definition in plain data.

        Raises:
            DefinitionError: with the JSON path of what is wrong, below `where`.
        """
        if not isinstance(data, dict):
            raise DefinitionError(
                "a definition is a JSON object",
                where=where,
                expected="an object",
                found=type(data).__name__,
            )
        return from_data(cls, data, where, DefinitionError)

    @classmethod
    def from_json(cls, text: str, where: str = "$") -> Definition:
        """The definition in a file's text; see `from_dict`."""
        return cls.from_dict(from_text(text, where, DefinitionError), where)


_FILE_NAME = re.compile(r"[^./\\ ][^/\\ ]*")


def _fail(where: str, message: str, expected: str | None = None, found: str | None = None) -> None:
    raise DefinitionError(message, where=where, expected=expected, found=found)


def _check(d: Definition) -> None:
    """Check every rule of the format that needs no execution."""
    _check_encodable(d)
    for key in ("name", "op_type"):
        value = getattr(d, key)
        if not isinstance(value, str) or not _FILE_NAME.fullmatch(value) or not value.isprintable():
            _fail(key, "unusable as a file name", "letters, digits, _ - .", repr(value))
    for name in (*d.axes, *d.inputs, *d.outputs):
        if not name.isidentifier() or keyword.iskeyword(name):
            _fail("axes/inputs/outputs", "names are Python identifiers", found=repr(name))
    if not d.outputs:
        _fail("outputs", "a kernel has at least one output")
    both = sorted(set(d.inputs) & set(d.outputs))
    if both:
        _fail("outputs", "a name stands in inputs and in outputs", found=", ".join(both))
    for group, specs in (("inputs", d.inputs), ("outputs", d.outputs)):
        for name, spec in specs.items():
            for axis in spec.shape or ():
                if axis not in d.axes:
                    _fail(
                        f"{group}.{name}.shape",
                        "no such axis",
                        "one of " + ", ".join(d.axes),
                        repr(axis),
                    )
    for tag in d.tags:
        category, colon, value = tag.partition(":")
        if not category or (colon and not value):
            _fail("tags", "a tag is category:value, or a flag of one word", found=repr(tag))
    _check_constraints(d)
    _check_reference(d)


def _check_constraints(d: Definition) -> None:
    known = set(d.axes) | set(d.inputs)
    usable = known | CONSTRAINT_BUILTINS
    for index, constraint in enumerate(d.constraints):
        where = f"constraints[{index}]"
        if len(constraint) > MAX_CONSTRAINT:
            found = f"{len(constraint)} characters"
            _fail(where, "a constraint is too long", f"at most {MAX_CONSTRAINT}", found)
        try:
            tree = ast.parse(constraint, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise DefinitionError(
                "not a Python expression", where=where, found=f"{constraint!r}: {error}"
            ) from None
        for node in walk(tree):
            if isinstance(node, ast.Name) and node.id not in usable:
                _fail(where, "no such axis or input", ", ".join(sorted(known)), node.id)


def _check_encodable(d: Definition) -> None:
    """A lone surrogate is legal in JSON's escapes and impossible in a UTF-8 file."""
    words = [("name", d.name), ("description", d.description), ("reference", d.reference)]
    words += [("tags", tag) for tag in d.tags]
    words += [("constraints", constraint) for constraint in d.constraints]
    for key, described in (("axes", d.axes), ("inputs", d.inputs), ("outputs", d.outputs)):
        words += [(f"{key}.{n}.description", item.description) for n, item in described.items()]
    for where, text in words:
        if isinstance(text, str) and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                _fail(where, "not text that UTF-8 can hold", found=ascii(text[error.start]))


def _check_reference(d: Definition) -> None:
    if len(d.reference) > MAX_REFERENCE:
        found = f"{len(d.reference)} characters"
        _fail("reference", "too long", f"at most {MAX_REFERENCE} characters", found)
    # Definitions of one kernel differ in such lines alone, and parsing takes milliseconds.
    names, written = _parameters_of_run(_SET_NUMBER.sub(r"\1 = 0", d.reference))
    if names != tuple(d.inputs):
        _fail(
            "reference",
            "the parameters of run are exactly the inputs, in order",
            ", ".join(d.inputs),
            written,
        )


_SET_NUMBER = re.compile(r"^([A-Z][A-Z0-9_]*) = (?:0|[1-9][0-9]*)(?:\.[0-9]+)?$", re.MULTILINE)
"""A line that says no more than a number, which may as well be another one."""


@functools.lru_cache(maxsize=64)
def _parameters_of_run(reference: str) -> tuple[tuple[str, ...] | None, str]:
    """What the function `run` of a reference takes.

    Remembered, because the same text is checked anew whenever a definition gets a tag.

    Returns:
        The names of its parameters, None where some are no plain ones; and them as they stand.
    """
    try:
        module = ast.parse(reference)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DefinitionError("does not parse", where="reference", found=str(error)) from None
    if is_nested_deeply(module):
        _fail("reference", "nested too deeply", f"at most {MAX_NESTING} levels of syntax")
    runs = [n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "run"]
    if len(runs) != 1:
        _fail("reference", "needs one top-level function run", found=f"{len(runs)} of them")
    args = runs[0].args
    plain = not (args.kwonlyargs or args.vararg or args.kwarg)
    names = tuple(a.arg for a in (*args.posonlyargs, *args.args))
    return names if plain else None, ast.unparse(args)[:200]


# Axis says itself which types it knows, in better words than the converter.
structure_by(Literal["const", "var"], lambda value: value)
configure(Axis, optional=("value", "description"))
configure(TensorSpec, optional=("description",))


def _definition_to_data(d: Definition) -> dict[str, Any]:
    """The format's key order, which is not that of the fields; empty keys are left out."""
    data: dict[str, Any] = {"name": d.name}
    if d.description is not None:
        data["description"] = d.description
    data["op_type"] = d.op_type
    data["tags"] = list(d.tags)
    data["axes"] = {name: to_data(axis) for name, axis in d.axes.items()}
    if d.constraints:
        data["constraints"] = list(d.constraints)
    data["inputs"] = {name: to_data(spec) for name, spec in d.inputs.items()}
    data["outputs"] = {name: to_data(spec) for name, spec in d.outputs.items()}
    data["reference"] = d.reference
    return data


write_by(Definition, _definition_to_data)
