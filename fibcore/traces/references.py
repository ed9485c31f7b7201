"""The reference in a dump: what has to be done so that it has a `run` with the inputs in order.

FlashInfer embeds the source of one Python function beside four imports
(flashinfer-python 0.7.4, `flashinfer/trace/template.py`, `_render_reference_source`). It is not
called `run`, its parameters are those of the traced function, and helpers and typing names that it
uses are in the file only where its template lists them. The function stays as it is; a `run` that
calls it is added.
"""

from __future__ import annotations

import ast
import builtins
import symtable
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from fibcore.errors import TraceError
from fibcore.references.reading import REFERENCE_IMPORTS, foreign_imports
from fibcore.syntax import MAX_NESTING, is_nested_deeply
from fibcore.traces.reads import reads

RUN = "run"
_WRAPPED = "_traced_reference"
"""What a function is called that is named run and has other parameters than the inputs."""


@attrs.frozen
class Reference:
    """The reference function of a dump, analysed and not run.

    Attributes:
        source: The source text.
        function: Its syntax tree.
        returned: How many values it returns; None where its text does not tell.
        typing_names: Names of `typing` that it uses and does not import.
    """

    source: str
    function: ast.FunctionDef
    returned: int | None
    typing_names: tuple[str, ...]

    @property
    def required(self) -> tuple[str, ...]:
        """Parameters that have no default."""
        args = self.function.args
        plain = [*args.posonlyargs, *args.args]
        names = [a.arg for a in plain[: len(plain) - len(args.defaults)]]
        pairs = zip(args.kwonlyargs, args.kw_defaults, strict=True)
        return (*names, *(a.arg for a, default in pairs if default is None))

    @property
    def open(self) -> tuple[str, ...]:
        """Parameters that have no default, of those that it reads."""
        return tuple(name for name in self.required if name in reads(self.function, {}))

    @property
    def parameters(self) -> tuple[str, ...]:
        """All named parameters, in order."""
        args = self.function.args
        return tuple(a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs))

    @property
    def plain(self) -> bool:
        """Whether it takes nothing but named parameters that can be given by position."""
        args = self.function.args
        return not (args.kwonlyargs or args.vararg or args.kwarg)


def analyse(source: str | None, where: str) -> Reference:
    """Find the reference function in a source text.

    Raises:
        TraceError: there is none, it is not Python, it imports more than it may, or it uses names
            that the file does not define.
    """
    place = f"{where} $.reference"
    if source is None:
        raise TraceError("there is no reference", where=place, expected="Python source text")
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise TraceError("the reference does not parse", where=place, found=str(error)) from None
    if is_nested_deeply(module):
        expected = f"at most {MAX_NESTING} levels of syntax"
        raise TraceError("the reference is nested too deeply", where=place, expected=expected)
    for finding in foreign_imports(source):
        raise TraceError(
            "the reference needs more than it may",
            where=f"{place} line {finding.line}",
            expected="imports of " + ", ".join(sorted(REFERENCE_IMPORTS)) + " alone",
            found=finding.what,
        )
    function = _function(module, place)
    try:
        free = _free_names(source)
    except SyntaxError as error:  # a return outside of a function, a parameter twice
        raise TraceError("the reference does not compile", where=place, found=str(error)) from None
    typing_names = sorted(
        {n.id for n in ast.walk(module) if isinstance(n, ast.Name)}
        & set(typing.__all__) - _defined(module)
    )
    missing = sorted(free - set(typing_names))
    if missing:
        raise TraceError(
            "the reference uses names that the dump does not define",
            where=place,
            expected="a source text that is whole by itself",
            found=", ".join(missing),
            hint="the tracing of this function leaves its helpers out; extract the kernel instead",
        )
    functions = {n.name: n for n in module.body if isinstance(n, ast.FunctionDef)}
    return Reference(source, function, _Returns(functions).of(function), tuple(typing_names))


