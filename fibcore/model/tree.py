"""The model tree: what elaboration yields and what plugins read.

A tree is data. Plugins see modules with their paths, classes, bound constructor arguments and
calls, and never the evaluator that made them.

Values in `ModuleNode.arguments` and in `Call`s are plain Python (int, float, str, bool, None,
list, tuple, dict) or one of `Unknown`, `Alternatives`, `ModuleRef`, `ParameterRef`, `Named`.
Numbers and strings that came out of the model's config or the serving sizes remember it: ask
`origins_of(value)`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import attrs


@attrs.frozen
class SourcePlace:
    """A place in a source tree: path below the package's parent (`sglang/srt/...`), line from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    @classmethod
    def parse(cls, text: str) -> SourcePlace:
        """The place that `str` gives.

        Raises:
            ValueError: the text is no place.
        """
        file, _, line = text.rpartition(":")
        return cls(file, int(line))


class UnknownKind(enum.Enum):
    """What is known all the same of a value that is not."""

    VALUE = "value"
    """Nothing."""
    TENSOR = "tensor"
    """It is a tensor: neither None nor a plain value of Python."""
    ATTRIBUTE = "attribute"
    """It is an attribute of which not even that it exists is known."""
    ENTRY = "entry"
    """It is an entry of a list that only one side of a branch made; the length is not known."""


@attrs.frozen
class Unknown:
    """A value that elaboration could not know.

    Attributes:
        reason: Why, for people to read.
        place: Where that happened.
        kind: What is known of it all the same, for code to read.
    """

    reason: str
    place: SourcePlace | None = None
    kind: UnknownKind = attrs.field(default=UnknownKind.VALUE, repr=False)

    @property
    def is_tensor(self) -> bool:
        """Whether it is known to be a tensor."""
        return self.kind is UnknownKind.TENSOR

    @classmethod
    def tensor(cls, reason: str, place: SourcePlace | None = None) -> Unknown:
        """A tensor of which only that is known."""
        return cls(reason, place, UnknownKind.TENSOR)

    @classmethod
    def attribute(cls, reason: str, place: SourcePlace | None = None) -> Unknown:
        """An attribute that may exist or not."""
        return cls(reason, place, UnknownKind.ATTRIBUTE)

    def __str__(self) -> str:
        return f"unknown ({self.reason}{f', {self.place}' if self.place else ''})"


@attrs.frozen
class Alternatives:
    """A value that is one of several, because a branch could not be decided."""

    values: tuple[Any, ...]


@attrs.frozen
class ModuleRef:
    """A module that was handed to a constructor or call, by its path in the tree."""

    path: str


@attrs.frozen
class ParameterRef:
    """A tensor that a module holds as a parameter or buffer.

    Attributes:
        path: Path of the parameter, `model.layers.3.mlp.gate.weight`.
        shape: Its sizes; a size may be `Unknown`. None where not even the rank is known.
        dtype: `bfloat16`, `float32`, ...; None stands for the model's default dtype.
    """

    path: str
    shape: tuple[Any, ...] | None
    dtype: str | None = None


@attrs.frozen
class Named:
    """A thing known by its name alone: `torch.bfloat16`, a class, a function."""

    name: str


@attrs.frozen
class Call:
    """One way in which the model's forward pass calls a module.

    Attributes:
        method: `forward`, or the name of another method of the module that is called.
        args: Positional argument values. A tensor of the forward pass is an `Unknown`.
        kwargs: Keyword argument values, likewise.
        place: Where the call stands.
    """

    method: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    place: SourcePlace

    def argument(self, position: int, *names: str) -> Any:
        """The argument at `position` or under one of `names`; None where it was not given."""
        if position < len(self.args):
            return self.args[position]
        for name in names:
            if name in self.kwargs:
                return self.kwargs[name]
        return None


@attrs.frozen
class Operation:
    """A tensor operation of the forward pass on a module's parameter (a GEMM that is no Linear).

    Attributes:
        function: Dotted name: `torch.nn.functional.linear`, `torch.matmul`.
        module: Path of the module in whose forward it happens.
        args: Positional argument values; parameters are `ParameterRef`s.
        kwargs: Keyword argument values.
        place: Where it stands.
    """

    function: str
    module: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    place: SourcePlace


@attrs.frozen
class Quantization:
    """The quantisation of a layer's weights, from the model's `quantization_config`.

    Attributes:
        method: SGLang's name of the method: "fp8", "modelopt_fp4", "awq", "mxfp4", ...
        weight_dtype: float8_e4m3fn, float4_e2m1, int4, int8, nf4; where the format is not known
            here, its name.
        scheme: "block", "tensor", "channel" or "group": what one weight scale covers; "format"
            where the format is not known here.
        block: (rows, columns) of a weight block where scheme is "block".
        group_size: Elements a scale covers along K where scheme is "group".
        activation: "dynamic", "static" or None where activations stay in the model's dtype.
    """

    method: str
    weight_dtype: str
    scheme: str
    block: tuple[int, int] | None = None
    group_size: int | None = None
    activation: str | None = None


