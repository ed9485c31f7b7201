"""What is inside of building blocks that launches kernels of its own.

A norm or a plain linear layer is one kernel, which its class tells. Others launch more: a quantised
linear layer quantises its input, a layer behind which ranks add up reduces over all of them.
Those are gone into: as the loader leaves them, with tensors in the sizes that their arguments tell.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.forward import TENSOR_REASON
from fibcore.elaborate.python.values import ABSENT, Class, Ext, Func, Mod, Obj, Raised, Tensor
from fibcore.elaborate.transformers.config_object import TEXT_CONFIGS
from fibcore.model.tree import Alternatives, Call, Quantization, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

NAMING = frozenset(("prefix", "layer_id", "layer_idx", "layer_name"))
"""Arguments of constructors that say which layer it is."""
_WEIGHT_STEPS = 20_000
"""For what is done with the weights of a layer; some formats repack them number by number."""
_SUMMING = re.compile(r"all_?reduce")
_TOKENS = "the number of tokens"
_TOPK = "srt.layers.moe.topk"
_ROUTED = "StandardTopKOutput"


def is_gone_into(mod: Mod, quantization: Quantization | Unknown | None, ranks: int) -> bool:
    """Whether a building block launches kernels that its class does not tell.

    Args:
        mod: The building block.
        quantization: How its weights are quantised.
        ranks: How many ranks serve the model.
    """
    cls = mod.cls
    if not isinstance(cls, Class):
        return False
    if cls.derives("LinearBase"):
        return quantization is not None or (ranks > 1 and cls.derives("RowParallelLinear"))
    if cls.derives("FusedMoE"):
        return isinstance(quantization, Quantization) and quantization.activation is not None
    return cls.derives("TopK") or (ranks > 1 and cls.derives("VocabParallelEmbedding"))


def sums_over_ranks(call: Call) -> bool:
    """Whether a method of a building block, of a norm say, adds up over ranks besides."""
    return _SUMMING.search(call.method) is not None


def prepared(
    ev: Evaluator,
    mod: Mod,
    arguments: Mapping[str, Any],
    quantization: Quantization | Unknown | None,
) -> Mod:
    """A building block as it is when the weights are loaded, made anew.

    Args:
        ev: The evaluator of the source tree.
        mod: The building block of the model.
        arguments: The arguments of its constructor in the layer that is meant.
        quantization: How its weights are quantised.

    Raises:
        Raised: its constructor refuses that, or does not come to know the quantisation.
    """
    place = mod.place or SourcePlace("", 1)
    init = ev.classes.attr(mod.cls, "__init__") if isinstance(mod.cls, Class) else None
    made = Mod(mod.cls, place)  # no leaf: what its constructor did not set, it has not
    ev.keep.append(made)
    made.args = dict(arguments)
    if isinstance(init, Func):
        with ev.apart():
            ev.calls.call_function(init, [made], dict(arguments), place)
    _take_over(made, mod)
    method = made.attrs.get("quant_method")
    if isinstance(quantization, Quantization) and _is_plain(method):
        # The source reads how it is quantised by way of another package.
        raise Raised("LookupError", f"how {quantization.method} computes is not known", place)
    if isinstance(method, Obj):
        process = ev.attributes.find(method, "process_weights_after_loading", place)
        if process is not ABSENT:
            with ev.launches.unseen(), ev.budget.at_most(_WEIGHT_STEPS):
                ev.calls.call(process, [made], {}, place)
    return made


def _take_over(made: Mod, mod: Mod) -> None:
    """Give a building block what the model set on it, or had it set, after it was made."""
    linear = isinstance(mod.cls, Class) and mod.cls.derives("LinearBase")
    for name, value in mod.attrs.items():
        if not linear or name not in made.attrs:
            made.attrs[name] = value


def _is_plain(method: Any) -> bool:
    return isinstance(method, Obj) and method.class_name.startswith("Unquantized")


# -- what it is called with --------------------------------------------------------------------


class Inputs:
    """The arguments of calls, tensors in the sizes that the building block says.

    Args:
        evaluator: The evaluator of the source tree.
        made: The building block.
        dtype: The dtype of activations.
    """

    def __init__(self, evaluator: Evaluator, made: Mod, dtype: Any) -> None:
        self.ev = evaluator
        self._made = made
        self._dtype = dtype
        width = _width(made)
        self._given = None if width is None else Tensor((Unknown(_TOKENS), width), dtype)
        self._linear = isinstance(made.cls, Class) and made.cls.derives("LinearBase")
        experts = isinstance(made.cls, Class) and made.cls.derives("FusedMoE")
        self._routed = _routed(evaluator, made) if experts else None

    def of(self, call: Call) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a call, as the model's forward pass makes it."""
        args, kwargs = list(call.args), dict(call.kwargs)
        _as_annotated(self.ev, self._made, call, args, kwargs)
        if self._given is not None:
            if self._linear and args and _is_one_tensor(args[0]):
                args[0] = self._given  # whatever made it, it is what is multiplied
            else:
                _give(args, kwargs, self._given)
        if self._routed is not None:
            if "topk_output" in kwargs:
                kwargs["topk_output"] = self._routed
            elif len(args) > 1:
                args[1] = self._routed
        return args, kwargs