def _function(module: ast.Module, place: str) -> ast.FunctionDef:
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    for wanted in (
        [f for f in functions if f.name == RUN],
        functions,
        [f for f in functions if f.name.endswith("_reference")],
        _callers(functions),
    ):
        if len(wanted) == 1:
            return wanted[0]
    raise TraceError(
        "it is not clear which function is the reference",
        where=place,
        expected="one function, or one that is called run",
        found=", ".join(f.name for f in functions) or "no function",
    )


def _callers(functions: Sequence[ast.FunctionDef]) -> list[ast.FunctionDef]:
    """The functions that no other one names: helpers stand before the reference that calls them."""
    return [
        one
        for one in functions
        if not any(
            isinstance(node, ast.Name) and node.id == one.name
            for other in functions
            if other is not one
            for node in ast.walk(other)
        )
    ]


def _defined(module: ast.Module) -> set[str]:
    """Names that the module itself binds."""
    table = symtable.symtable(ast.unparse(module), "<reference>", "exec")
    return {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}


def _free_names(source: str) -> set[str]:
    """Names that the functions take from the module, which does not have them."""
    table = symtable.symtable(source, "<reference>", "exec")
    have = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    used: set[str] = set()

    def walk(scope: symtable.SymbolTable) -> None:
        for symbol in scope.get_symbols():
            local = scope.get_type() != "module" and not symbol.is_global()
            if symbol.is_referenced() and not local:
                used.add(symbol.get_name())
        for child in scope.get_children():
            walk(child)

    walk(table)
    return used - have - set(dir(builtins))


class _Returns:
    """How many values functions of a module return, as far as their text tells."""

    def __init__(self, functions: Mapping[str, ast.FunctionDef]) -> None:
        self.functions = functions
        self.open: set[str] = set()

    def of(self, function: ast.FunctionDef) -> int | None:
        """The number, where every return of a function says the same."""
        if function.name in self.open:
            return None  # it calls itself
        self.open.add(function.name)
        known: dict[str, int | None] = {}
        returns = _own_nodes(function, ast.Return)
        counts = {self._values(node.value, function, known) for node in returns}
        self.open.remove(function.name)
        return counts.pop() if len(counts) == 1 else None if counts else 0

    def _values(
        self, value: ast.expr | None, function: ast.FunctionDef, known: dict[str, int | None]
    ) -> int | None:
        if value is None:
            return 0
        if isinstance(value, ast.Tuple):
            starred = any(isinstance(e, ast.Starred) for e in value.elts)
            return None if starred else len(value.elts)
        if isinstance(value, ast.Call):
            return self._call(value, function)
        if isinstance(value, ast.Name):
            if value.id not in known:
                known[value.id] = None  # for names that are bound to each other
                bound = [n.value for n in _own_nodes(function, ast.Assign) if _binds(n, value.id)]
                counts = {1 if _one_tensor(v) else self._values(v, function, known) for v in bound}
                known[value.id] = 1 if counts <= {1} else None
            return known[value.id]
        one = (ast.BinOp, ast.Subscript, ast.Attribute, ast.UnaryOp)
        return 1 if isinstance(value, one) else None

    def _call(self, call: ast.Call, function: ast.FunctionDef) -> int | None:
        """A function of the module returns what its text says.

        A method (x.to(...)) gives one tensor; a function of a package may give any number.
        """
        callee = call.func
        if isinstance(callee, ast.Name):
            local = any(_binds(n, callee.id) for n in _own_nodes(function, ast.Assign))
            known = self.functions.get(callee.id)
            return None if known is None or local else self.of(known)
        root = callee.value if isinstance(callee, ast.Attribute) else None
        return 1 if root is not None and not _is_a_package(root) else None


