"""What a config class of transformers does with a file's keys, read off its source as data.

A class is a record: the keys that it takes with their defaults, and in order what it derives from
them, each as one expression over the names of its attributes (`head_dim` is
`hidden_size // num_attention_heads` where the file has none). Records can be shipped, so that
defaults need no source at hand, and they are made the same way from any release's source text.
Nothing of it is imported or executed.
"""

from __future__ import annotations

import ast
import copy
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

BASE_NAMES = ("PreTrainedConfig", "PretrainedConfig")
KEEPS_ROPE = "keeps_rope"
"""The constant of a class that takes its RoPE settings as they are."""

_CONFIG_FILE = "configuration_*.py"
_CLASS = re.compile(r"^class (\w+)\b", re.MULTILINE)
# Parallel plans, file names and the like: long, and no part of what a model reads.
_LEFT_OUT = re.compile(r"^(base_model_\w+_plan|keys_to_ignore_at_inference|_auto_class|__\w+__)$")
_HARMLESS = re.compile(
    r"^(logger\.|warnings\.|self\.(_?validate|standardize_rope|_check|set_output_features)"
    r"|(rope_config|layer_type)_validation\(|verify_backbone|requires_backends)"
)
_BUILTINS = frozenset(
    "abs all any bool dict enumerate float getattr hasattr int isinstance len list max min range "
    "round set sorted str sum tuple type zip".split()
)
_KEPT = frozenset(("CONFIG_MAPPING", "AutoConfig"))
_KWARGS = "given"
_SELF = "self_"


class UnclearError(Exception):
    """Something that a record cannot say."""


