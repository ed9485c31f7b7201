"""The residual stream of a forward pass, and the stages that read and write it.

Newer sources (`srt/layers/layer_boundary`) hand a layer's norms to stage boundaries. The forward
batch carries a stream from one stage to the next: a stage's `prepare` applies the update that the
stage before it left, if any, and reads its input, which runs the norm; `finish` leaves its own
update, or writes it where that is applied at the exit. Here a stream is as much of that as tells
how norms are called; the source's own reads, updates and transforms are elaborated with unknown
tensors, like the rest of the forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.forward import TENSOR_REASON
from fibcore.elaborate.python.values import (
    ABSENT,
    Class,
    Func,
    Mod,
    Namespace,
    Native,
    Obj,
    Partial,
    Raised,
    Value,
    merge,
)
from fibcore.elaborate.sglang.arguments import Args, Kwargs, argument
from fibcore.model.tree import Alternatives, Condition, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_READ_OPTIONS = ("quant_format", "post_residual_addition")
"""What a call of `prepare` hands to the stage's read."""


_SUM = "srt.layers.layer_boundary.ops.sum_output"
"""The function that adds a stage's output up over ranks."""
_FUSIONS = "srt.layers.layer_boundary.fusions.allreduce"
_OUTPUTS = "srt.layers.layer_boundary.output"
_EXPERTS = "srt.layers.moe.utils"
"""Modules of what one kernel does with a sum, a residual and a norm."""
_FEW = "a batch of few tokens"
"""What that kernel takes."""


# What releases call the same.
_AT_EXIT = ("applied_at_exit", "at_producer")
_PLAIN = ("is_plain_add", "adds_plainly")
_PLAIN_NORM = ("is_plain_norm",)
_BEGIN = ("init_residual", "enter")


class Stream(Value):
    """What a forward batch carries between two stages.

    Attributes:
        residual: The residual; None before the first stage, and behind a stage that banks it.
        pending: The update that the last stage left for the next read; None where the residual
            is all there is.
        entered: Whether a stage has read its input yet.
        owes: Whether the norm of the next read may add the update up over ranks in steps of few
            tokens, in one kernel.
    """

    __slots__ = ("entered", "owes", "pending", "residual")

    def __init__(
        self,
        residual: Any = None,
        pending: Any = None,
        *,
        entered: bool = True,
        owes: bool = False,
    ) -> None:
        self.residual = residual
        self.pending = pending
        self.entered = entered
        self.owes = owes

    @property
    def _kind(self) -> Any:
        return (self.entered, _kind(self.residual), _kind(self.pending), self.owes)

    def same_as(self, other: Any) -> bool:
        return bool(self._kind == other._kind)

    def summary(self, number: int | None) -> Any:
        return self._kind


class Stage(Value):
    """A stage boundary: `append_stages((declaration, norm))` makes one.

    Attributes:
        streams: The stream that it reads and writes.
        declaration: What the model says of the stage.
        norm: The norm that its read runs; None where that runs none.
    """

    __slots__ = ("declaration", "norm", "streams")

    def __init__(self, streams: ResidualStreams, declaration: Any, norm: Any) -> None:
        self.streams = streams
        self.declaration = declaration
        self.norm = norm

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name in ("declaration", "norm"):
            return getattr(self, name)
        if name == "kind":
            kind = _field(self.declaration, "kind")
            return Unknown("the kind of a stage", place) if kind is ABSENT else kind
        method = self.streams.methods.get(name)
        if method is None:
            return Unknown(f"{name} of a stage boundary", place)
        return Native(name, lambda ev, args, kwargs, at: method(ev, self, args, kwargs, at))


class _Exit(Value):
    """What `with boundary.exit(forward_batch) as output` binds: it finishes the stage."""

    __slots__ = ("stage",)

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        return self.stage.find_attr(ev, name, place)

    def enter(self, ev: Evaluator, place: SourcePlace) -> Any:
        return self


class _Applied(Value):
    """A pending update as the next read sees it: what it calls was noted with its own stage."""

    __slots__ = ("update",)

    def __init__(self, update: Any) -> None:
        self.update = update

    def is_of(self, cls: Any) -> bool | None:
        return self.update.is_of(cls) if isinstance(self.update, Value) else None

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name == "update":
            return Native(name, lambda *_: _tensor(place))
        return ev.attributes.find(self.update, name, place)


