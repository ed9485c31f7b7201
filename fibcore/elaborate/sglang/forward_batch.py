"""The batch that a model's forward pass is called with (`ForwardBatch`).

What it holds differs from batch to batch; which of its fields are tensors, always or sometimes, is
what the source's annotations say.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.forward import TENSOR_REASON
from fibcore.elaborate.python.values import Namespace, Native, Value
from fibcore.model.tree import Alternatives, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace

_MODULE = "srt.model_executor.forward_batch_info"
_CLASS = "ForwardBatch"
_TENSOR = re.compile(
    r"^    (?P<name>\w+): "
    r"(?:torch\.Tensor|(?P<none>Optional\[torch\.Tensor\]|torch\.Tensor \| None))(?=\s|$)",
    re.MULTILINE,
)


def forward_batch(ev: Evaluator, place: SourcePlace) -> Namespace:
    """A batch of which nothing is known but the kind of its fields."""
    fields = _Fields(ev, place)
    # Two-batch overlap is off unless a server argument turns it on.
    batch = Namespace("forward batch", {"can_run_tbo": False, "forward_mode": ForwardMode()})

    def field(name: str) -> Any:
        found = fields.kinds.get(name)
        if found is None:
            return Unknown.attribute(f"attribute {name} of the forward batch")
        batch.values[name] = found  # so that a test for None can narrow it
        return found

    batch.fallback = field
    return batch


class ForwardMode(Value):
    """The mode of the batch: whichever, but none of a rank that has nothing to do.

    Ranks are idle under data-parallel attention alone, which a server argument turns on.
    """

    __slots__ = ()
    comparable = False

    @property
    def dotted_name(self) -> str:
        return "ForwardMode"

    def same_as(self, other: Any) -> bool:
        return isinstance(other, ForwardMode)

    def summary(self, number: int | None) -> Any:
        return "forward mode"

    def identical(self, other: Any) -> bool | None:
        return True if other is self else None

    def truth(self, ev: Evaluator) -> bool | None:
        return None

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name == "is_idle":
            return Native(name, lambda *_: False)
        return Unknown.attribute(f"attribute {name} of the batch's mode", place)


class _Fields:
    """The fields of a source's `ForwardBatch` that are tensors, read when one is asked for."""

    def __init__(self, ev: Evaluator, place: SourcePlace) -> None:
        self._ev = ev
        self._place = place

    @cached_property
    def kinds(self) -> dict[str, Any]:
        """A tensor, or a tensor or None, by the names of fields."""
        module = self._ev.index.module(f"{self._ev.index.package}.{_MODULE}")
        if module is None:
            return {}
        text = "".join(s.text for s in module.binding(_CLASS) if s.names is not None)
        tensor = Unknown.tensor(TENSOR_REASON, self._place)
        return {
            match["name"]: Alternatives((None, tensor)) if match["none"] else tensor
            for match in _TENSOR.finditer(text)
        }