@attrs.frozen
class ClassFacts:
    """A config class as data.

    Attributes:
        name: Its name.
        model_type: Its own `model_type`; "" where it has none.
        bases: The config classes that it derives from, nearest first.
        renamed: Other names of attributes (`attribute_map`).
        constants: Class attributes that are plain data.
        fields: The keys that it takes and their defaults: plain data, or `{"=": expression}`.
        steps: What it derives, in order: attribute, expression, and the condition under which
            (None for always). The attribute "" stands for the base class's own work.
        properties: Attributes that are computed when they are read.
        dropped: Keys of the file that it takes without keeping them.
        unclear: Attributes that come about in a way that a record cannot say.
    """

    name: str
    model_type: str = ""
    bases: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    renamed: dict[str, str] = attrs.field(factory=dict)
    constants: dict[str, Any] = attrs.field(factory=dict)
    fields: dict[str, Any] = attrs.field(factory=dict)
    steps: tuple[tuple[str, str, str | None], ...] = attrs.field(default=(), converter=tuple)
    properties: dict[str, str] = attrs.field(factory=dict)
    dropped: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    unclear: tuple[str, ...] = attrs.field(default=(), converter=tuple)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON data, without what is empty."""
        data = attrs.asdict(self)
        return {k: v for k, v in data.items() if v}


class ClassReader:
    """Reads the config classes of a transformers source tree.

    Args:
        root: The folder of the `transformers` package.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._trees: dict[Path, ast.Module] = {}

    @functools.cached_property
    def files(self) -> dict[str, Path]:
        """Class name to the file that defines it."""
        found: dict[str, Path] = {}
        paths = sorted((self._root / "models").glob(f"*/{_CONFIG_FILE}"))
        paths += sorted((self._root / "models").glob(f"deprecated/*/{_CONFIG_FILE}"))
        for path in paths:
            for match in _CLASS.finditer(path.read_text(encoding="utf-8")):
                if match.group(1).endswith("Config"):
                    found.setdefault(match.group(1), path)
        return found

    def model_types(self) -> dict[str, str]:
        """Model type to class name, as AutoConfig maps them (CONFIG_MAPPING_NAMES)."""
        return self._table("CONFIG_MAPPING_NAMES", "auto_mappings.py", "configuration_auto.py")

    def architectures(self) -> dict[str, str | list[str]]:
        """Model type to its causal or conditional generation class, as the Auto classes map it."""
        found: dict[str, Any] = {}
        for name in (
            "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
            "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
            "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
            "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
            "MODEL_MAPPING_NAMES",
        ):
            for kind, value in self._table(name, "modeling_auto.py").items():
                found.setdefault(kind, value)
        return found

    def _table(self, name: str, *files: str) -> dict[str, Any]:
        """All string pairs that `name = OrderedDict(...)` and `name.update(...)` hold."""
        pairs: dict[str, Any] = {}
        for file in files:
            path = self._root / "models" / "auto" / file
            if not path.is_file():
                continue
            for node in self._tree(path).body:
                text = ast.unparse(node)[: len(name) + 12]
                if text.startswith((f"{name} =", f"{name}: ", f"{name}.update(")):
                    pairs.update(_string_pairs(node))
        return pairs

    def base(self) -> ClassFacts:
        """The keys that the base class of all configs takes."""
        cls, _ = self._class_in(self._root / "configuration_utils.py", *BASE_NAMES)
        init = _method(cls, "__init__")
        if init is None:
            fields = {k: _plain(v) for k, v in _annotated(cls).items()}
        else:
            fields = {k: _plain(v) for k, v in _parameters(init).items()}
        defaults = _method(cls, "_get_global_generation_defaults")
        if defaults is not None:
            for node in ast.walk(defaults):
                if isinstance(node, ast.Dict):
                    fields.update(ast.literal_eval(node))
        constants: dict[str, Any] = {}
        dropped: list[str] = []
        if init is None:
            # Settings of text generation are no part of a config any more.
            path = self._root / "generation" / "configuration_utils.py"
            for node in ast.walk(self._tree(path)):
                if isinstance(node, ast.FunctionDef) and node.name.endswith(
                    "_get_default_generation_params"
                ):
                    dropped = [str(k) for k, _ in _dict_items(node)]
            tree = self._tree(self._root / "configuration_utils.py")
            old = _global_data(tree).get("_LEGACY_LAYER_TYPE_REMAP")
            if isinstance(old, dict):
                constants["layer_types"] = old
        return ClassFacts(BASE_NAMES[0], fields=fields, constants=constants, dropped=dropped)

    def facts(self, name: str) -> ClassFacts | None:
        """The record of a class; None where the tree has no such class."""
        if name not in self.files:
            return None
        lineage = [name]
        while True:
            bases = [ast.unparse(b).rpartition(".")[2] for b in self._class(lineage[-1])[0].bases]
            known = [b for b in bases if b in self.files and b not in lineage]
            if not known:
                break
            lineage.append(known[0])
        return _Record(self, lineage).facts()

    def _class(self, name: str) -> tuple[ast.ClassDef, ast.Module]:
        return self._class_in(self.files[name], name)

    def _class_in(self, path: Path, *names: str) -> tuple[ast.ClassDef, ast.Module]:
        tree = self._tree(path)
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name in names:
                return node, tree
        raise UnclearError(f"no class {names[0]} in {path}")

    def _tree(self, path: Path) -> ast.Module:
        if path not in self._trees:
            self._trees[path] = ast.parse(path.read_text(encoding="utf-8"))
        return self._trees[path]