def _binds(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


def _one_tensor(value: ast.expr) -> bool:
    """Whether it is a call of a torch function by name; those that give several are unpacked."""
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
        return not isinstance(value, (ast.Tuple, ast.Call, ast.Name))
    return True


def _is_a_package(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in ("torch", "math", "numpy", "np", "F")


T = typing.TypeVar("T", bound=ast.AST)


def _own_nodes(function: ast.FunctionDef, kind: type[T]) -> Iterator[T]:
    """The nodes of one kind in a function, without those of functions inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, kind):
            yield node
        if not isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            waiting.extend(ast.iter_child_nodes(node))


def parameters_of(reference: Reference, inputs: Sequence[str], where: str) -> dict[str, str]:
    """The parameter that takes each input.

    By name; an input and a required parameter that are left over alone belong together
    (FlashInfer's norms have `hidden_states` in the dump and `input` in the reference). A parameter
    without an input that the function never reads takes None, and is not in the result.

    Raises:
        TraceError: an input or a required parameter has no counterpart.
    """
    mapping = {name: name for name in inputs if name in reference.parameters}
    left = [name for name in inputs if name not in mapping]
    open_ = [name for name in reference.open if name not in mapping]
    if len(left) == len(open_) == 1:
        mapping[left[0]], left, open_ = open_[0], [], []
    if reference.function.args.kwarg is not None:
        mapping |= {name: name for name in left}
        left = []
    if left or open_:
        found = [f"the input {name} is no parameter" for name in left]
        found += [f"the parameter {name} is no input" for name in open_]
        raise TraceError(
            "inputs and the parameters of the reference do not correspond",
            where=f"{where} $.reference",
            expected=f"parameters {', '.join(inputs)}",
            found="; ".join(found),
        )
    return mapping


def with_run(
    reference: Reference,
    inputs: Sequence[str],
    mapping: Mapping[str, str],
    *,
    checks: Iterable[str] = (),
    written: Mapping[str, str] | None = None,
) -> str:
    """The source text with a `run` that takes the inputs in order.

    Args:
        reference: The reference.
        inputs: The inputs of the definition, in order.
        mapping: Input to parameter.
        checks: Statements that `run` makes first.
        written: Inputs that the function writes its results into and returns nothing, with the
            names of the outputs; `run` gives it copies and returns these.
    """
    lines = reference.source.splitlines()
    function = reference.function
    name = function.name
    if name == RUN:
        name = _WRAPPED
        line = lines[function.lineno - 1]
        lines[function.lineno - 1] = line.replace(f"def {RUN}", f"def {name}", 1)
    if reference.typing_names:
        words = f"from typing import {', '.join(reference.typing_names)}"
        lines.insert(_after_imports(reference), words)
    given = {name: (written or {}).get(name, name) for name in inputs}
    by_parameter = {parameter: name for name, parameter in mapping.items()}
    needed = set(reference.required)
    positional = [
        a.arg for a in function.args.posonlyargs if a.arg in by_parameter or a.arg in needed
    ]
    arguments = [given[by_parameter[p]] if p in by_parameter else "None" for p in positional]
    arguments += [f"{p}={given[n]}" for n, p in mapping.items() if p not in positional]
    unread = [p for p in reference.required if p not in by_parameter and p not in positional]
    arguments += [f"{p}=None" for p in unread]
    call = f"{name}({', '.join(arguments)})"
    body = list(checks)
    if written:
        body += [f"{output} = {name}.clone()" for name, output in written.items()]
        body += [call, f"return {', '.join(written.values())}"]
    else:
        body.append(f"return {call}")
    text = "\n".join(lines).rstrip("\n")
    return f"{text}\n\n\ndef {RUN}({', '.join(inputs)}):\n" + "".join(f"    {b}\n" for b in body)


def _after_imports(reference: Reference) -> int:
    """The line after which an import can stand: after the last import at the top."""
    line = 0
    for node in ast.parse(reference.source).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not isinstance(node, (ast.Import, ast.ImportFrom)) and not docstring:
            break
        line = node.end_lineno or node.lineno
    return line


def is_whole(reference: Reference, inputs: Sequence[str]) -> bool:
    """Whether the source needs no `run`: it has one, with the inputs in order."""
    return (
        reference.function.name == RUN
        and reference.plain
        and reference.parameters == tuple(inputs)
        and not reference.typing_names
    )
