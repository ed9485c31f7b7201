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
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
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
    PLAIN = "plain"
    """It is a number, a text or a tuple of those, of Python's own types: no object compares it."""
    TRUTH = "truth"
    """It is True or False."""


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

    @property
    def is_plain(self) -> bool:
        """Whether it is known to be a number, a text or a tuple of those."""
        return self.kind in (UnknownKind.PLAIN, UnknownKind.TRUTH)

    @property
    def is_truth(self) -> bool:
        """Whether it is known to be True or False."""
        return self.kind is UnknownKind.TRUTH

    @property
    def is_there(self) -> bool:
        """Whether it is known not to be None."""
        return self.is_tensor or self.is_plain

    def as_plain(self) -> Unknown:
        """The same for what is made of it and is a number, a text or a tuple of those."""
        return attrs.evolve(self, kind=UnknownKind.PLAIN)

    def as_truth(self) -> Unknown:
        """The same for what is made of it and is True or False."""
        return attrs.evolve(self, kind=UnknownKind.TRUTH)

    def as_anything(self) -> Unknown:
        """The same for what is made of it and other values: if it is plain, that need not be."""
        return attrs.evolve(self, kind=UnknownKind.VALUE) if self.is_plain else self

    @classmethod
    def tensor(cls, reason: str, place: SourcePlace | None = None) -> Unknown:
        """A tensor of which only that is known."""
        return cls(reason, place, UnknownKind.TENSOR)

    @classmethod
    def plain(cls, reason: str, place: SourcePlace | None = None) -> Unknown:
        """A number, a text or a tuple of those."""
        return cls(reason, place, UnknownKind.PLAIN)

    @classmethod
    def truth(cls, reason: str, place: SourcePlace | None = None) -> Unknown:
        """True or False."""
        return cls(reason, place, UnknownKind.TRUTH)

    @classmethod
    def attribute(cls, reason: str, place: SourcePlace | None = None) -> Unknown:
        """An attribute that may exist or not."""
        return cls(reason, place, UnknownKind.ATTRIBUTE)

    def __str__(self) -> str:
        return f"unknown ({self.reason}{f', {self.place}' if self.place else ''})"


@attrs.frozen
class OfPackage(Unknown):
    """A value that another package made, whose source is not read.

    Attributes:
        package: The name under which it is imported.
    """

    package: str = ""


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
    """A thing known by its name: `torch.bfloat16`, a class, a function.

    Attributes:
        name: The name; of an object that of its class.
        fields: What a record of plain values holds, by name; empty for everything else.
    """

    name: str
    fields: tuple[tuple[str, bool | int | float | str], ...] = ()


@attrs.frozen
class Call:
    """One way in which the model's forward pass calls a module.

    Attributes:
        method: `forward`, or the name of another method of the module that is called.
        args: Positional argument values. A tensor of the forward pass is an `Unknown`.
        kwargs: Keyword argument values, likewise.
        place: Where the call stands.
        order: When the forward pass first comes to it; of equal layers the first one's.
        stage: "decode" or "prefill" where it happens in one of the two alone; else empty.
        by_size: Whether that is so for how many tokens a step has, not for its mode.
    """

    method: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    place: SourcePlace
    order: int = attrs.field(default=0, eq=False)
    stage: str = ""
    by_size: bool = attrs.field(default=False, eq=False)

    def argument(self, position: int, *names: str) -> Any:
        """The argument at `position` or under one of `names`; None where it was not given."""
        return _given(self, position, names)


def _given(call: Call | Operation, position: int, names: tuple[str, ...]) -> Any:
    if position < len(call.args):
        return call.args[position]
    for name in names:
        if name in call.kwargs:
            return call.kwargs[name]
    return None


@attrs.frozen
class TensorRef:
    """A tensor of the forward pass of which something is known.

    Attributes:
        shape: Its sizes; a size may be `Unknown`, as the number of tokens is. None where not even
            the rank is known.
        dtype: `bfloat16`, `float8_e4m3fn`, ...; None where it is not known.
    """

    shape: tuple[Any, ...] | None
    dtype: str | None = None


@attrs.frozen
class Condition:
    """A branch that elaboration could not decide.

    Attributes:
        test: The text of its condition.
        holds: Whether the side is taken where the condition is true, or where it is false.
        place: Where it stands.
        stage: "decode" or "prefill" where the branch asks for the stage of a step, and that side is
            taken in one of the two; else empty.
        by_size: Whether it asks how many tokens the step has, which is taken for that.
    """

    test: str
    holds: bool
    place: SourcePlace
    stage: str = ""
    by_size: bool = False

    def __str__(self) -> str:
        return f"{'' if self.holds else 'not '}({self.test})"