class _Record:
    """Makes one class's record by following its constructor over expressions."""

    def __init__(self, reader: ClassReader, lineage: list[str]) -> None:
        self.lineage = lineage
        self.classes = [reader._class(name) for name in lineage]
        self.globals = [_global_data(tree) for _, tree in self.classes]
        self.constants: dict[str, Any] = {}
        self.renamed: dict[str, str] = {}
        self.nodes: dict[str, ast.expr] = {}
        self.properties: dict[str, ast.FunctionDef] = {}
        for (cls, _), data in zip(reversed(self.classes), reversed(self.globals), strict=True):
            self._class_body(cls, data)
        self.model_type = str(self.constants.pop("model_type", ""))
        self.modern = all(_method(cls, "__init__") is None for cls, _ in self.classes)
        self.fields: dict[str, Any] = {}
        self.steps: list[tuple[str, str, str | None]] = []
        self.dropped: set[str] = set()
        self.unclear: set[str] = set()
        self.conditions = 0
        self.based = False

    def _class_body(self, cls: ast.ClassDef, data: dict[str, Any]) -> None:
        for node in cls.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._class_constant(node.targets[0].id, node.value, data)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
                if "ClassVar" in ast.unparse(node.annotation) or name == "model_type":
                    if node.value is not None:
                        self._class_constant(name, node.value, data)
                else:
                    self.nodes[name] = node.value or ast.Constant(None)
                    self.constants.pop(name, None)
                    self.properties.pop(name, None)
            elif isinstance(node, ast.FunctionDef):
                kinds = [ast.unparse(d).rpartition(".")[2] for d in node.decorator_list]
                body = [s for s in node.body if not _is_docstring(s)]
                if node.name == "convert_rope_params_to_dict" and len(body) == 1:
                    self.constants[KEEPS_ROPE] = isinstance(body[0], ast.Return)
                if any(k in ("property", "cached_property") for k in kinds):
                    self.properties[node.name] = node
                    self.nodes.pop(node.name, None)

    def _class_constant(self, name: str, value: ast.expr, data: dict[str, Any]) -> None:
        if _LEFT_OUT.match(name) or name == "sub_configs":
            return
        try:
            plain = ast.literal_eval(value)
        except ValueError:
            if not (isinstance(value, ast.Name) and value.id in data):
                return
            plain = data[value.id]
        if name == "attribute_map":
            self.renamed = {**self.renamed, **plain} if isinstance(plain, dict) else self.renamed
        elif _is_data(plain):
            self.constants[name] = plain
            self.nodes.pop(name, None)
            self.properties.pop(name, None)

    def facts(self) -> ClassFacts:
        """The finished record."""
        if self.modern:
            for name, node in self.nodes.items():
                self.fields[name] = _plain(node)
        self._enter(0)
        if not self.based:
            self.steps.append(("", "", None))
        properties: dict[str, str] = {}
        for name, function in self.properties.items():
            body = [s for s in function.body if not _is_docstring(s)]
            try:
                if len(body) != 1 or not isinstance(body[0], ast.Return) or body[0].value is None:
                    raise UnclearError(name)
                properties[name] = ast.unparse(
                    _Rewriter(self, len(self.classes) - 1, {}).visit(copy.deepcopy(body[0].value))
                )
            except UnclearError:
                self.unclear.add(name)
        return ClassFacts(
            name=self.lineage[0],
            model_type=self.model_type,
            bases=self.lineage[1:],
            renamed=self.renamed,
            constants=self.constants,
            fields=self.fields,
            steps=tuple(self.steps),
            properties=properties,
            dropped=sorted(self.dropped),
            unclear=sorted(self.unclear),
        )

    # -- following the constructor --------------------------------------------------------------

    def _enter(
        self, level: int, given: dict[str, ast.expr] | None = None, guard: str | None = None
    ) -> None:
        """Follow the constructor of the class at `level` of the lineage, or of a base class.

        Args:
            level: Where in the lineage to look for one.
            given: Arguments that a derived class passes on by name; None at the start.
            guard: The condition under which it runs.
        """
        name = "__post_init__" if self.modern else "__init__"
        while level < len(self.classes) and _method(self.classes[level][0], name) is None:
            level += 1
        extra = dict(given or {})
        if level == len(self.classes):
            for key, value in extra.items():
                self._step(key, value, guard)
            self.steps.append(("", "", guard))
            self.based = True
            return
        function = _method(self.classes[level][0], name)
        assert function is not None
        local: dict[str, ast.expr] = {}
        for parameter, default in _parameters(function).items():
            if parameter in extra:
                local[parameter] = extra.pop(parameter)
            elif self.modern:
                local[parameter] = default
            else:
                if parameter not in self.fields:
                    self.fields[parameter] = _plain(default, self.globals[level])
                local[parameter] = ast.Name(parameter, ast.Load())
        for key, value in extra.items():
            self._step(key, value, guard)
        _Follower(self, level, local).block(function.body, guard)

    def _step(self, slot: str, value: ast.expr, guard: str | None) -> None:
        slot = self.renamed.get(slot, slot)
        text = ast.unparse(ast.fix_missing_locations(value))
        if text != slot or guard is None and slot not in self.fields:
            self.steps.append((slot, text, guard))


