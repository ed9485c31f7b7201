"""Kernels: what plugins find in a model tree, before they become definitions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import attrs

from fibcore.model.tree import ModuleNode, Operation, SourcePlace, origins_of

_DEFAULT = re.compile(r"default:(?P<cls>[^.]+)\.(?P<key>.+) \((?P<release>[^()]+)\)")

Scalar = int | float | str | bool

Moves = Literal["", "copy", "collective"]
"""What an op does that moves data and computes nothing of its own: copies it within a device, or
sends it between ranks, sums over ranks included. Empty for what computes."""


@attrs.frozen
class Fact:
    """One constant of a kernel, with proof.

    Attributes:
        value: The constant.
        origins: `config:<key>`, `default:<class>.<key> (<package> <release>)`, `serving:tp` and so
            on; empty where the source text itself holds the number.
        place: The source line that binds it.
        note: How it follows, where that is not plain: "num_attention_heads / tp".
    """

    value: Scalar
    origins: tuple[str, ...]
    place: SourcePlace
    note: str = ""


def fact(value: Scalar, node: ModuleNode | Operation, note: str = "", *also: object) -> Fact:
    """A fact about a module or a call: its origins are those of `value` and of those in `also`."""
    origins = set(origins_of(value))
    for other in also:
        origins |= origins_of(other)
    plain: Scalar = value
    if not isinstance(value, bool):
        for kind in (int, float, str):
            if isinstance(value, kind):
                plain = kind(value)
                break
    return Fact(plain, tuple(sorted(origins)), node.place, note)


@attrs.frozen
class Use:
    """One layer that runs a kernel: module path, its class, and where it is constructed.

    Of a call of a kernel that is no module, it is the module in which that happens, the function
    and where it is called.
    """

    path: str
    cls: str
    place: SourcePlace


def use(node: ModuleNode | Operation) -> Use:
    """The use of a kernel by this module, or by this call."""
    if isinstance(node, Operation):
        return Use(node.module, node.function, node.place)
    return Use(node.path, node.cls, node.place)


def claim(node: ModuleNode | Operation) -> str:
    """What a plugin claims that accounts for a module or a call."""
    return node.key if isinstance(node, Operation) else node.path


@attrs.frozen
class Kernel:
    """A kernel that a model needs.

    Attributes:
        op_type: The dataset's op type, `gqa_paged`.
        name: The definition's name, `gqa_paged_decode_h32_kv8_d128_ps1`.
        parameters: All that the plugin needs to write the definition; plain scalars.
        facts: Provenance of every const axis, by axis name (and of other constants, such as eps).
        uses: The layers that run it, in tree order.
        tags: `stage:decode`, `tp:8`, `quantization:float8_e4m3fn`, `fi_api:...`. The core adds
            `model:` and `status:` tags.
        notes: What the report should say beside it.
        choice: What a step does in one way or another, `attention of prefill`: of the kernels with
            the same choice, at modules that one module holds, it launches one. Empty where every
            step launches it.
    """

    op_type: str
    name: str
    parameters: Mapping[str, Scalar]
    facts: Mapping[str, Fact]
    uses: tuple[Use, ...]
    tags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    choice: str = ""


def class_defaults(kernels: Iterable[Kernel]) -> dict[str, tuple[str, ...]]:
    """The defaults of config classes that constants of kernels were computed from.

    Returns:
        Class and release, `LlamaConfig, transformers 4.57.1`, to the keys in name order.
    """
    found: dict[str, set[str]] = {}
    for kernel in kernels:
        for each in kernel.facts.values():
            for origin in each.origins:
                match = _DEFAULT.fullmatch(origin)
                if match:
                    found.setdefault(f"{match['cls']}, {match['release']}", set()).add(match["key"])
    return {cls: tuple(sorted(keys)) for cls, keys in sorted(found.items())}


@attrs.frozen
class NotCovered:
    """An op that the model runs and that no definition describes.

    Attributes:
        what: Name of the op or variant, `gqa_paged with sliding window 4096`.
        reason: Why there is no definition for it.
        uses: The layers concerned.
        op_types: Op types whose kernels define it, where their plugin is another and finds them:
            one at the same module takes this one's place in reports. None where the op is all that
            the module runs, which any other plugin's kernel is then that claims the module. Empty
            where no other kernel can be it.
        choice: As in `Kernel`: what a step does in this way or by one of those kernels.
        moves: Whether it is a copy or a collective, which nobody defines: reports count those
            apart from what lacks a definition.
        inside: Whether a module that nothing calls runs all the same, in the kernel of a function
            that gets its parameters: a step launches it. In steps of one stage, with `stage`, it
            does so in place of its own kernel.
        stage: "decode" or "prefill" where a step of that alone launches it; else empty.
    """

    what: str
    reason: str
    uses: tuple[Use, ...]
    op_types: tuple[str, ...] | None = None
    choice: str = ""
    moves: Moves = ""
    inside: bool = False
    stage: str = ""


@attrs.frozen
class Problem:
    """A fact that a plugin needed and could not find; the result is partial because of it."""

    what: str
    reason: str
    uses: tuple[Use, ...] = ()


@attrs.frozen
class Extraction:
    """The result of one plugin on one model tree.

    Attributes:
        kernels: One entry per distinct kernel, its uses collected.
        claimed: Paths of the modules that these kernels and `not_covered` account for, and keys of
            the calls (`Operation.key`). Leaves and calls that no plugin claims are reported as not
            covered by any installed plugin. A kernel that runs beside what a module is for (what a
            linear layer is given is quantised first) does not claim the module.
        not_covered: Recognised ops without a definition.
        problems: What could not be decided.
    """

    kernels: tuple[Kernel, ...] = ()
    claimed: frozenset[str] = frozenset()
    not_covered: tuple[NotCovered, ...] = ()
    problems: tuple[Problem, ...] = ()


_Gap = tuple[str, str, tuple[str, ...] | None, str, Moves, bool, str]
"""What tells one `NotCovered` from others: all of it but its uses."""


class KernelCollector:
    """Gathers uses of equal kernels while a plugin walks the tree, and builds the `Extraction`.

    Two finds are the same kernel when their names are equal; then their parameters have to be
    equal too, or differ in `lenient` ones only (an epsilon), which is noted and the first stays.
    What is found is a module, or a call of a kernel that is none.
    """

    def __init__(self, *, lenient: tuple[str, ...] = ()) -> None:
        self._lenient = frozenset(lenient)
        self._kernels: dict[str, Kernel] = {}
        self._uses: dict[str, dict[Use, None]] = {}  # in order, each once
        self._notes: dict[str, list[str]] = {}
        self._claimed: set[str] = set()
        self._not_covered: dict[_Gap, list[Use]] = {}
        self._problems: dict[tuple[str, str], list[Use]] = {}

    def add(self, kernel: Kernel, node: ModuleNode | Operation, *, beside: bool = False) -> None:
        """Record that `node` runs `kernel` (whose own `uses` are ignored).

        Args:
            kernel: The kernel.
            node: The module, or the call.
            beside: Whether it runs beside what the module is for, which is for others to define:
                the module is not claimed then.
        """
        if not beside:
            self._claimed.add(claim(node))
        first = self._kernels.get(kernel.name)
        if first is None:
            self._kernels[kernel.name] = kernel
            self._uses[kernel.name] = {}
            self._notes[kernel.name] = list(kernel.notes)
        else:
            for key, value in kernel.parameters.items():
                if first.parameters.get(key) == value:
                    continue
                if key not in self._lenient:
                    raise ValueError(
                        f"two kernels named {kernel.name} differ in {key}: "
                        f"{first.parameters.get(key)!r} and {value!r}"
                    )
                note = f"{key} is {first.parameters.get(key)!r} here, {value!r} at {use(node).path}"
                if len(self._notes[kernel.name]) < 4:
                    self._notes[kernel.name].append(note)
        self._uses[kernel.name][use(node)] = None

    def claim(self, node: ModuleNode | Operation) -> None:
        """Record that this plugin accounts for `node`."""
        self._claimed.add(claim(node))

    def not_covered(
        self,
        what: str,
        reason: str,
        node: ModuleNode | Operation,
        *,
        op_types: tuple[str, ...] | None = None,
        choice: str = "",
        moves: Moves = "",
        inside: bool = False,
        stage: str = "",
    ) -> None:
        """Record an op of `node` that has no definition.

        Args:
            what: Name of the op or variant.
            reason: Why there is no definition for it.
            node: The module, or the call.
            op_types: Which other plugins' kernels at the module are this op after all, where it is
                not what the module as a whole is for; see `NotCovered`. The module is claimed
                where they are None.
            choice: What a step does in this way or by another kernel; see `Kernel`.
            moves: Whether it is a copy or a collective; see `NotCovered`.
            inside: Whether it runs in the kernel of a function; see `NotCovered`.
            stage: The stage whose steps alone launch it; see `NotCovered`.
        """
        if op_types is None:
            self._claimed.add(claim(node))
        gap = (what, reason, op_types, choice, moves, inside, stage)
        self._not_covered.setdefault(gap, []).append(use(node))

    def problem(self, what: str, reason: str, node: ModuleNode | Operation) -> None:
        """Record that something about `node` could not be decided."""
        self._claimed.add(claim(node))
        self._problems.setdefault((what, reason), []).append(use(node))

    def finish(self) -> Extraction:
        """The result, in tree order."""
        kernels = tuple(
            attrs.evolve(k, uses=tuple(self._uses[n]), notes=tuple(self._notes[n]))
            for n, k in self._kernels.items()
        )
        return Extraction(
            kernels=kernels,
            claimed=frozenset(self._claimed),
            not_covered=tuple(
                NotCovered(what, reason, tuple(uses), op_types, choice, moves, inside, stage)
                for (
                    (what, reason, op_types, choice, moves, inside, stage),
                    uses,
                ) in self._not_covered.items()
            ),
            problems=tuple(Problem(*k, tuple(u)) for k, u in self._problems.items()),
        )