@attrs.frozen
class Operation:
    """A call of a function of the forward pass that is no call of a module.

    In `ModelTree.operations` it is a tensor operation on a module's parameter (a GEMM that is no
    Linear), in `ModelTree.kernel_calls` a call of a kernel.

    Attributes:
        function: Dotted name: `torch.nn.functional.linear`, `torch.matmul`.
        module: Path of the module in whose forward it happens.
        args: Positional argument values; parameters are `ParameterRef`s, tensors `TensorRef`s where
            something is known of them, else `Unknown`s.
        kwargs: Keyword argument values.
        place: Where it stands.
        callers: Qualified names of the functions through which the module's forward pass comes to
            the call, outermost first.
        conditions: The undecided branches that it stands in, outermost first.
        possible: Whether it may not happen at all: it stands in an undecided branch, or behind one
            that may leave the function before.
        stage: "decode" or "prefill" where it happens in one of the two alone; else empty.
        beside: Whether it computes something else than what its module is for, as the quantisation
            of what a linear layer is given: who defines the module's kernel has not defined it.
    """

    function: str
    module: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    place: SourcePlace
    callers: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    possible: bool = False
    stage: str = ""
    beside: bool = False

    def argument(self, position: int, *names: str) -> Any:
        """The argument at `position` or under one of `names`; None where it was not given."""
        return _given(self, position, names)

    @property
    def name(self) -> str:
        """The function's name without the module that holds it."""
        return self.function.rpartition(".")[2]

    @property
    def key(self) -> str:
        """What a plugin claims that accounts for it: the module's path and the function."""
        return f"{self.module}:{self.function}"

    def goes_through(self, *names: str) -> bool:
        """Whether the function or one of its callers has one of these names (qualified or not)."""
        return any(
            full in names or full.rpartition(".")[2] in names
            for full in (self.function, *self.callers)
        )


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
        zero_points: Whether a number is taken off each weight before it is scaled, one for as many
            weights as a scale (asymmetric integers).
        packing: How a checkpoint packs integers whose activations are not quantised: "awq", "gptq",
            "gptq_v2" (of which zero points alone differ), "pack_quantized"; empty where it is not
            known, and for other formats.
        act_order: Whether a tensor says which group each element of K is in (`g_idx`).
    """

    method: str
    weight_dtype: str
    scheme: str
    block: tuple[int, int] | None = None
    group_size: int | None = None
    activation: str | None = None
    zero_points: bool = False
    packing: str = ""
    act_order: bool = False


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
    """A part of the model that the tree lacks; makes the tree partial.

    Attributes:
        path: Its path.
        reason: Why it lacks it, for people to read.
        place: Where that happened.
        package: The package whose source says what the part is, where that was not read; else "".
    """

    path: str
    reason: str
    place: SourcePlace | None = None
    package: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}{f' ({self.place})' if self.place else ''}"


@attrs.frozen
class Followed:
    """What is run beside modules: found where somebody asks, for it takes its time.

    Attributes:
        kernel_calls: Calls of kernels that are no module, in the order of the tree.
        parts: What the server runs beside the model, by its path ("sampler").
        missing: What could not be followed.
    """

    kernel_calls: tuple[Operation, ...] = ()
    parts: Mapping[str, ModuleNode] = attrs.field(factory=dict)
    missing: tuple[Missing, ...] = ()


class Later:
    """Something that is found when it is first asked for.

    Args:
        find: Finds it.
    """

    __slots__ = ("_find", "_found")

    def __init__(self, find: Callable[[], Followed]) -> None:
        self._find: Callable[[], Followed] | None = find
        self._found: Followed | None = None

    @classmethod
    def known(cls, found: Followed) -> Later:
        """Something that is known already."""
        return cls(lambda: found)

    def get(self) -> Followed:
        """What it is."""
        if self._find is not None:
            self._found, self._find = self._find(), None
        assert self._found is not None
        return self._found

    def __reduce__(self) -> tuple[Any, ...]:
        return Later.known, (self.get(),)  # another process has not what finds it


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
        kv_cache_dtype: The dtype of the KV cache as `--kv-cache-dtype` has it, told or found by the
            source; "model" is the model's own, "auto" is what `config` says.
        asked: Server arguments that the source read while it was elaborated.
        followed: What is run beside modules; read by `kernel_calls` and the like.
    """

    model: str
    architecture: str
    root: ModuleNode
    operations: tuple[Operation, ...] = ()
    missing: tuple[Missing, ...] = ()
    warnings: tuple[str, ...] = ()
    source_version: str | None = None
    config: Mapping[str, Any] = attrs.field(factory=dict)
    kv_cache_dtype: str = "auto"
    asked: frozenset[str] = attrs.field(default=frozenset(), repr=False)
    followed: Later = attrs.field(factory=lambda: Later.known(Followed()), repr=False)

    @property
    def kernel_calls(self) -> tuple[Operation, ...]:
        """Calls of kernels that are no module: below building blocks, in models, in the sampler.

        What a building block's class tells (the product of a linear layer) is not among them.
        """
        return self.followed.get().kernel_calls

    @property
    def parts(self) -> Mapping[str, ModuleNode]:
        """What the server runs beside the model, by path: "sampler"."""
        return self.followed.get().parts

    @property
    def not_followed(self) -> tuple[Missing, ...]:
        """What `kernel_calls` may lack."""
        return self.followed.get().missing

    def node_of(self, operation: Operation) -> ModuleNode | None:
        """The module in whose forward pass an operation happens."""
        return self.find(operation.module) or self.parts.get(operation.module)

    @cached_property
    def _nodes(self) -> dict[str, ModuleNode]:
        """The modules by their paths from the root, by the names of children."""
        found = {"": self.root}
        pending = [("", self.root)]
        while pending:
            path, node = pending.pop()
            for name, child in node.children.items():
                inner = f"{path}.{name}" if path else name
                if inner not in found:
                    found[inner] = child
                    pending.append((inner, child))
        return found

    @property
    def partial(self) -> bool:
        """Whether something that should be there is missing."""
        return bool(self.missing)

    def walk(self) -> Iterator[ModuleNode]:
        """Every module, parents first."""
        return self.root.walk()

    def find(self, path: str) -> ModuleNode | None:
        """The module at `path`, or None."""
        return self._nodes.get(path)

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
