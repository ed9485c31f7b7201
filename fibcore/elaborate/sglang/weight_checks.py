"""Whether the weights of a quantised layer can be made in the sizes that one rank has of it.

A scale covers a block of weights, or a group of them, so that a size which these do not divide
cannot be split among ranks, or merged with others. What SGLang takes and what it refuses is in the
methods that make a layer's weights (`create_weights`), which a layer's own `__init__` calls: it is
run for one layer of each kind and size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.values import Class, Func, Mod, Raised, bare
from fibcore.model.tree import Quantization, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

STEPS = 100_000
_SHARED = {"LinearBase": ("block", "group"), "FusedMoE": ("block",)}
"""Schemes in which weights share a scale with their neighbours, by what their layers derive from.

Groups of experts are not among them: there methods refuse GPUs as well, NVFP4's Hopper on 0.5.9.
"""
_NAMES = ("prefix", "layer_id")
"""Arguments that say which layer it is, and nothing of its weights."""


class WeightChecks:
    """Makes the weights of linear layers and of experts once for each kind of them.

    Args:
        evaluator: The evaluator that constructed the model.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self.ev = evaluator
        self._seen: set[Any] = set()

    def check(
        self, mod: Mod, arguments: Mapping[str, Any], quantization: Quantization | Unknown | None
    ) -> None:
        """Make the weights of a layer as its constructor does.

        Args:
            mod: The layer.
            arguments: The arguments of its constructor.
            quantization: How its weights are stored.

        Raises:
            Raised: the source refuses sizes that blocks or groups do not divide.
        """
        if not isinstance(quantization, Quantization):
            return
        cls = mod.cls
        init = self.ev.classes.attr(cls, "__init__") if isinstance(cls, Class) else None
        if not isinstance(cls, Class) or not isinstance(init, Func):
            return
        if not any(
            cls.derives(base) and quantization.scheme in schemes
            for base, schemes in _SHARED.items()
        ):
            return
        given = {name: bare(value) for name, value in arguments.items()}
        key = (id(cls), *(repr(v) for name, v in given.items() if name not in _NAMES))
        if key in self._seen:
            return
        self._seen.add(key)
        layer = Mod(cls, mod.place)  # no leaf, for what fails in a method of a leaf is no loss
        self.ev.keep.append(layer)
        try:
            with self.ev.apart(), self.ev.budget.at_most(STEPS):
                self.ev.calls.call_function(init, [layer], given, mod.place or cls.place)
        except Exhausted:
            why = f"the weights of {cls.name} take too long to be made"
            self.ev.notes.append(Unknown(why, mod.place))
        except Raised as error:
            # What the evaluation cannot follow fails otherwise, and says nothing of the sizes.
            if error.explicit and error.kind == "ValueError":
                raise
            self.ev.notes.append(Unknown(f"{error.kind}: {error.message}", error.place))
