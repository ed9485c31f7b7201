"""Attention of transformers' models, which a table of functions computes by the config's word.

A model whose config asks for nothing takes torch's `scaled_dot_product_attention` where its class
says that it can, and else products of its own; a program may enter functions of its own in the
table. (PreTrainedModel.get_correct_attn_implementation and AttentionInterface,
transformers/modeling_utils.py)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Class, Func, Mod, Native
from fibcore.elaborate.transformers.config_object import ConfigObject
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.values import Obj
    from fibcore.model.tree import SourcePlace

KEY = "_attn_implementation"
_FUSED = "torch.nn.functional.scaled_dot_product_attention"
_PRODUCTS = frozenset((
    _FUSED, "torch.matmul", "torch.bmm", "torch.baddbmm", "torch.einsum",
))  # fmt: skip
"""What multiplies activations by activations, so that no module and no weight stands for it."""
_TABLE = re.compile(
    r"transformers(?:\.modeling_utils)?\."
    r"(?:(?P<get>ALL_ATTENTION_FUNCTIONS\.get_interface)|(?P<register>AttentionInterface\.register))"
)
_ENTRY = re.compile(r"transformers(?:\.modeling_utils)?\.ALL_ATTENTION_FUNCTIONS\[(\w+)\]")


class Attention:
    """The table of attention functions, with what the program entered."""

    def __init__(self) -> None:
        self._registered: dict[str, Any] = {}

    def settle(self, ev: Evaluator, model: Obj, config: ConfigObject) -> None:
        """Write the function's name into a config that asks for none, as `__init__` does."""
        if isinstance(model.cls, Class) and config.values.get(KEY) is None:
            can = ev.classes.attr(model.cls, "_supports_sdpa")
            if isinstance(can, Unknown):
                return
            ev.writes.put(config.values, KEY, "sdpa" if can is True else "eager")

    def call(
        self,
        ev: Evaluator,
        name: str,
        args: list[Any],
        kwargs: dict[str, Any],
        place: SourcePlace,
    ) -> Any:
        """The result of a call that is about the table, or of a product; ABSENT for any other."""
        if name in _PRODUCTS:
            return self._product(ev, name, args, kwargs, place)
        entry = _ENTRY.fullmatch(name)
        if entry is not None:
            found = self._function(ev, entry[1], ABSENT, place)
            return ABSENT if found is ABSENT else ev.calls.call(found, args, kwargs, place)
        match = _TABLE.fullmatch(name)
        if match is None or len(args) != 2:
            return ABSENT
        if match["get"]:
            return self._function(ev, args[0], args[1], place)
        if isinstance(args[0], str):
            self._registered[args[0]] = args[1]
        return None

    def _product(self, ev: Evaluator, name: str, args: Any, kwargs: Any, place: SourcePlace) -> Any:
        """Note a product that a module of a package computes; modules of SGLang's have matchers."""
        running = ev.forward.running[-1] if ev.mode.forward and ev.forward.running else None
        if isinstance(running, Mod) and isinstance(running.cls, Class):
            package = running.cls.module.name.partition(".")[0]
            if package != ev.index.package:
                ev.forward.note_operation(name, args, kwargs, place, beside=True)
        return ABSENT

    def _function(self, ev: Evaluator, name: Any, default: Any, place: SourcePlace) -> Any:
        """The function that the table holds under a name."""
        if name == "sdpa":
            return Native(name, _fused)
        if isinstance(name, str) and name in self._registered:
            return _noted(self._registered[name])
        if name == "eager":
            return default
        return ABSENT if default is ABSENT else Unknown("an attention function", place)


def _fused(ev: Evaluator, args: Any, kwargs: Any, place: SourcePlace) -> Any:
    """`sdpa_attention_forward(module, query, key, value, mask, ...)`: its result and no weights."""
    scale = {"scale": kwargs["scaling"]} if "scaling" in kwargs else {}
    ev.forward.note_operation(_FUSED, args[1:4], scale, place, beside=True)
    return Unknown.tensor(f"tensor from {_FUSED}", place), None


def _noted(function: Any) -> Any:
    """A function that the program entered, whose calls are noted before they are followed."""

    def call(ev: Evaluator, args: Any, kwargs: Any, place: SourcePlace) -> Any:
        name = function.qualname if isinstance(function, Func) else "attention"
        ev.forward.note_operation(name, args[1:4], {}, place, beside=True)
        return ev.calls.call(function, args, kwargs, place)

    return Native("attention", call)