@attrs.frozen(eq=False)
class ModuleNode:
    """One module instance of the elaborated model.

    Attributes:
        path: Dotted path from the model, `model.layers.3.self_attn.qkv_proj`.
        cls: Qualified class name, `sglang.srt.layers.linear.QKVParallelLinear`.
        bases: Qualified names of all its base classes, nearest first.
        arguments: Constructor arguments by parameter name, defaults filled in.
        attributes: What its `__init__` assigned to self, where that was run (for leaves: where one
            of them was read), and what was assigned to it later.
        place: Where the constructor is called.
        class_place: Where the class is defined.
        leaf: Whether it is a building block that the elaboration did not descend into.
        quantization: None for plain weights, `Unknown` where the config cannot be read.
        calls: How the forward pass calls it; empty where that is not known or never happens.
        children: Names and nodes of its submodules, in order of construction.
        idle: Whether it is known never to be called: the forward pass of the module that holds it
            was followed without an error, does not call it, and passes it to nothing that might.
    """

    path: str
    cls: str
    bases: tuple[str, ...]
    arguments: Mapping[str, Any]
    attributes: Mapping[str, Any]
    place: SourcePlace
    class_place: SourcePlace | None
    leaf: bool
    quantization: Quantization | Unknown | None
    calls: tuple[Call, ...]
    children: Mapping[str, ModuleNode]
    idle: bool = False

    @property
    def class_name(self) -> str:
        """The class name without its module."""
        return self.cls.rpartition(".")[2]

    def is_a(self, *names: str) -> bool:
        """Whether the class or a base class has one of these names (qualified or not)."""
        return not _names_of(self.cls, tuple(self.bases)).isdisjoint(names)

    def argument(self, name: str, default: Any = None) -> Any:
        """The bound constructor argument `name`, or `default` where the class has none."""
        return self.arguments.get(name, default)

    def walk(self) -> Iterator[ModuleNode]:
        """This module and everything below it, parents first."""
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(reversed(tuple(node.children.values())))


@cache
def _names_of(cls: str, bases: tuple[str, ...]) -> frozenset[str]:
    """The names of a class and its bases, each qualified and not."""
    names = (cls, *bases)
    return frozenset((*names, *(name.rpartition(".")[2] for name in names)))


@attrs.frozen
class Missing:
    """A part of the model that the tree lacks; makes the tree partial."""

    path: str
    reason: str
    place: SourcePlace | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}{f' ({self.place})' if self.place else ''}"


@attrs.frozen(eq=False)
class ModelTree:
    """The elaborated model.

    Attributes:
        model: Model slug that names it in tags and reports.
        architecture: The architecture class.
        root: The model's module; its path is "".
        operations: GEMM-like operations of the forward pass on parameters.
        missing: What could not be elaborated; the tree is partial when there is any.
        warnings: What a reader should know although nothing is missing.
        source_version: Version or commit of the SGLang source.
        config: The config as elaborated (plain data).
    """

    model: str
    architecture: str
    root: ModuleNode
    operations: tuple[Operation, ...] = ()
    missing: tuple[Missing, ...] = ()
    warnings: tuple[str, ...] = ()
    source_version: str | None = None
    config: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def partial(self) -> bool:
        """Whether something that should be there is missing."""
        return bool(self.missing)

    def walk(self) -> Iterator[ModuleNode]:
        """Every module, parents first."""
        return self.root.walk()

    def find(self, path: str) -> ModuleNode | None:
        """The module at `path`, or None."""
        node: ModuleNode | None = self.root
        rest = path
        while node is not None and rest:
            # Names of children may hold dots themselves, so a path cannot just be split.
            for name, child in node.children.items():
                if rest == name or rest.startswith(name + "."):
                    node, rest = child, rest[len(name) + 1 :]
                    break
            else:
                node = None
        return node

    def parent(self, path: str) -> ModuleNode | None:
        """The module that holds the one at `path`; None for the root."""
        return self.find(path.rpartition(".")[0]) if path else None


class OriginInt(int):
    """An int that remembers which config keys and serving sizes it was computed from."""

    origins: frozenset[str] = frozenset()


class OriginFloat(float):
    """A float that remembers its origins."""

    origins: frozenset[str] = frozenset()


class OriginStr(str):
    """A str that remembers its origins."""

    origins: frozenset[str] = frozenset()


def with_origins(value: Any, origins: frozenset[str]) -> Any:
    """`value` with origins attached; values that cannot carry any come back as they are.

    Origins read `config:num_attention_heads`, `serving:tp`, and for what the config class says
    `default:LlamaConfig.rms_norm_eps (transformers 4.57.1)`.
    """
    if isinstance(value, bool) or not origins:
        return value
    for plain, carrier in ((int, OriginInt), (float, OriginFloat), (str, OriginStr)):
        if isinstance(value, plain):
            marked = carrier(value)
            marked.origins = origins
            return marked
    return value


def origins_of(value: Any) -> frozenset[str]:
    """Where a number or string came from; empty for a constant of the source text."""
    origins = getattr(value, "origins", None)
    return origins if isinstance(origins, frozenset) else frozenset()