class _Follower:
    """Follows the statements of one constructor."""

    def __init__(self, record: _Record, level: int, local: dict[str, ast.expr]) -> None:
        self.record = record
        self.level = level
        self.local = local
        function = _method(
            record.classes[level][0], "__post_init__" if record.modern else "__init__"
        )
        assert function is not None
        self.kwargs = function.args.kwarg.arg if function.args.kwarg is not None else ""

    def rewrite(self, node: ast.expr) -> ast.expr:
        rewritten: ast.expr = _Rewriter(self.record, self.level, self.local, self.kwargs).visit(
            copy.deepcopy(node)
        )
        return rewritten

    def block(self, body: list[ast.stmt], guard: str | None) -> bool:
        """Follow statements; whether the last one returns or raises."""
        for position, node in enumerate(body):
            if isinstance(node, (ast.Return, ast.Raise)):
                return True
            if isinstance(node, ast.If) and _returns(node.body) and not node.orelse:
                condition = self._condition(node.test, guard)
                if condition is None:
                    self._unclear(body[position:])
                    return True
                self.block(node.body, _both(guard, condition))
                return self.block(body[position + 1 :], _both(guard, f"not {condition}"))
            try:
                self._statement(node, guard)
            except UnclearError:
                self._unclear([node])
        return False

    def _statement(self, node: ast.stmt, guard: str | None) -> None:
        if isinstance(node, ast.If):
            self._if(node, guard)
        elif isinstance(node, ast.Assign):
            value = None if _chained(node.value) else self.rewrite(node.value)
            if value is None:
                raise UnclearError(ast.unparse(node))
            for target in node.targets:
                self._assign(target, value, guard)
        elif isinstance(node, ast.AnnAssign):
            if node.value is not None:
                self._assign(node.target, self.rewrite(node.value), guard)
        elif isinstance(node, ast.AugAssign):
            load = copy.deepcopy(node.target)
            load.ctx = ast.Load()
            both = ast.BinOp(load, node.op, node.value)
            self._assign(node.target, self.rewrite(both), guard)
        elif isinstance(node, ast.Expr):
            self._expression(node.value, guard)
        elif not isinstance(node, (ast.Assert, ast.Pass, ast.Import, ast.ImportFrom)):
            raise UnclearError(ast.unparse(node))

    def _if(self, node: ast.If, guard: str | None) -> None:
        if not any(_writes(s) for s in (*node.body, *node.orelse)):
            return
        condition = self._condition(node.test, guard)
        if condition is None:
            raise UnclearError(ast.unparse(node.test))
        before = dict(self.local)
        self.block(node.body, _both(guard, condition))
        after, self.local = self.local, dict(before)
        self.block(node.orelse, _both(guard, f"not {condition}"))
        for name in {*after, *self.local}:
            yes, no = after.get(name), self.local.get(name)
            if yes is None or no is None:
                self.local[name] = yes or no or ast.Constant(None)
            elif ast.dump(yes) != ast.dump(no):
                self.local[name] = ast.IfExp(ast.Name(condition, ast.Load()), yes, no)

    def _condition(self, test: ast.expr, guard: str | None) -> str | None:
        """The name under which a condition's truth is kept; None where it is not clear."""
        try:
            value = self.rewrite(test)
        except UnclearError:
            return None
        name = f"_if{self.record.conditions}"
        self.record.conditions += 1
        self.record.steps.append((name, ast.unparse(ast.fix_missing_locations(value)), guard))
        return name

    def _assign(self, target: ast.expr, value: ast.expr, guard: str | None) -> None:
        if isinstance(target, ast.Name):
            self.local[target.id] = value
        elif _self_attribute(target):
            assert isinstance(target, ast.Attribute)
            slot = self.record.renamed.get(target.attr, target.attr)
            for name, held in list(self.local.items()):
                # A local name that still means what the attribute was.
                if name != slot and isinstance(held, ast.Name) and held.id == slot:
                    self.record.steps.append((f"_was_{slot}", slot, guard))
                    self.local[name] = ast.Name(f"_was_{slot}", ast.Load())
            if slot in self.record.properties:
                # The setter keeps it somewhere else; what is read, the property says.
                self.record.unclear.add(slot)
                return
            self.record._step(slot, value, guard)
            if isinstance(self.local.get(slot), ast.Name) and not (
                isinstance(value, ast.Name) and value.id == slot
            ):
                self.local[slot] = ast.Name(slot, ast.Load())
        elif isinstance(target, ast.Subscript):
            key = self.rewrite(target.slice)
            if self.kwargs and isinstance(target.value, ast.Name) and target.value.id == self.kwargs:
                if not isinstance(key, ast.Constant):
                    raise UnclearError(ast.unparse(target))
                self.record._step(str(key.value), value, guard)
                return
            held = self.rewrite(target.value)
            self._assign(target.value, ast.Dict([None, key], [held, value]), guard)
        else:
            raise UnclearError(ast.unparse(target))

    def _expression(self, node: ast.expr, guard: str | None) -> None:
        text = ast.unparse(node)
        if _HARMLESS.match(text) or isinstance(node, ast.Constant):
            return
        if not isinstance(node, ast.Call):
            raise UnclearError(text)
        if re.match(r"(super\(\)|PreTrainedConfig)\.__(post_)?init__\(", text):
            given = {}
            for keyword in node.keywords:
                if keyword.arg is not None:
                    given[keyword.arg] = self.rewrite(keyword.value)
                elif ast.unparse(keyword.value) != self.kwargs:
                    raise UnclearError(text)
            self.record._enter(self.level + 1, given, guard)
            return
        func = node.func
        if isinstance(func, ast.Attribute) and self.kwargs and ast.unparse(func.value) == self.kwargs:
            key = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else 0
            if func.attr == "pop" and isinstance(key, str):
                self.record.dropped.add(key)
                return
            if func.attr == "setdefault" and isinstance(key, str):
                default = self.rewrite(node.args[1])
                get = ast.parse(f"{_KWARGS}.get({key!r})", mode="eval").body
                assert isinstance(get, ast.Call)
                get.args.append(default)
                self.record._step(key, get, guard)
                return
        if isinstance(func, ast.Attribute) and func.attr in ("update", "setdefault"):
            held = self.rewrite(func.value)
            args = [self.rewrite(a) for a in node.args]
            if func.attr == "update" and len(args) == 1:
                self._assign(func.value, ast.Dict([None, None], [held, args[0]]), guard)
                return
            if func.attr == "setdefault" and len(args) == 2:
                self._assign(
                    func.value, ast.Dict([args[0], None], [args[1], held]), guard
                )
                return
        raise UnclearError(text)

    def _unclear(self, nodes: list[ast.stmt]) -> None:
        """Note what statements write that cannot be followed."""
        for outer in nodes:
            for node in ast.walk(outer):
                if isinstance(node, ast.Attribute) and _self_attribute(node):
                    if isinstance(node.ctx, ast.Store):
                        self.record.unclear.add(self.record.renamed.get(node.attr, node.attr))
                elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    self.local[node.id] = ast.Name("unclear", ast.Load())
                elif isinstance(node, ast.Call) and "super().__" in ast.unparse(node.func):
                    self.record._enter(self.level + 1, {}, None)