class ResidualStreams:
    """The stream of the one batch that is followed.

    Args:
        ranks: How many ranks serve the model.

    Attributes:
        methods: What a stage boundary does, by the name of its method.
        functions: The functions of the source that read and write the stream.
    """

    def __init__(self, ranks: int) -> None:
        self._ranks = ranks
        self._takes: dict[str, bool] = {}
        self._shown: dict[str, bool] = {}  # the sums of models: whether their kernels are noted
        self._held: dict[str, Any] = {"stream": None}
        self.methods: dict[str, Callable[..., Any]] = {
            "prepare": self._prepare,
            "finish": self._finish,
            "complete_now": self._finish,
            "postprocess": self._finish,
            "exit": lambda ev, stage, *_: _Exit(stage),
            "branch_input": self._branch_input,
            **dict.fromkeys(
                ("branch_output", "merge_branch", "sum_part", "snapshot"),
                lambda ev, stage, args, kwargs, place: _tensor(place),
            ),
            "capture_output": lambda ev, stage, args, kwargs, place: (
                _tensor(place),
                _tensor(place),
            ),
        }
        self.functions: dict[str, Callable[..., Any]] = {
            "append_stages": self.append,
            "clear_stream": self._clear,
            "final_norm": self._final_norm,
            "fold_stream": self._write,
            "make_stage": self._make,
            "read_output": self._read_output,
            "start_stream": self._start,
            "written_residual": self._written_residual,
        }

    @property
    def current(self) -> Any:
        """The stream as it is now; None where there is none, Unknown where it is not known."""
        return self._held["stream"]

    def carry(self, ev: Evaluator, stream: Any) -> None:
        """Go on with a stream."""
        if stream is not self.current:
            ev.writes.put(self._held, "stream", stream)

    # -- stages --------------------------------------------------------------------------------

    def append(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`append_stages((declaration, norm), ...)`: a boundary for each stage."""
        stages: list[Any] = []
        for stage in args:
            items = ev.operators.items(stage)
            if items is None or len(items) < 2:
                stages.append(Unknown("a stage that is not known", place))
            else:
                stages.append(Stage(self, items[0], items[1]))
        return tuple(stages)

    def _make(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`make_attn_stage(declaration=..., norm=...)` and the like: the boundary of one stage."""
        return Stage(self, kwargs.get("declaration"), kwargs.get("norm"))

    def _prepare(
        self, ev: Evaluator, stage: Stage, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        options = {k: v for k, v in kwargs.items() if k in _READ_OPTIONS}
        bound = [argument(args, kwargs, 1, "forward_batch"), kwargs.get("read_context")]
        read = _bound(ev, _field(stage.declaration, "read"), bound, place)
        result = self._read(ev, read, stage.norm, options, place, _stage_kind(stage))
        pairs = [_pair(ev, each) for each in _each(result)]
        self.carry(
            ev,
            merge(
                Unknown("what a stage read", place) if pair is None else Stream(pair[1])
                for pair in pairs
            ),
        )
        return merge(_tensor(place) if pair is None else pair[0] for pair in pairs)

    def _read(
        self, ev: Evaluator, read: Any, norm: Any, options: Kwargs, place: SourcePlace, kind: str
    ) -> Any:
        """What a read gives for the stream, after the update that is pending: input, residual."""
        results: list[Any] = []
        for stream in self._streams():
            if not isinstance(stream, Stream):
                ev.forward.give_away([read, norm], {})
                return Unknown("a read of a residual stream that is not known", place)
            if stream.owes:
                with ev.launches.taken_for(Condition(_FEW, True, place, "decode", by_size=True)):
                    if not self._fuse(ev, kind, read, norm, stream, options, place):
                        self._note_sum(ev, place)
            try:
                results.append(_run_read(ev, read, norm, stream, options, place))
            except Raised as error:
                if ev.statements.loses(error) or error.explicit:
                    ev.statements.note_lost(error)
                    return Unknown(f"{error.kind}: {error.message}", error.place)
                raise
        return merge(results)

    def _finish(
        self, ev: Evaluator, stage: Stage, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        """Hand a stage's output on, through what its declaration says."""
        declaration = stage.declaration
        bound = [argument(args, kwargs, 1, "forward_batch"), kwargs.get("update_context")]
        update = _bound(ev, _field(declaration, "update"), bound, place)
        apply = _field(_field(declaration, "output_transform"), "apply")
        if apply is not ABSENT:
            ev.calls.call(apply, [_tensor(place)], {}, place)
        at_exit = _flag(ev, update, _AT_EXIT, place)
        plain = _flag(ev, update, _PLAIN, place) is True
        owes = plain and at_exit is False and self._may_owe(ev, _stage_kind(stage), place)
        if owes:
            with ev.launches.taken_for(Condition(_FEW, False, place, "prefill", by_size=True)):
                self._note_sum(ev, place)
        else:
            self._sum(ev, declaration, bound[0], place)
        if not plain:
            # Where the next read applies it, its modules are this stage's all the same.
            method = ABSENT if update is ABSENT else ev.attributes.find(update, "update", place)
            if method is not ABSENT:
                ev.calls.call(method, [_tensor(place), _tensor(place)], {}, place)
        after: list[Any] = []
        for stream in self._streams():
            if not isinstance(stream, Stream) or at_exit is None:
                ev.forward.give_away([declaration], {})
                after.append(Unknown("a residual stream that is not known", place))
            elif at_exit:
                after.append(Stream(_tensor(place)))
            else:
                after.append(Stream(stream.residual, update, owes=owes))
        self.carry(ev, merge(after))
        return _tensor(place)

    # -- sums over ranks -----------------------------------------------------------------------

    def _sum(self, ev: Evaluator, declaration: Any, batch: Any, place: SourcePlace) -> None:
        """Add a stage's output up over ranks, by the function that its declaration has for that.

        What else a function of the model does is seen so: Inkling's takes what its experts stashed
        for it. Where the batch may be one whose sum the next read takes, it may not be called. Sums
        that are no kernel by themselves, but several that a size chooses among, are noted as one.
        """
        own = _field(declaration, "sum_impl")
        run = ABSENT if own is ABSENT or own is None else _field(own, "run")
        if self._ranks == 1 or run is ABSENT or run is None or isinstance(run, Unknown):
            self._note_sum(ev, place)
            return
        given = Unknown("the batch", place) if batch is None or batch is ABSENT else batch
        add = partial(ev.calls.call, run, [_tensor(place), given], {}, place)
        can_defer = _field(own, "can_defer")
        defers: Any = can_defer is not ABSENT and can_defer is not None
        if defers:
            defers = ev.operators.truth(ev.calls.call(can_defer, [given], {}, place))
        before = _noted(ev)
        if defers is False:
            add()
        else:
            ev.writes.choose([add, lambda: None], Unknown("which step takes a sum", place))
        name = _function_name(run)
        if self._shown.setdefault(name, _noted(ev) > before) is False:
            self._note_sum(ev, place)

    def _note_sum(self, ev: Evaluator, place: SourcePlace) -> None:
        """Note that ranks may add a stage's output up.

        A stage says whether its output is a sum's part when the model is built, by much that is not
        followed; the sum is taken at the stage's exit or by the kernel of the next norm.
        """
        if self._ranks > 1:
            name = f"{ev.index.package}.{_SUM}"
            ev.forward.note_operation(name, [_tensor(place)], {}, place, beside=True, possible=True)

    def _may_owe(self, ev: Evaluator, kind: str, place: SourcePlace) -> bool:
        """Whether a kernel of the next norm may add up what a stage of a kind gives.

        It is for the server's arguments and the machine to say, all the same for every layer: the
        source's own answers are asked, and tokens of the batch are all that is left open.
        """
        if self._ranks == 1 or not kind:
            return False
        if kind not in self._takes:
            one_sum = kind == "ATTENTION" or (
                self._ask(ev, _EXPERTS, "post_experts_sum_is_one_all_reduce", [], place)
                is not False
            )
            tokens = Unknown("the number of tokens", place)
            answers = (
                self._ask(ev, _FUSIONS, "flashinfer_ar_fusion_applies", [tokens], place),
                self._ask(
                    ev,
                    _FUSIONS,
                    "aiter_ar_fusion_applies",
                    [_tensor(place), Unknown("the batch", place)],
                    place,
                ),
            )
            applies = any(
                one is not ABSENT and ev.operators.truth(one) is not False for one in answers
            )
            self._takes[kind] = one_sum and applies
        return self._takes[kind]

    def _ask(
        self, ev: Evaluator, module: str, name: str, args: list[Any], place: SourcePlace
    ) -> Any:
        """What a function of the source answers; ABSENT where there is none."""
        space = ev.modules.space(f"{ev.index.package}.{module}")
        func = ABSENT if space is None else ev.modules.name_in(space, name)
        return ABSENT if func is ABSENT else ev.calls.call(func, args, {}, place)

    def _fuse(
        self,
        ev: Evaluator,
        kind: str,
        read: Any,
        norm: Any,
        stream: Stream,
        options: Kwargs,
        place: SourcePlace,
    ) -> bool:
        """Whether one kernel may take the sum that an update owes with a read's norm.

        The source's own function is followed, which calls the norm by its method for that.
        """
        if _flag(ev, read, _PLAIN_NORM, place) is not True or stream.residual is None:
            return False
        plan = Namespace("plan of a stage", {"norm": norm}, lambda n: Unknown(f"{n} of a plan"))
        batch = Unknown("the batch", place)
        if kind == "FFN":
            given = [plan, _tensor(place), stream.residual, batch]
            result = self._ask(ev, _FUSIONS, "fused_ffn_input", given, place)
        elif kind == "ATTENTION":
            group = self._ask(ev, _EXPERTS, "post_experts_reduction_group", [], place)
            owed = self._ask(ev, _OUTPUTS, "UnreducedOutput", [_tensor(place), group], place)
            given = [plan, owed, stream.residual, batch, options.get("post_residual_addition")]
            space = ev.modules.space(f"{ev.index.package}.{_FUSIONS}")
            func = ABSENT if space is None else ev.modules.name_in(space, "fused_attn_input")
            keys = {"fuses_quant": False, "keep_bf16": False}
            result = None if func is ABSENT else ev.calls.call(func, given, keys, place)
        else:
            return False
        return result is not None and result is not ABSENT

    def _branch_input(
        self, ev: Evaluator, stage: Stage, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        # A branch reads what its source has read: the residual stays as that left it.
        return _tensor(place)

    # -- the stream between and behind the stages ----------------------------------------------

    def _settle(self, ev: Evaluator, place: SourcePlace) -> None:
        """Take the sum that an update owes where no norm of a stage can."""
        if any(isinstance(stream, Stream) and stream.owes for stream in self._streams()):
            with ev.launches.taken_for(Condition(_FEW, True, place, "decode", by_size=True)):
                self._note_sum(ev, place)

    def _streams(self) -> Iterator[Any]:
        yield from _each(self.current)

    def _start(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`start(forward_batch)`: nothing was read yet."""
        self.carry(ev, Stream(entered=False))

    def _clear(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`take_output(hidden_states, forward_batch)` and the like: the stream ends."""
        self._settle(ev, place)
        self.carry(ev, None)
        return _tensor(place)

    def _write(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`fold(hidden_states, forward_batch)` and the like: the residual is all there is."""
        self._settle(ev, place)
        self.carry(ev, Stream(args[0] if args else _tensor(place)))
        return args[0] if args else _tensor(place)

    def _written_residual(
        self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        return merge(
            stream.residual
            if isinstance(stream, Stream)
            else Unknown("a residual stream that is not known", place)
            for stream in self._streams()
        )

    def _final_norm(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`final_norm(hidden_states, forward_batch, norm)`: adds what is pending, if anything."""
        norm = argument(args, kwargs, 2, "layernorm")
        options = {
            k: v
            for k, v in kwargs.items()
            if k not in ("capture", "capture_output", "finalize_norm", "handoff_norm", "layernorm")
            and k not in ("forward_batch", "hidden_states", "skip_empty")
        }
        self._settle(ev, place)
        for stream in self._streams():
            if not isinstance(stream, Stream):
                ev.forward.give_away([norm], {})
                continue
            tensor = _tensor(place)
            if stream.pending is None or stream.residual is None:
                ev.calls.call(norm, [tensor], {}, place)
            elif _flag(ev, stream.pending, _PLAIN, place) is True:
                ev.calls.call(norm, [tensor, stream.residual], options, place)
            else:
                ev.forward.give_away([norm], {})
        self.carry(ev, None)
        return _tensor(place)

    def _read_output(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`read_output(hidden_states, forward_batch, read, norm)`: a read ends the stream."""
        bound = [argument(args, kwargs, 1, "forward_batch"), kwargs.get("read_context")]
        read = _bound(ev, argument(args, kwargs, 2, "read"), bound, place)
        result = self._read(ev, read, argument(args, kwargs, 3, "norm"), {}, place, "")
        self.carry(ev, None)
        return result


def _run_read(
    ev: Evaluator, read: Any, norm: Any, stream: Stream, options: Kwargs, place: SourcePlace
) -> Any:
    """Run the source's own read."""
    tensor = _tensor(place)
    if stream.pending is not None and stream.residual is not None:
        method = ev.attributes.get(read, "update_and_read", place)
        given = [_Applied(stream.pending), tensor, stream.residual, norm]
        return ev.calls.call(method, given, options, place)
    value = stream.residual if stream.residual is not None else tensor
    if not stream.entered:
        begin = _find(ev, read, _BEGIN, place)
        value = tensor if begin is ABSENT else ev.calls.call(begin, [tensor], {}, place)
    given_options = {k: v for k, v in options.items() if k == "quant_format"}
    method = ev.attributes.get(read, "read", place)
    return ev.calls.call(method, [value, norm], given_options, place)


def _noted(ev: Evaluator) -> int:
    """How many kernels beside modules are noted of the module that runs."""
    running = ev.forward.running
    noted = ev.forward.operations.get(id(running[-1]), []) if running else []
    return sum(operation.beside for operation in noted)


def _function_name(value: Any) -> str:
    while isinstance(value, Partial):
        value = value.func
    return value.qualname if isinstance(value, Func) else ""


def _stage_kind(stage: Stage) -> str:
    """What a stage is for, ATTENTION or FFN; empty where that is not known."""
    kind = _field(stage.declaration, "kind")
    return str(getattr(kind, "name", "")) if kind is not ABSENT else ""


def _each(value: Any) -> tuple[Any, ...]:
    return value.values if isinstance(value, Alternatives) else (value,)


def _pair(ev: Evaluator, read: Any) -> tuple[Any, Any] | None:
    """The input and the residual that a read gave; None where they are not known."""
    if isinstance(read, Unknown):
        return (read, read) if read.is_tensor else None  # a norm's own pair
    items = ev.operators.items(read)
    return None if items is None or len(items) != 2 else (items[0], items[1])


def _bound(ev: Evaluator, part: Any, given: list[Any], place: SourcePlace) -> Any:
    """A read or an update for one batch, where it has to be bound to that."""
    bind = ABSENT if part is ABSENT else ev.attributes.find(part, "bind", place)
    if bind is ABSENT or bind is None or isinstance(part, Unknown):
        return part
    return ev.calls.call(bind, given, {}, place)


def _flag(ev: Evaluator, part: Any, names: tuple[str, ...], place: SourcePlace) -> bool | None:
    """What a read or an update says of itself; None where that is not known."""
    value = ABSENT if part is ABSENT else _find(ev, part, names, place)
    return value if isinstance(value, bool) else None


def _find(ev: Evaluator, part: Any, names: tuple[str, ...], place: SourcePlace) -> Any:
    """The attribute that a part has under one of these names; ABSENT where it has none."""
    found = (ev.attributes.find(part, name, place) for name in names)
    return next((value for value in found if value is not ABSENT), ABSENT)


def _field(record: Any, name: str) -> Any:
    """A field of a record of the source, or a constant of its class; ABSENT without one."""
    if isinstance(record, Unknown):
        return record
    if not isinstance(record, Obj):
        return ABSENT
    if name in record.attrs:
        return record.attrs[name]
    if isinstance(record.cls, Class) and name in record.cls.names:
        return record.cls.attrs.get(name, ABSENT)
    return ABSENT


def _kind(value: Any, depth: int = 3) -> Any:
    """What a part of a stream is, but for tensors and for which layer's module it is of.

    Streams of the same kind go the same way through a layer.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Obj) and not isinstance(value, Mod) and depth:
        held = sorted((name, _kind(v, depth - 1)) for name, v in value.attrs.items())
        return (value.dotted_name, tuple(held))
    return type(value).__name__ if not isinstance(value, Value) else value.dotted_name


def _tensor(place: SourcePlace) -> Unknown:
    return Unknown.tensor(TENSOR_REASON, place)
