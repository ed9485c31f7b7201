"""From a function's syntax to closures.

A closure takes the frame of a call: a list with a place for each variable. What a function needs
from outside of it (names of its module, attributes, methods) is asked of `Outside`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, Protocol

from fibcore.elaborate.python.compiled import operations as ops
from fibcore.elaborate.python.compiled.blind import Blindness
from fibcore.elaborate.python.compiled.entries import Names
from fibcore.elaborate.python.compiled.operations import NotPlain
from fibcore.syntax import walk

Frame = list[Any]
Code = Callable[[Frame], Any]


class Outside(Protocol):
    """What compiled code asks of the evaluator."""

    def name(self, name: str) -> Any:
        """The value of a name that is not the function's own."""

    def attribute(self, owner: Any, name: str) -> Any:
        """A plain attribute of an object."""

    def call(self, function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """What a function from outside gives."""

    def method(self, owner: Any, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """What a method of something that is no plain data gives."""

    def is_builtin(self, name: str) -> bool:
        """Whether a name that is not the function's own is Python's."""

    def syntax(self, name: str) -> ast.FunctionDef | None:
        """The function of the source that a name stands for; None where it is none."""

    def loop(self, rounds: int) -> None:
        """Count the rounds of a loop, before it is run."""

    def is_steady(self, container: Any) -> bool:
        """Whether nothing has changed a long container since it was made."""


class _Unset:
    """Stands in a frame for a variable that is not bound."""


UNSET = _Unset()
NEXT, BREAK, RETURN = object(), object(), object()
"""How a statement can end other than by going on: then it gives one of these."""
_REFUSED = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Global, ast.Nonlocal, ast.Yield,
    ast.YieldFrom, ast.Await, ast.Delete, ast.With, ast.AsyncWith, ast.AsyncFor, ast.While,
    ast.Try, ast.Import, ast.ImportFrom,
)  # fmt: skip
_LOOPS = (ast.For, ast.GeneratorExp, ast.ListComp, ast.DictComp)


def compilable(node: ast.FunctionDef) -> bool:
    """Whether a function has only parameters and variables of its own, and stores nowhere else."""
    spec = node.args
    if spec.vararg is not None or spec.kwarg is not None:
        return False
    return not any(
        isinstance(inner, _REFUSED)
        or (isinstance(inner, (ast.Attribute, ast.Subscript)) and isinstance(inner.ctx, ast.Store))
        for statement in node.body
        for inner in walk(statement)
    )


def loops(node: ast.FunctionDef) -> bool:
    """Whether there is a loop in a function, so that to compile it is worth while."""
    return any(isinstance(n, _LOOPS) for statement in node.body for n in walk(statement))


class Compiler:
    """Compiles one function.

    Args:
        node: The function.
        outside: What it sees around it.
    """

    def __init__(self, node: ast.FunctionDef, outside: Outside) -> None:
        self._outside = outside
        self._node = node
        spec = node.args
        self.parameters = [a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
        self._slots: dict[str, int] = {}
        self._size = 1  # the first place of a frame is for what is returned
        for name in (*self.parameters, *_assigned(node.body)):
            self._slots.setdefault(name, self._new())
        self.body = self._block(node.body)

    def _new(self) -> int:
        self._size += 1
        return self._size - 1

    def run(self, arguments: dict[str, Any]) -> Any:
        """Call the function.

        Raises:
            NotPlain: it does something that is not done here.
        """
        frame: Frame = [UNSET] * self._size
        frame[0] = None
        for name, value in arguments.items():
            frame[self._slots[name]] = value
        self.body(frame)
        return frame[0]

    # -- statements ----------------------------------------------------------------------------

    def _block(self, statements: list[ast.stmt]) -> Code:
        codes = [self._statement(s) for s in statements]
        if len(codes) == 1:
            return codes[0]

        def block(frame: Frame) -> Any:
            for code in codes:
                end = code(frame)
                if end is not None:
                    return end
            return None

        return block

    def _statement(self, node: ast.stmt) -> Code:
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        return _not_plain if method is None else method(node)

    def _return(self, node: ast.Return) -> Code:
        value = self._constant(None) if node.value is None else self._expression(node.value)

        def return_(frame: Frame) -> Any:
            frame[0] = value(frame)
            return RETURN

        return return_

    def _expr(self, node: ast.Expr) -> Code:
        if isinstance(node.value, ast.Constant):
            return lambda frame: None
        value = self._expression(node.value)

        def expr(frame: Frame) -> Any:
            value(frame)

        return expr

    def _assign(self, node: ast.Assign) -> Code:
        if len(node.targets) != 1:
            return _not_plain
        value, target = self._expression(node.value), self._target(node.targets[0], self._slots)
        return lambda frame: target(frame, value(frame))

    def _annassign(self, node: ast.AnnAssign) -> Code:
        if node.value is None:
            return lambda frame: None
        value, target = self._expression(node.value), self._target(node.target, self._slots)
        return lambda frame: target(frame, value(frame))

    def _augassign(self, node: ast.AugAssign) -> Code:
        combine = ops.BINARY.get(type(node.op).__name__)
        if combine is None or not isinstance(node.target, ast.Name):
            return _not_plain
        slot, value = self._slots[node.target.id], self._expression(node.value)

        def augassign(frame: Frame) -> None:
            frame[slot] = combine(frame[slot], value(frame))

        return augassign

    def _if(self, node: ast.If) -> Code:
        test = self._condition(node.test)
        body = self._block(node.body)
        orelse = self._block(node.orelse) if node.orelse else None
        if orelse is None:
            return lambda frame: body(frame) if test(frame) else None
        return lambda frame: body(frame) if test(frame) else orelse(frame)

    def _for(self, node: ast.For) -> Code:
        values, target = self._expression(node.iter), self._target(node.target, self._slots)
        body = self._block(node.body)
        orelse = self._block(node.orelse) if node.orelse else None
        count = self._outside.loop
        blind = Blindness(self._slots, self._outside.syntax)
        fits = blind.loop(node, self._node)
        narrowed = self._narrowed(blind, node.target, target, body) if fits else None

        def for_(frame: Frame) -> Any:
            found = ops.items(values(frame))
            if narrowed is not None:
                found = narrowed(frame, found)
            count(len(found))
            for value in found:
                target(frame, value)
                end = body(frame)
                if end is None or end is NEXT:
                    continue
                if end is BREAK:
                    return None
                return end
            return None if orelse is None else orelse(frame)

        return for_

    def _narrowed(
        self,
        blind: Blindness,
        name: ast.expr,
        target: Callable[[Frame, Any], None],
        body: Code,
    ) -> Callable[[Frame, Any], Any]:
        """A function that gives the items at which a loop may end, of those that it goes through.

        Args:
            blind: What knows the variables that the body reads.
            name: What an item is bound to.
            target: Binds it.
            body: Gives something where the loop ends.
        """
        parts = None
        if isinstance(name, ast.Tuple):
            parts = tuple(n for n, e in enumerate(name.elts) if _names_in(e)[0] in blind.read)
        names = Names(parts, cuts=blind.cuts, is_steady=self._outside.is_steady)
        slots = [self._slots[name] for name in sorted(blind.free)]
        count = self._outside.loop

        def narrowed(frame: Frame, found: Any) -> Any:
            def ends(values: list[Any]) -> Callable[[Any], bool]:
                own = list(frame)
                for slot, value in zip(slots, values, strict=True):
                    own[slot] = value

                def at(item: Any) -> bool:
                    target(own, item)
                    return bool(body(own) is RETURN)

                return at

            kept = names.candidates(found, [frame[slot] for slot in slots], ends, count)
            return found if kept is None else list(kept)

        return narrowed

    def _pass(self, node: ast.Pass) -> Code:
        return lambda frame: None

    def _continue(self, node: ast.Continue) -> Code:
        return lambda frame: NEXT

    def _break(self, node: ast.Break) -> Code:
        return lambda frame: BREAK

    def _assert(self, node: ast.Assert) -> Code:
        test = self._condition(node.test)

        def assert_(frame: Frame) -> None:
            if not test(frame):
                raise NotPlain

        return assert_

    def _target(self, node: ast.expr, slots: dict[str, int]) -> Callable[[Frame, Any], None]:
        """A function that binds what stands left of `=`, or behind `for`."""
        if isinstance(node, ast.Name):
            slot = slots[node.id]

            def bind(frame: Frame, value: Any, kinds: frozenset[Any] = ops.PLAIN) -> None:
                if type(value) not in kinds:
                    raise NotPlain
                frame[slot] = value

            return bind
        if isinstance(node, ast.Tuple):
            parts = [self._target(e, slots) for e in node.elts]

            def unpack(frame: Frame, value: Any) -> None:
                if type(value) not in ops.SEQUENCES or len(value) != len(parts):
                    raise NotPlain
                for part, one in zip(parts, value, strict=True):
                    part(frame, one)

            return unpack

        def refuse(frame: Frame, value: Any) -> None:
            raise NotPlain

        return refuse

    # -- expressions ---------------------------------------------------------------------------

    def _expression(self, node: ast.expr) -> Code:
        method = getattr(self, f"_{type(node).__name__.lower()}_", None)
        return _not_plain if method is None else method(node)

    def _condition(self, node: ast.expr) -> Code:
        value = self._expression(node)
        if isinstance(node, (ast.Call, ast.Compare, ast.Subscript, ast.Attribute)):
            return value  # plain data, whose truth is Python's
        return lambda frame: ops.truth(value(frame))

    def _constant(self, value: Any) -> Code:
        return lambda frame: value

    def _constant_(self, node: ast.Constant) -> Code:
        return self._constant(node.value) if type(node.value) in ops.SCALARS else _not_plain

    def _name_(self, node: ast.Name) -> Code:
        slot = self._slots.get(node.id)
        if slot is None:
            outside, name = self._outside, node.id
            return lambda frame: ops.plain(outside.name(name))

        def variable(frame: Frame) -> Any:
            value = frame[slot]
            if value is UNSET:
                raise NotPlain
            return value

        return variable

    def _attribute_(self, node: ast.Attribute) -> Code:
        owner, outside, name = self._expression_or_object(node.value), self._outside, node.attr
        return lambda frame: ops.plain(outside.attribute(owner(frame), name))

    def _expression_or_object(self, node: ast.expr) -> Code:
        """An expression that may be an object, of which a part is then read."""
        if isinstance(node, ast.Name) and node.id not in self._slots:
            outside, name = self._outside, node.id
            return lambda frame: outside.name(name)
        return self._expression(node)

    def _compare_(self, node: ast.Compare) -> Code:
        compare = [ops.COMPARISONS.get(type(op).__name__) for op in node.ops]
        values = [self._expression(v) for v in (node.left, *node.comparators)]
        if len(compare) == 1 and compare[0] is not None:
            one, left, right = compare[0], values[0], values[1]
            return lambda frame: one(left(frame), right(frame))
        if None in compare:
            return _not_plain

        def chain(frame: Frame) -> bool:
            before = values[0](frame)
            for fn, value in zip(compare, values[1:], strict=True):
                after = value(frame)
                assert fn is not None
                if not fn(before, after):
                    return False
                before = after
            return True

        return chain

    def _boolop_(self, node: ast.BoolOp) -> Code:
        values = [self._expression(v) for v in node.values]
        stop = isinstance(node.op, ast.Or)

        def boolop(frame: Frame) -> Any:
            value: Any = None
            for code in values:
                value = code(frame)
                if ops.truth(value) is stop:
                    return value
            return value

        return boolop

    def _unaryop_(self, node: ast.UnaryOp) -> Code:
        if isinstance(node.op, ast.USub):
            number = self._expression(node.operand)
            return lambda frame: ops.subtract(0, number(frame))
        if not isinstance(node.op, ast.Not):
            return _not_plain
        value = self._condition(node.operand)
        return lambda frame: not value(frame)

    def _binop_(self, node: ast.BinOp) -> Code:
        combine = ops.BINARY.get(type(node.op).__name__)
        if combine is None:
            return _not_plain
        left, right = self._expression(node.left), self._expression(node.right)
        return lambda frame: combine(left(frame), right(frame))

    def _ifexp_(self, node: ast.IfExp) -> Code:
        test, body, orelse = (
            self._condition(node.test), self._expression(node.body), self._expression(node.orelse),
        )  # fmt: skip
        return lambda frame: body(frame) if test(frame) else orelse(frame)

    def _namedexpr_(self, node: ast.NamedExpr) -> Code:
        slot, value = self._slots[node.target.id], self._expression(node.value)

        def named(frame: Frame) -> Any:
            found = frame[slot] = ops.plain(value(frame))
            return found

        return named

    def _subscript_(self, node: ast.Subscript) -> Code:
        holder = self._expression(node.value)
        if isinstance(node.slice, ast.Slice):
            bounds = [
                self._constant(None) if b is None else self._expression(b)
                for b in (node.slice.lower, node.slice.upper, node.slice.step)
            ]
            return lambda frame: ops.part(holder(frame), *(b(frame) for b in bounds))
        key = self._expression(node.slice)
        return lambda frame: ops.item(holder(frame), key(frame))

    def _joinedstr_(self, node: ast.JoinedStr) -> Code:
        parts: list[Code] = []
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                if part.conversion != -1 or part.format_spec is not None:
                    return _not_plain
                parts.append(self._expression(part.value))
            else:
                parts.append(self._expression(part))

        def joined(frame: Frame) -> str:
            text = "".join(ops.text_of(part(frame)) for part in parts)
            if len(text) > ops.MAX_TEXT:
                raise NotPlain
            return text

        return joined

    def _tuple_(self, node: ast.Tuple) -> Code:
        return self._display(node.elts, tuple)

    def _list_(self, node: ast.List) -> Code:
        return self._display(node.elts, ops.Made)

    def _set_(self, node: ast.Set) -> Code:
        return self._display(node.elts, _set)

    def _display(self, nodes: list[ast.expr], kind: Callable[[list[Any]], Any]) -> Code:
        parts = [self._expression(e) for e in nodes]
        return lambda frame: kind([part(frame) for part in parts])

    # -- comprehensions ------------------------------------------------------------------------

    def _listcomp_(self, node: ast.ListComp) -> Code:
        rounds = self._rounds(node.generators, [node.elt])
        return lambda frame: ops.Made(value for (value,) in rounds(frame))

    def _setcomp_(self, node: ast.SetComp) -> Code:
        rounds = self._rounds(node.generators, [node.elt])
        return lambda frame: _set([value for (value,) in rounds(frame)])

    def _dictcomp_(self, node: ast.DictComp) -> Code:
        rounds = self._rounds(node.generators, [node.key, node.value])

        def dictcomp(frame: Frame) -> dict[Any, Any]:
            made = {}
            for key, value in rounds(frame):
                if type(key) not in ops.SCALARS or ops.holds_made(value):
                    raise NotPlain
                made[key] = value
            return made

        return dictcomp

    def _rounds(
        self,
        generators: list[ast.comprehension],
        elements: list[ast.expr],
        *,
        ending: bool | None = None,
    ) -> Callable[[Frame], Any]:
        """A generator of the elements, one round after the other.

        Args:
            generators: What it goes through; one is done here.
            elements: What each round gives.
            ending: The truth of an element after which no others are asked for; None for none.
        """
        (generator, *more) = generators
        if more or generator.is_async:

            def refuse(frame: Frame) -> Any:
                raise NotPlain

            return refuse
        values = self._expression(generator.iter)
        outer, self._slots = self._slots, dict(self._slots)
        for name in _names_in(generator.target):
            self._slots[name] = self._new()
        target = self._target(generator.target, self._slots)
        tests = [self._condition(c) for c in generator.ifs]
        codes = [self._expression(e) for e in elements]
        count = self._outside.loop
        blind = Blindness(self._slots, self._outside.syntax)
        narrowed = None
        if ending is not None and blind.quantified(generator, elements):

            def end(frame: Frame) -> Any:
                if not all(test(frame) for test in tests):
                    return None
                return RETURN if ops.truth(codes[0](frame)) is ending else None

            narrowed = self._narrowed(blind, generator.target, target, end)
        self._slots = outer

        def rounds(frame: Frame) -> Any:
            found = ops.items(values(frame))
            if narrowed is not None:
                found = narrowed(frame, found)
            count(len(found))
            for value in found:
                target(frame, value)
                if all(test(frame) for test in tests):
                    yield tuple(code(frame) for code in codes)

        return rounds

    # -- calls ---------------------------------------------------------------------------------

    def _call_(self, node: ast.Call) -> Code:
        func = node.func
        if any(isinstance(a, ast.Starred) for a in node.args) or any(
            k.arg is None for k in node.keywords
        ):
            return _not_plain
        if isinstance(func, ast.Name) and func.id not in self._slots:
            return self._call_of_name(node, func.id)
        if isinstance(func, ast.Attribute):
            return self._call_of_method(node, func)
        return _not_plain

    def _call_of_name(self, node: ast.Call, name: str) -> Code:
        outside = self._outside
        if outside.is_builtin(name) and len(node.args) == 1:
            if name in ("any", "all") and not node.keywords:
                return self._quantifier(node.args[0], name)
            if name == "sorted":
                return self._sorted(node)
        args, kwargs = self._arguments(node)

        def call(frame: Frame) -> Any:
            return outside.call(
                outside.name(name),
                [a(frame) for a in args],
                {k: v(frame) for k, v in kwargs.items()},
            )

        return call

    def _call_of_method(self, node: ast.Call, func: ast.Attribute) -> Code:
        owner, name, outside = self._expression_or_object(func.value), func.attr, self._outside
        args, kwargs = self._arguments(node)
        methods = {kind: table[name] for kind, table in ops.METHODS.items() if name in table}

        def call(frame: Frame) -> Any:
            value = owner(frame)
            method = methods.get(type(value))
            given = [a(frame) for a in args]
            named = {k: v(frame) for k, v in kwargs.items()}
            if method is None:
                return outside.method(value, name, given, named)
            return method(value, *given, **named)

        if len(args) != 1 or kwargs:
            return call
        (one,) = args

        def call_with_one(frame: Frame) -> Any:
            value = owner(frame)
            method = methods.get(type(value))
            if method is None:
                return outside.method(value, name, [one(frame)], {})
            return method(value, one(frame))

        return call_with_one

    def _arguments(self, node: ast.Call) -> tuple[list[Code], dict[str, Code]]:
        return (
            [self._expression(a) for a in node.args],
            {str(k.arg): self._expression(k.value) for k in node.keywords},
        )

    def _quantifier(self, node: ast.expr, name: str) -> Code:
        """`any` and `all`, which stop where they are decided."""
        stop = name == "any"
        if not isinstance(node, (ast.GeneratorExp, ast.ListComp)):
            return _not_plain
        rounds = self._rounds(node.generators, [node.elt], ending=stop)

        def quantifier(frame: Frame) -> bool:
            for (value,) in rounds(frame):
                if ops.truth(value) is stop:
                    return stop
            return not stop

        return quantifier

    def _sorted(self, node: ast.Call) -> Code:
        """`sorted` of known values by themselves, or by a lambda."""
        given = {str(k.arg): k.value for k in node.keywords}
        key, reverse = given.pop("key", None), given.pop("reverse", ast.Constant(False))
        if given or not isinstance(reverse, ast.Constant) or not isinstance(key, ast.Lambda):
            return _not_plain
        spec = key.args
        if len(spec.args) != 1 or spec.vararg or spec.kwarg or spec.kwonlyargs or spec.posonlyargs:
            return _not_plain
        values = self._expression(node.args[0])
        outer, self._slots = self._slots, dict(self._slots)
        slot = self._slots[spec.args[0].arg] = self._new()
        code = self._expression(key.body)
        self._slots = outer
        backwards = bool(reverse.value)

        def by(frame: Frame, value: Any) -> Any:
            frame[slot] = ops.plain(value)
            found = code(frame)
            if type(found) is not int and type(found) is not str:
                raise NotPlain
            return found

        own = {n.id for n in walk(key.body) if isinstance(n, ast.Name)} <= {spec.args[0].arg, "len"}
        last: list[tuple[list[Any], list[Any]]] = []  # a table is often sorted for each name

        def sort(frame: Frame) -> Any:
            found = list(ops.items(values(frame)))
            ops.charge(len(found) >> 4)
            if len(found) < 2:
                return ops.Made(map(ops.plain, found))
            if last and last[0][0] == found:
                return ops.Made(last[0][1])
            keys = [by(frame, value) for value in found]
            if len({type(k) for k in keys}) > 1:
                raise NotPlain
            order = sorted(range(len(found)), key=keys.__getitem__, reverse=backwards)
            result = [found[i] for i in order]
            if own and all(map(_is_text, found)):
                last[:] = [(found, result)]
            return ops.Made(result)

        return sort


def _is_text(value: Any) -> bool:
    """Whether only the same value equals one: text, None, or a tuple of those."""
    kind = type(value)
    return kind is str or value is None or (kind is tuple and all(map(_is_text, value)))


def _not_plain(frame: Frame) -> Any:
    raise NotPlain


def _set(values: list[Any]) -> set[Any]:
    if not all(type(v) in ops.SCALARS for v in values):
        raise NotPlain
    return set(values)


def _names_in(target: ast.expr) -> list[str]:
    return [n.id for n in walk(target) if isinstance(n, ast.Name)]


def _assigned(body: list[ast.stmt]) -> list[str]:
    """The variables of a function, those of comprehensions and lambdas aside."""
    found: list[str] = []
    stack: list[ast.AST] = list(body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.append(node.id)
        elif isinstance(node, ast.comprehension):
            # Its target is its own; a walrus in it binds a variable of the function.
            stack += [node.iter, *node.ifs]
            continue
        stack += ast.iter_child_nodes(node)
    return found