class _Rewriter(ast.NodeTransformer):
    """Rewrites an expression of a constructor into one over attribute names."""

    def __init__(
        self, record: _Record, level: int, local: dict[str, ast.expr], kwargs: str = ""
    ) -> None:
        self.record = record
        self.level = level
        self.local = local
        self.kwargs = kwargs
        self.bound: list[set[str]] = []

    def visit_Name(self, node: ast.Name) -> ast.expr:
        name = node.id
        if any(name in names for names in self.bound):
            return node
        if name in self.local:
            held = copy.deepcopy(self.local[name])
            if isinstance(held, ast.Name) and held.id == "unclear":
                raise UnclearError(name)
            return held
        if name == self.kwargs and name:
            return ast.Name(_KWARGS, ast.Load())
        data = self.record.globals[min(self.level, len(self.record.globals) - 1)]
        if name in data:
            return ast.parse(repr(data[name]), mode="eval").body
        if name in _BUILTINS or name in _KEPT or name.endswith("Config"):
            return node
        raise UnclearError(name)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if _self_attribute(node):
            name = self.record.renamed.get(node.attr, node.attr)
            if name in self.record.properties:
                body = [s for s in self.record.properties[name].body if not _is_docstring(s)]
                if len(body) == 1 and isinstance(body[0], ast.Return) and body[0].value:
                    inner: ast.expr = _Rewriter(self.record, self.level, {}).visit(
                        copy.deepcopy(body[0].value)
                    )
                    return inner
                raise UnclearError(name)
            if name in ("sub_configs", "__class__", "to_dict") or name in self.record.unclear:
                raise UnclearError(name)
            return ast.Name(name, ast.Load())
        if ast.unparse(node).startswith("math."):
            return node
        return ast.Attribute(self.visit(node.value), node.attr, node.ctx)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        text = ast.unparse(node.value)
        if text == "self.sub_configs" and isinstance(node.slice, ast.Constant):
            for cls, _ in self.record.classes:
                for item in cls.body:
                    if "sub_configs" in ast.unparse(item).partition("=")[0]:
                        for key, value in _dict_items(item):
                            if key == node.slice.value:
                                return value
            raise UnclearError(text)
        return ast.Subscript(self.visit(node.value), self.visit(node.slice), node.ctx)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        text = ast.unparse(node.func)
        if text in ("getattr", "hasattr") and ast.unparse(node.args[0]) == "self":
            key = node.args[1]
            if not isinstance(key, ast.Constant):
                raise UnclearError(text)
            name = self.record.renamed.get(str(key.value), str(key.value))
            if name in self.record.properties or name in self.record.unclear:
                raise UnclearError(name)
            if text == "hasattr":
                return ast.parse(f"{name!r} in {_SELF}", mode="eval").body
            get = ast.parse(f"{_SELF}.get({name!r})", mode="eval").body
            assert isinstance(get, ast.Call)
            get.args += [self.visit(a) for a in node.args[2:]]
            return get
        if isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            if owner == "self":
                raise UnclearError(text)
            if self.kwargs and owner == self.kwargs:
                if node.func.attr not in ("get", "pop") or not isinstance(
                    node.args[0], ast.Constant
                ):
                    raise UnclearError(text)
                key = str(node.args[0].value)
                if node.func.attr == "pop":
                    self.record.dropped.add(key)
                return ast.Call(
                    ast.Attribute(ast.Name(_KWARGS, ast.Load()), "get", ast.Load()),
                    [self.visit(a) for a in node.args],
                    [],
                )
            if node.func.attr in ("pop", "append", "extend", "update", "setdefault", "insert"):
                raise UnclearError(text)
        elif isinstance(node.func, ast.Name) and not (
            node.func.id in _BUILTINS or node.func.id.endswith("Config")
        ):
            raise UnclearError(text)
        return ast.Call(
            self.visit(node.func),
            [self.visit(a) for a in node.args],
            [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords],
        )

    def _comprehension(self, node: Any) -> Any:
        names: set[str] = set()
        for part in node.generators:
            names |= {n.id for n in ast.walk(part.target) if isinstance(n, ast.Name)}
        self.bound.append(names)
        try:
            return self.generic_visit(node)
        finally:
            self.bound.pop()

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _comprehension

    def visit_Lambda(self, node: ast.Lambda) -> ast.expr:
        raise UnclearError("lambda")

    visit_NamedExpr = visit_Await = visit_Yield = visit_Lambda  # type: ignore[assignment]


