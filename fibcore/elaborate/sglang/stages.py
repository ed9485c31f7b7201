"""How the norms of layer boundaries are called (`srt/layers/layer_boundary`).

Newer sources hand a layer's norms to stage boundaries: a stage's `read` runs its norm on what the
stage before it left, and its output may go through a transform or an update that has norms of its
own. The source's own `read`, `update` and `transform` are elaborated with unknown tensors, as the
forward pass is; which of them runs depends on where the stage stands in its stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.forward import TENSOR_REASON
from fibcore.elaborate.python.values import ABSENT, Class, Mod, Obj, Raised
from fibcore.elaborate.sglang.stage_norms import Stage, fuses_add
from fibcore.model.tree import Call, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

Noted = list[tuple[Mod, Call]]


class Boundaries:
    """Follows stage boundaries for one elaboration.

    Args:
        evaluator: The evaluator that constructed the model.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self.ev = evaluator
        self._known: dict[tuple[int, int], Noted] = {}

    def calls(self, stage: Stage, before: Any) -> Noted:
        """The calls of modules that a stage makes.

        Args:
            stage: The stage with its norm.
            before: Declaration of the stage before it in the stack; None for the first.

        Returns:
            Its norm's calls, and those of norms in its own transform or update.
        """
        key = (id(stage), id(before))
        if key not in self._known:
            # Layers that are alike share their stages.
            own = self._own(stage)
            self._known[key] = [*self._entry(stage, before), *own]
        return self._known[key]

    def _entry(self, stage: Stage, before: Any) -> Noted:
        norm = stage.norm
        if not isinstance(norm, Mod):
            return []
        read = _field(stage.declaration, "read")
        place = stage.place
        tensor = Unknown.tensor(TENSOR_REASON, place)
        if before is None:
            found = self._followed(read, "read", [tensor, norm], stage)
        else:
            update = _field(before, "update")
            found = self._followed(read, "update_and_read", [update, tensor, tensor, norm], stage)
        if found is not None:
            return [(mod, call) for mod, call in found if mod is norm]
        fused = False if before is None else _fused(stage.declaration, before)
        if fused is None:
            return []
        arguments = (tensor, tensor) if fused else (tensor,)
        return [(norm, Call("forward", arguments, {}, place))]

    def _own(self, stage: Stage) -> Noted:
        """What the stage's output goes through."""
        tensor = Unknown.tensor(TENSOR_REASON, stage.place)
        noted: Noted = []
        transform = _field(stage.declaration, "output_transform")
        apply = _field(transform, "apply")
        if apply is not None:
            noted += (
                self._noting(lambda: self.ev.calls.call(apply, [tensor], {}, stage.place)) or []
            )
        update = _field(stage.declaration, "update")
        if _field(update, "is_plain_add") is not True:
            noted += self._followed(update, "update", [tensor, tensor], stage) or []
        return noted

    def _followed(self, owner: Any, name: str, args: list[Any], stage: Stage) -> Noted | None:
        """The calls that a method of the source makes; None where there is no such method."""
        if not isinstance(owner, Obj) or not isinstance(owner.cls, Class):
            return None
        method = self.ev.attributes.find(owner, name, stage.place)
        if method is ABSENT or isinstance(method, Unknown):
            return None
        return self._noting(lambda: self.ev.calls.call(method, args, {}, stage.place))

    def _noting(self, run: Any) -> Noted | None:
        ev = self.ev
        try:
            with ev.forward.separate() as noted:
                run()
            by_id = {id(kept): kept for kept in ev.keep}
            return [(by_id[number], call) for number, calls in noted.items() for call in calls]
        except Raised as error:
            ev.notes.append(Unknown(f"{error.kind}: {error.message}", error.place))
            return None


def _field(record: Any, name: str) -> Any:
    """A field of a record of the source, or a constant of its class; None without one."""
    if not isinstance(record, Obj):
        return None
    if name in record.attrs:
        return record.attrs[name]
    if isinstance(record.cls, Class) and name in record.cls.names:
        return record.cls.attrs.get(name)
    return None


def _fused(declaration: Any, previous: Any) -> bool | None:
    """Whether a later norm of a stack adds the residual, by the names of its read and update.

    None where that is not known.
    """
    fused = fuses_add(_field(declaration, "read"))
    update = _field(previous, "update")
    kind = update.cls.name if isinstance(update, Obj) and isinstance(update.cls, Class) else None
    if kind == "ReplaceAtExit" or fused is False:
        return False
    if fused and kind == "PlainAdd" and _field(previous, "output_transform") is None:
        return True
    return None
