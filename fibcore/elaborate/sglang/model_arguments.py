"""What SGLang constructs a model with, and what it calls its forward pass with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.forward import TENSOR_REASON
from fibcore.elaborate.python.values import Class, Func, Namespace, Raised
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


def root_arguments(ev: Evaluator, cls: Class, config: Any, quant_config: Any) -> dict[str, Any]:
    """What SGLang's loader constructs a model with, by keyword (`_initialize_model`)."""
    init = ev.classes.attr(cls, "__init__")
    if not isinstance(init, Func):
        return {}
    spec = init.node.args
    names = [a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)][1:]
    given = {"config": config, "quant_config": quant_config}
    arguments: dict[str, Any] = dict(given) if spec.kwarg is not None else {}
    for name in names:
        if name in given:
            arguments[name] = given[name]
        elif name == "hf_config":
            arguments[name] = config
        elif name not in init.defaults:
            arguments[name] = Unknown(f"constructor argument {name}", cls.place)
    return arguments


def shared_experts(ev: Evaluator, cls: Class, config: Any, quant_config: Any) -> Any:
    """The layout of shared experts that the loader of newer sources settles before construction."""
    resolve = ev.modules.imported(
        f"{ev.index.package}.srt.layers.moe.utils", "resolve_shared_experts_config"
    )
    if not isinstance(resolve, Func):
        return Unknown("the layout of shared experts")
    try:
        return ev.calls.call_function(resolve, [cls, config, quant_config], {}, cls.place)
    except Raised as error:
        return Unknown(f"the layout of shared experts: {error.message}", error.place)


def forward_arguments(func: Func) -> list[Any]:
    """The arguments of a model's `forward`, without the model: tensors, as far as nobody says."""
    spec = func.node.args
    values: list[Any] = []
    for arg in [*spec.posonlyargs, *spec.args][1:]:
        if arg.arg == "forward_batch":
            values.append(_forward_batch())
        elif arg.arg in func.defaults:
            values.append(func.defaults[arg.arg])
        else:
            values.append(Unknown.tensor(TENSOR_REASON, func.place))
    return values


def _forward_batch() -> Namespace:
    # Two-batch overlap is off unless a server argument turns it on.
    return Namespace(
        "forward batch",
        {"can_run_tbo": False},
        lambda name: Unknown.attribute(f"attribute {name} of the forward batch"),
    )