def _both(outer: str | None, inner: str) -> str:
    return inner if outer is None else f"{outer} and {inner}"


def _chained(node: ast.expr) -> bool:
    """Whether an assigned value changes something besides (`x = kwargs.pop(...)` is no such)."""
    return isinstance(node, (ast.NamedExpr, ast.Await, ast.Yield))


def _returns(body: list[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], ast.Return)


def _writes(node: ast.stmt) -> bool:
    """Whether a statement can change an attribute or name."""
    for inner in ast.walk(node):
        if isinstance(inner, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete, ast.For)):
            return True
        if isinstance(inner, ast.Expr) and not (
            _HARMLESS.match(ast.unparse(inner)) or isinstance(inner.value, ast.Constant)
        ):
            return True
    return False


def _self_attribute(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    )


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _method(cls: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    for node in cls.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    return None


def _parameters(function: ast.FunctionDef) -> dict[str, ast.expr]:
    """Parameters behind self, with their defaults (None where there is none)."""
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(spec.defaults))
    found: dict[str, ast.expr] = {}
    pairs = [
        *zip(positional, [*defaults, *spec.defaults], strict=True),
        *zip(spec.kwonlyargs, spec.kw_defaults, strict=True),
    ]
    for argument, default in pairs[1:]:
        found[argument.arg] = default or ast.Constant(None)
    return found


