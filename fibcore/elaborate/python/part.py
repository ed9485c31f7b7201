"""What all parts of the evaluator share: its state, and the signatures of each other's work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.journal import Journalled
from fibcore.elaborate.python.values import Class, ModuleSpace, Tracker
from fibcore.model.tree import Call, Operation, Unknown

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from fibcore.elaborate.python.environment import Environment
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.index import ModuleIndex
    from fibcore.elaborate.python.journal import Status
    from fibcore.elaborate.python.values import EnumMember, Env, Ext, Func, IndexFn, Mod, Raised
    from fibcore.model.tree import SourcePlace

MAX_STEPS = 4_000_000


class Part(Journalled):
    """Base of the classes that make up `Evaluator`.

    Attributes:
        index: The source tree.
        environment: Facts of the machine and the server that the source asks for.
        tracker: Notes the decisions on the index of the layer that is being built; None outside.
        building: The modules whose `__init__` is running, innermost last.
        running: The modules whose forward pass is followed, innermost last.
        forward: Whether the forward pass is followed, and not a constructor.
        trying: How many `try` blocks are around the statement.
        lenient: The function whose statements may fail one by one, as those of a forward pass may.
        handling: The exceptions whose handlers are running, with the names they are bound to.
        calls: How modules are called, by the id of the object.
        lost: Ids of modules of whose forward pass a statement was lost to an error.
        operations: Tensor operations on parameters, by the id of the module that runs them.
        keep: Objects whose ids are used as keys, so that no other object gets the same id.
        memo: Results of forward passes, with what they depended on.
        notes: What went wrong without consequences for the tree.
        changes: Changes to layers that cannot be told apart any more; the tree lacks them.
    """

    builtins: dict[str, Any]

    def __init__(self, index: ModuleIndex, environment: Environment) -> None:
        super().__init__()
        self.index = index
        self.environment = environment
        self.spaces: dict[str, ModuleSpace | None] = {}
        self.tracker: Tracker | None = None
        self.building: list[Mod] = []
        self.depth = 0
        self.steps = 0
        self.max_steps = MAX_STEPS
        self.forward = False
        self.trying = 0
        self.lenient: Func | None = None
        self.handling: list[tuple[str | None, Raised]] = []
        self.calls: dict[int, list[Call]] = {}
        self.operations: dict[int, list[Operation]] = {}
        self.keep: list[Any] = []
        self.running: list[Mod] = []
        self.lost: set[int] = set()
        self.memo: dict[Any, list[Any]] = {}
        self.notes: list[Unknown] = []
        self.changes: list[Unknown] = []

    @property
    def evaluator(self) -> Evaluator:
        """The whole of which this is a part."""
        return self  # type: ignore[return-value]

    if TYPE_CHECKING:
        # Evaluator
        def space(self, name: str) -> ModuleSpace | None: ...
        def inside(self, module: str) -> bool: ...
        def module_name(self, space: ModuleSpace, name: str) -> Any: ...
        def do_import(self, node: ast.Import | ast.ImportFrom, env: Env) -> None: ...
        def imported(
            self, module: str, name: str | None, asking: ModuleSpace | None = None
        ) -> Any: ...
        def lookup(self, name: str, env: Env, node: ast.AST) -> Any: ...
        def bind(self, env: Env, name: str, value: Any) -> None: ...
        def step(self) -> None: ...
        def is_module(self, cls: Class) -> bool: ...
        def guard(self, fn: IndexFn | None, result: Any) -> None: ...
        def pin(self, value: Any) -> None: ...
        def tracked(self, make: Callable[[], Any], number: int) -> Any: ...
        def mapped(self, value: Any, each: Callable[[Any], Any]) -> Any: ...

        # Expressions
        def eval(self, node: ast.expr, env: Env) -> Any: ...
        def condition(self, node: ast.expr, env: Env) -> Any: ...
        def binary(self, op: type, left: Any, right: Any, node: ast.AST, env: Env) -> Any: ...
        def compare(self, op: ast.cmpop, left: Any, right: Any, place: SourcePlace) -> Any: ...
        def native(self, fn: Callable[..., Any], args: list[Any], place: SourcePlace) -> Any: ...
        def truth(self, value: Any) -> bool | None: ...
        def items_of(self, value: Any) -> list[Any] | None: ...

        # Statements
        def execute(self, node: ast.stmt, env: Env) -> Status: ...
        def block(self, body: list[ast.stmt], env: Env) -> Status: ...
        def assign(self, target: ast.expr, value: Any, env: Env) -> None: ...
        def narrowed(
            self, test: ast.expr, env: Env, *, positive: bool
        ) -> AbstractContextManager[None]: ...
        def make_function(
            self,
            node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
            env: Env,
            name: str,
            cls: Class | None = None,
            kind: str = "function",
        ) -> Func: ...

        # Attributes
        def get_attr(self, value: Any, name: str, place: SourcePlace) -> Any: ...
        def find_attr(self, value: Any, name: str, place: SourcePlace) -> Any: ...
        def set_attr(self, owner: Any, name: str, value: Any, place: SourcePlace) -> None: ...
        def class_attr(self, cls: Class, name: str, after: Class | None = None) -> Any: ...
        def bind_found(self, found: Any, obj: Any, cls: Class, place: SourcePlace) -> Any: ...
        def enum_members(self, cls: Class) -> tuple[EnumMember, ...] | None: ...
        def make_super(self, env: Env, place: SourcePlace) -> Any: ...

        # Calls and Externals
        def call(
            self, func: Any, args: list[Any], kwargs: dict[str, Any], place: SourcePlace | None
        ) -> Any: ...
        def call_unbound(self, func: Any, place: SourcePlace, why: str) -> Any: ...
        def tensor_operation(
            self, name: str, args: list[Any], kwargs: dict[str, Any], place: SourcePlace
        ) -> Any: ...
        def external(self, name: str) -> Any: ...
        def external_attr(self, value: Ext, name: str) -> Any: ...
        def external_method(self, mod: Mod, name: str) -> Any: ...
        def external_truth(self, value: Ext) -> bool | None: ...