def _as_annotated(
    ev: Evaluator, made: Mod, call: Call, args: list[Any], kwargs: dict[str, Any]
) -> None:
    """Take what is not known for a tensor where the parameter says that it is one."""
    func = ev.classes.attr(made.cls, call.method) if isinstance(made.cls, Class) else None
    if not isinstance(func, Func):
        return
    spec = func.node.args
    tensors = {
        parameter.arg: number
        for number, parameter in enumerate((*spec.args[1:], *spec.kwonlyargs))
        if parameter.annotation is not None and ast.unparse(parameter.annotation) == "torch.Tensor"
    }
    tensor = Unknown.tensor(TENSOR_REASON, call.place)
    for name, number in tensors.items():
        if number < len(args) and isinstance(args[number], (Unknown, Alternatives)):
            args[number] = tensor
        elif isinstance(kwargs.get(name), (Unknown, Alternatives)):
            kwargs[name] = tensor


def _is_one_tensor(value: Any) -> bool:
    """Whether what a linear layer is given is a tensor: some are given scales besides."""
    parts = value.values if isinstance(value, Alternatives) else (value,)
    known = isinstance(value, (Unknown, Alternatives))
    return known and not any(isinstance(part, (tuple, list)) for part in parts)


def _give(args: list[Any], kwargs: dict[str, Any], tensor: Tensor) -> None:
    """Put a tensor in the place of the first argument that is one."""
    for number, value in enumerate(args):
        if isinstance(value, Unknown) and value.is_tensor:
            args[number] = tensor
            return
    for name, value in kwargs.items():
        if isinstance(value, Unknown) and value.is_tensor:
            kwargs[name] = tensor
            return


def _width(made: Mod) -> Any:
    """The last size of what a building block is given; None where its class does not tell."""
    if isinstance(made.cls, Class):
        if made.cls.derives("RowParallelLinear"):
            return made.attrs.get("input_size_per_partition")
        if made.cls.derives("VocabParallelEmbedding"):
            return None  # it is given numbers of tokens
    return made.attrs.get("input_size", made.attrs.get("hidden_size"))


def _routed(ev: Evaluator, made: Mod) -> Any:
    """The experts of each token, as a router gives them."""
    place = made.place or SourcePlace("", 1)
    cls = ev.modules.imported(f"{ev.index.package}.{_TOPK}", _ROUTED)
    if not isinstance(cls, Class):
        return Unknown("the experts of each token", place)
    shape = (
        Unknown(_TOKENS),
        made.attrs.get("top_k", Unknown("how many experts a token has", place)),
    )
    tensors = [Tensor(shape, Ext("torch.float32")), Tensor(shape, Ext("torch.int32"))]
    return ev.calls.call(cls, [*tensors, Unknown.tensor("router logits", place)], {}, place)


def activation_dtype(config: Mapping[str, Any]) -> Any:
    """The dtype that a model computes in, by its file; None where the file does not tell."""
    for section in (config, *(config.get(name) for name in TEXT_CONFIGS)):
        name = section.get("torch_dtype", section.get("dtype")) if section else None
        if isinstance(name, str):
            # The server serves no model in float32 by default.
            return Ext(f"torch.{name}") if name in ("bfloat16", "float16") else None
    return None