def _annotated(cls: ast.ClassDef) -> dict[str, ast.expr]:
    return {
        node.target.id: node.value or ast.Constant(None)
        for node in cls.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and "ClassVar" not in ast.unparse(node.annotation)
    }


def _plain(node: ast.expr, data: dict[str, Any] | None = None) -> Any:
    """A default as data, or as an expression."""
    if isinstance(node, ast.Name) and data and node.id in data:
        return data[node.id]
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("field", "dataclasses.field"):
        for keyword in node.keywords:
            if keyword.arg == "default":
                return _plain(keyword.value, data)
            if keyword.arg == "default_factory":
                factory = keyword.value
                if isinstance(factory, ast.Lambda):
                    return _plain(factory.body, data)
                return _plain(ast.Call(factory, [], []), data)
    try:
        plain = ast.literal_eval(node)
    except ValueError:
        return {"=": ast.unparse(node)}
    if isinstance(plain, tuple):
        return {"=": repr(plain)}
    return plain if _is_data(plain) else {"=": repr(plain)}


def _is_data(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_data(v) for k, v in value.items())
    if isinstance(value, list):
        return all(_is_data(v) for v in value)
    return value is None or isinstance(value, (bool, int, float, str))


def _global_data(tree: ast.Module) -> dict[str, Any]:
    """Module-level names that stand for plain data."""
    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


def _string_pairs(node: ast.AST) -> Iterator[tuple[str, Any]]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Tuple) and len(inner.elts) == 2:
            parts: tuple[Any, ...]
            try:
                parts = ast.literal_eval(inner)
            except ValueError:
                continue
            if isinstance(parts[0], str) and isinstance(parts[1], (str, tuple)):
                yield parts[0], parts[1] if isinstance(parts[1], str) else list(parts[1])
        elif isinstance(inner, ast.Dict):
            for key, value in zip(inner.keys, inner.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Constant):
                    yield str(key.value), value.value


def _dict_items(node: ast.AST) -> Iterator[tuple[Any, ast.expr]]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Dict):
            for key, value in zip(inner.keys, inner.values, strict=True):
                if isinstance(key, ast.Constant):
                    yield key.value, value
