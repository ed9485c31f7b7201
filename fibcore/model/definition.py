"""The definition of a kernel, as flashinfer-trace stores it: model, checks, JSON form.

A `Definition` that exists is valid: construction checks every rule of the format that can be
checked without running the reference.
"""

from __future__ import annotations

import ast
import hashlib
import json
import keyword
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from fibcore.errors import DefinitionError

DTYPES = (
    "float32",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float4_e2m1",
    "int64",
    "int32",
    "int16",
    "int8",
    "bool",
)


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
            if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
                raise DefinitionError(
                    "a const axis needs its size",
                    where="value",
                    expected="an integer of at least 0",
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
        tags: `category:value` strings, sorted and without repeats.
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
        """What makes two definitions the same kernel, apart from names, words and tags.

        Op type, axes with their values, and inputs and outputs with shapes and dtypes, in order.
        Where tensors alone do not tell two functions apart, the hook `fibcore_variant` does.
        """

        def tensors(specs: Mapping[str, TensorSpec]) -> tuple[Any, ...]:
            return tuple((n, s.shape, s.dtype) for n, s in specs.items())

        axes = tuple(sorted((n, a.type, a.value) for n, a in self.axes.items()))
        return (self.op_type, axes, tensors(self.inputs), tensors(self.outputs))

    def to_dict(self) -> dict[str, Any]:
        """Plain data in the format's key order."""
        data: dict[str, Any] = converter.unstructure(self)
        return data

    def to_json(self) -> str:
        """The file's text: UTF-8, 2-space indent, newline at the end."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

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
        try:
            return converter.structure(data, cls)
        except DefinitionError as error:
            raise _below(where, error) from None
        except (cattrs.BaseValidationError, cattrs.StructureHandlerNotFoundError) as error:
            raise _from_cattrs(where, error) from None

    @classmethod
    def from_json(cls, text: str, where: str = "$") -> Definition:
        """The definition in a file's text; see `from_dict`."""
        try:
            data = json.loads(
                text, object_pairs_hook=_unique_keys, parse_constant=_refuse_json_constant
            )
        except json.JSONDecodeError as error:
            raise DefinitionError(
                "not JSON",
                where=f"{where} line {error.lineno} column {error.colno}",
                found=error.msg,
                hint="repair or remove the file",
            ) from None
        except DefinitionError as error:
            raise _below(where, error) from None
        except (ValueError, RecursionError) as error:  # a number or a nesting beyond all measure
            raise DefinitionError("not JSON", where=where, found=str(error)) from None
        return cls.from_dict(data, where)


def _fail(where: str, message: str, expected: str | None = None, found: str | None = None) -> None:
    raise DefinitionError(message, where=where, expected=expected, found=found)


def _check(d: Definition) -> None:
    """Hold every rule of the format that needs no execution."""
    _check_encodable(d)
    for key in ("name", "op_type"):
        value = getattr(d, key)
        if not isinstance(value, str) or not value or set(value) & set("/\\\0 ") or value[0] == ".":
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
        if not (category and colon and value):
            _fail("tags", "a tag is category:value", found=repr(tag))
    known = set(d.axes) | set(d.inputs)
    for index, constraint in enumerate(d.constraints):
        where = f"constraints[{index}]"
        try:
            tree = ast.parse(constraint, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise DefinitionError(
                "not a Python expression", where=where, found=f"{constraint!r}: {error}"
            ) from None
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id not in known and not hasattr_builtin(node.id):
                _fail(where, "no such axis or input", ", ".join(sorted(known)), node.id)
    _check_reference(d)


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


def hasattr_builtin(name: str) -> bool:
    """Whether `name` is one of the builtins that a constraint may call."""
    return name in {"abs", "all", "any", "int", "len", "max", "min", "range", "sum"}


def _check_reference(d: Definition) -> None:
    try:
        module = ast.parse(d.reference)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DefinitionError("does not parse", where="reference", found=str(error)) from None
    runs = [n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "run"]
    if len(runs) != 1:
        _fail("reference", "needs one top-level function run", found=f"{len(runs)} of them")
    args = runs[0].args
    names = [a.arg for a in (*args.posonlyargs, *args.args)]
    if names != list(d.inputs) or args.kwonlyargs or args.vararg or args.kwarg:
        _fail(
            "reference",
            "the parameters of run are exactly the inputs, in order",
            ", ".join(d.inputs),
            ast.unparse(args),
        )


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a key that stands twice would silently lose a value."""
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise DefinitionError("a key stands twice in one object", found=", ".join(twice))
    return result


def _refuse_json_constant(name: str) -> None:
    raise DefinitionError("not JSON", found=name)


def _below(where: str, error: DefinitionError) -> DefinitionError:
    path = f"{where}.{error.where}" if error.where else where
    return DefinitionError(
        error.message, where=path, expected=error.expected, found=error.found, hint=error.hint
    )


def _from_cattrs(where: str, error: BaseException) -> DefinitionError:
    """The first leaf of a cattrs error group as a `DefinitionError` with its JSON path."""
    path = where
    current = error
    while True:
        if isinstance(current, cattrs.ForbiddenExtraKeysError):
            return DefinitionError(
                "unknown key", where=path, found=", ".join(sorted(current.extra_fields))
            )
        if not isinstance(current, cattrs.BaseValidationError):
            break
        inner = current.exceptions[0]
        for note in getattr(inner, "__notes__", ()):
            if isinstance(note, cattrs.AttributeValidationNote):
                path = f"{path}.{note.name}"
            elif isinstance(note, cattrs.IterableValidationNote):
                index = note.index
                path = f"{path}.{index}" if isinstance(index, str) else f"{path}[{index}]"
        current = inner
    if isinstance(current, DefinitionError):
        return _below(path, current)
    if isinstance(current, KeyError):
        return DefinitionError("a key is missing", where=path, expected=str(current.args[0]))
    return DefinitionError(str(current) or type(current).__name__, where=path)


converter = cattrs.Converter(forbid_extra_keys=True)
"""The one converter of definitions; forbids keys that the format does not have."""


def _strict(kind: type[Any]) -> Any:
    def structure(value: object, _: object) -> Any:
        if isinstance(value, bool) or not isinstance(value, kind):
            raise DefinitionError(
                "wrong type", expected=kind.__name__, found=f"{type(value).__name__} {value!r}"
            )
        return value

    return structure


def _structure_entry(key: str, entry: object, item: type) -> Any:
    try:
        if not isinstance(entry, dict):
            raise DefinitionError("wrong type", expected="an object", found=type(entry).__name__)
        return converter.structure(entry, item)
    except DefinitionError as error:
        raise _below(key, error) from None
    except (cattrs.BaseValidationError, cattrs.StructureHandlerNotFoundError) as error:
        raise _from_cattrs(key, error) from None


def _mapping_hook(item: type) -> Any:
    def structure(value: object, _: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise DefinitionError("wrong type", expected="an object", found=type(value).__name__)
        return {key: _structure_entry(key, entry, item) for key, entry in value.items()}

    return structure


def _names_hook(value: object, _: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise DefinitionError("wrong type", expected="list of strings", found=repr(value))
    return tuple(value)


def _shape_hook(value: object, _: object) -> tuple[str, ...] | None:
    return None if value is None else _names_hook(value, _)


def _when(wanted: Any, hook: Any) -> None:
    converter.register_structure_hook_func(lambda have: have == wanted, hook)


def _optional_hook(kind: type) -> Any:
    strict = _strict(kind)
    return lambda value, _: None if value is None else strict(value, _)


converter.register_structure_hook(str, _strict(str))
converter.register_structure_hook(int, _strict(int))
_when(str | None, _optional_hook(str))
_when(int | None, _optional_hook(int))
_when(tuple[str, ...], _names_hook)
_when(tuple[str, ...] | None, _shape_hook)
# Axis says itself which types it knows, in better words than cattrs.
_when(Literal["const", "var"], lambda value, _: value)
_when(Mapping[str, Axis], _mapping_hook(Axis))
_when(Mapping[str, TensorSpec], _mapping_hook(TensorSpec))
# Last: what is generated here binds the hooks above.
for _type in (Axis, TensorSpec, Definition):
    attrs.resolve_types(_type)
    _when(_type, make_dict_structure_fn(_type, converter, _cattrs_forbid_extra_keys=True))


def _omit(value_type: type, **fields: Any) -> Any:
    return make_dict_unstructure_fn(value_type, converter, **fields)


_optional = override(omit_if_default=True)
converter.register_unstructure_hook(Axis, _omit(Axis, value=_optional, description=_optional))


def _unstructure_tensor(spec: TensorSpec) -> dict[str, Any]:
    data: dict[str, Any] = {
        "shape": None if spec.shape is None else list(spec.shape),
        "dtype": spec.dtype,
    }
    if spec.description is not None:
        data["description"] = spec.description
    return data


def _unstructure_definition(d: Definition) -> dict[str, Any]:
    data: dict[str, Any] = {"name": d.name}
    if d.description is not None:
        data["description"] = d.description
    data["op_type"] = d.op_type
    data["tags"] = list(d.tags)
    data["axes"] = {n: converter.unstructure(a) for n, a in d.axes.items()}
    if d.constraints:
        data["constraints"] = list(d.constraints)
    data["inputs"] = {n: _unstructure_tensor(s) for n, s in d.inputs.items()}
    data["outputs"] = {n: _unstructure_tensor(s) for n, s in d.outputs.items()}
    data["reference"] = d.reference
    return data


converter.register_unstructure_hook(TensorSpec, _unstructure_tensor)
converter.register_unstructure_hook(Definition, _unstructure_definition)
