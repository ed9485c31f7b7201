"""What is inside of building blocks that launches kernels of its own.

A norm or a plain linear layer is one kernel, which its class tells. Others launch more: a quantised
linear layer quantises its input, a layer behind which ranks add up reduces over all of them.
Those are gone into: as the loader leaves them, with tensors in the sizes that their arguments tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Class, Ext, Mod, Obj, Raised, Tensor
from fibcore.elaborate.transformers.config_object import TEXT_CONFIGS
from fibcore.model.tree import Call, Quantization, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

NAMING = frozenset(("prefix", "layer_id", "layer_idx", "layer_name"))
"""Arguments of constructors that say which layer it is."""
_TOKENS = "the number of tokens"


def is_gone_into(mod: Mod, quantization: Quantization | Unknown | None, ranks: int) -> bool:
    """Whether a building block launches kernels that its class does not tell.

    Args:
        mod: The building block.
        quantization: How its weights are quantised.
        ranks: How many ranks serve the model.
    """
    if not isinstance(mod.cls, Class):
        return False
    if mod.cls.derives("LinearBase"):
        return quantization is not None or (ranks > 1 and mod.cls.derives("RowParallelLinear"))
    return False


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
    assert isinstance(mod.cls, Class)
    with ev.aside():
        made = ev.construction.module(mod.cls, [], dict(arguments), place)
        made.complete()
    method = made.attrs.get("quant_method")
    if isinstance(quantization, Quantization) and _is_plain(method):
        # The source reads how it is quantised by way of another package.
        raise Raised("LookupError", f"how {quantization.method} computes is not known", place)
    if isinstance(method, Obj):
        process = ev.attributes.find(method, "process_weights_after_loading", place)
        if process is not ABSENT:
            with ev.launches.unseen():
                ev.calls.call(process, [made], {}, place)
    return made


def _is_plain(method: Any) -> bool:
    return isinstance(method, Obj) and method.class_name.startswith("Unquantized")


def inputs(made: Mod, call: Call, dtype: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call, its first tensor in the size that the building block says.

    Args:
        made: The building block.
        call: The call, as the model's forward pass makes it.
        dtype: The dtype of activations.
    """
    width = _width(made)
    args, kwargs = list(call.args), dict(call.kwargs)
    if width is None:
        return args, kwargs
    tensor = Tensor((Unknown(_TOKENS, call.place), width), dtype)
    for number, value in enumerate(args):
        if isinstance(value, Unknown) and value.is_tensor:
            args[number] = tensor
            return args, kwargs
    for name, value in kwargs.items():
        if isinstance(value, Unknown) and value.is_tensor:
            kwargs[name] = tensor
            break
    return args, kwargs


def _width(made: Mod) -> Any:
    """The last size of what a building block is given; None where its class does not tell."""
    if isinstance(made.cls, Class) and made.cls.derives("RowParallelLinear"):
        return made.attrs.get("input_size_per_partition")
    return made.attrs.get("input_size", made.attrs.get("hidden_size"))


def activation_dtype(config: Mapping[str, Any]) -> Any:
    """The dtype that a model computes in, by its file; None where the file does not tell."""
    for section in (config, *(config.get(name) for name in TEXT_CONFIGS)):
        name = section.get("torch_dtype", section.get("dtype")) if section else None
        if isinstance(name, str):
            # The server serves no model in float32 by default.
            return Ext(f"torch.{name}") if name in ("bfloat16", "float16") else None
    return None
