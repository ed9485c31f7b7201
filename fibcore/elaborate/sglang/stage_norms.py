"""The norms that a model hands to its stage boundaries (`srt/layers/layer_boundary`).

They are noted while the model is built and while its forward pass is followed. How each is called
follows from the stage before it, once the whole stack is there (`stages.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.forward import TENSOR_REASON
from fibcore.elaborate.python.values import Class, Mod, Namespace, Native, Obj
from fibcore.elaborate.sglang.arguments import Args, Kwargs, argument
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


class Stage:
    """A norm that a stage boundary runs: its declaration, the norm, and where they meet."""

    __slots__ = ("declaration", "norm", "place")

    def __init__(self, declaration: Any, norm: Any, place: SourcePlace) -> None:
        self.declaration = declaration
        self.norm = norm
        self.place = place


class StageNorms:
    """The stages of one elaboration, by the module that declares them."""

    def __init__(self) -> None:
        # By the id of the module, which the evaluator keeps, so that no other gets the same.
        self._stages: dict[int, list[Stage]] = {}

    def of(self, mod: Mod) -> tuple[Stage, ...]:
        """The stages that a module declared while it was built, in order."""
        return tuple(self._stages.get(id(mod), ()))

    def append(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`append_stages(...)`: note the stages; their boundaries pass tensors on."""
        boundaries = []
        for stage in args:
            items = ev.operators.items(stage)
            if ev.construction.building:
                noted = self._stages.setdefault(id(ev.construction.building[-1]), [])
                if items is None or len(items) < 2:
                    noted.append(Stage(Unknown("a stage that is not known", place), None, place))
                else:
                    noted.append(Stage(items[0], items[1], place))
            boundaries.append(Namespace("stage boundary", {}, _tensor_method))
        return tuple(boundaries)

    @staticmethod
    def final_norm(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`final_norm(hidden_states, forward_batch, layernorm)` adds the last stage's output."""
        norm = argument(args, kwargs, 2, "layernorm")
        if isinstance(norm, Mod):
            value = Unknown.tensor(TENSOR_REASON, place)
            ev.forward.note_call(norm, "forward", [value, value], {}, place)
        return Unknown.tensor(TENSOR_REASON, place)

    @staticmethod
    def read_output(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`read_output(hidden_states, forward_batch, read, norm)`: the read runs the norm."""
        read, norm = argument(args, kwargs, 2, "read"), argument(args, kwargs, 3, "norm")
        if isinstance(norm, Mod):
            value = Unknown.tensor(TENSOR_REASON, place)
            fused = fuses_add(read)
            if fused is not None:
                ev.forward.note_call(
                    norm, "forward", [value, value] if fused else [value], {}, place
                )
        return Unknown.tensor(TENSOR_REASON, place)


def fuses_add(read: Any) -> bool | None:
    """Whether a readout adds the residual inside the norm; None where that is not known."""
    if not isinstance(read, Obj) or not isinstance(read.cls, Class):
        return None
    names = {"NormReadout": True, "NormQuantReadout": True, "UnfusedNormReadout": False}
    return names.get(read.cls.name)


def _tensor_method(name: str) -> Any:
    return Native(name, lambda ev, args, kwargs, place: Unknown.tensor(TENSOR_REASON, place))
