"""What SGLang's loader settles in a config before it constructs the model.

`get_config` gives some architectures parts that their files lack. `ModelConfig`
(`srt/configs/model_config.py`) writes into the config that the model then reads: sizes that a file
may leave out (`head_dim`, `v_head_dim`), the context length, switches for the parts of a multimodal
model, and the layer count of a draft model. Both are elaborated like any other source.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.values import (
    ABSENT,
    Bound,
    Class,
    Env,
    Func,
    Namespace,
    Native,
    Obj,
    Raised,
    born,
)
from fibcore.elaborate.sglang.quantization import (
    QUANTIZATION_KEYS,
    method_name,
    quantization_data,
)
from fibcore.errors import ServingError
from fibcore.model.tree import Alternatives, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.index import SourceModule
    from fibcore.elaborate.sglang.environment import Environment

STEPS = 800_000
_GET_CONFIG = ("srt.utils.hf_transformers.config", "srt.utils.hf_transformers_utils")
"""Where releases keep the loader's `get_config`."""
_MODEL = "model"
"""What stands for the place of the model's file."""
_READS_FILE = "transformers.PretrainedConfig.get_config_dict"
_VERIFIES = "_verify_quantization"
_DRAFTS = "_config_draft_model"
_TAKEN_AS = frozenset({
    ("compressed_tensors", "w8a8_fp8"),
    ("compressed_tensors", "w8a8_int8"),
    ("modelopt_fp4", "petit_nvfp4"),
    ("awq", "moe_wna16"),
    ("gptq", "moe_wna16"),
})  # fmt: skip
"""A checkpoint's method, and another by which the server may run it (`_verify_quantization`)."""
_DRAFT = ("NextN", "MTP", "Eagle", "Eagle3", "DSpark", "DSparkModel", "DraftModel")
"""How the names of SGLang's draft models end (`srt/models`)."""


def prepare(
    ev: Evaluator,
    environment: Environment,
    config: Namespace,
    architecture: str,
    file: Callable[[], dict[str, Any]],
    quantization: str | None = None,
) -> list[Unknown]:
    """Write into a config what the loader would, as the source's `ModelConfig` does.

    Args:
        ev: The evaluator of the source tree.
        environment: Its environment.
        config: The model's config; changed.
        architecture: The model class that will be constructed.
        file: Reads the keys of the model's file, which the loader may do a second time.
        quantization: The method that a launch asks for; None where it asks for none.

    Returns:
        What could not be followed; a step that fails leaves what the others settle.

    Raises:
        ServingError: the checkpoint does not go with that method.
    """
    environment.external_calls[_READS_FILE] = Native("get_config_dict", partial(_read_file, file))
    _run_branches(ev, config, architecture)
    cls = ev.modules.imported(f"{ev.index.package}.srt.configs.model_config", "ModelConfig")
    init = ev.classes.attr(cls, "__init__") if isinstance(cls, Class) else ABSENT
    if not isinstance(cls, Class) or not isinstance(init, Func):
        return [Unknown("this source has no ModelConfig")]
    given: dict[str, Any] = {"model_path": _MODEL}
    spec = init.node.args
    names = {a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)}
    draft = architecture.endswith(_DRAFT)
    if "is_draft_model" in names:
        given["is_draft_model"] = draft
    settled = Obj(cls, cls.place)
    if quantization is not None and "quantization" in names:
        given["quantization"] = quantization
    shadow = config.copy(dict(config.values))
    if not draft or not shadow.values.get("architectures"):
        # A draft model's config is the one of the model that it drafts for.
        shadow.values["architectures"] = [architecture]
    stand_ins = {"get_config": Native("get_config", lambda *_: shadow)}
    plain = not any(_holds(config, key) for key in QUANTIZATION_KEYS)
    if plain:
        # Nothing to verify, but its first line reads the classes of all quantisation methods.
        stand_ins[_VERIFIES] = Native(_VERIFIES, lambda *_: None)
    with ev.noting() as problems:
        try:
            with environment.standing_in(stand_ins), ev.budget.at_most(STEPS):
                # What one step of ModelConfig cannot settle, such as reading a file, is nothing to
                # the others.
                ev.calls.call_function(init, [settled], given, cls.place, tolerant=True)
        except (Raised, Exhausted) as error:
            why = f"ModelConfig: {error or 'it goes on for too long'}"
            problems.append(Unknown(why, cls.place))
    if quantization is not None and not plain:
        settled.attrs["quantization"] = quantization  # as before what else the step may settle
        _verify(ev, cls, settled, quantization)
    _take(config, settled.attrs.get("hf_config"))
    if draft:
        config.values["architectures"] = [architecture]
    return problems


def _verify(ev: Evaluator, cls: Class, settled: Obj, asked: str) -> None:
    """Run the source's own check that a method goes with what the checkpoint says of itself.

    Where files beside the config would decide, methods that do not share a name are refused: what
    the server would make of them is not known.
    """
    check = ev.classes.attr(cls, _VERIFIES)
    if not isinstance(check, Func):
        return
    refused: tuple[str, str] | None = None
    try:
        with ev.budget.at_most(STEPS):
            ev.calls.call(Bound(check, settled), [], {}, cls.place)
    except Raised as error:
        if error.explicit:
            refused = (str(error.place or cls.place), error.message)
    except Exhausted:
        pass
    own = method_name(_section_of(settled) or {})
    if refused is None and not _is_same(own, asked):
        decided = settled.attrs.get("quantization")
        if not isinstance(decided, str) or decided != asked:
            found = f"the checkpoint is quantised by {own}, the launch asks for {asked}"
            refused = (str(check.place), found)
    if refused is not None:
        raise ServingError(
            "SGLang refuses this quantisation of the checkpoint",
            where=refused[0],
            found=refused[1],
            hint="leave --quantization out; the checkpoint says how it is quantised",
        )


def _section_of(settled: Obj) -> dict[str, Any] | None:
    config = settled.attrs.get("hf_config")
    return quantization_data(config.values) if isinstance(config, Namespace) else None


def _is_same(own: str, asked: str) -> bool:
    """Whether names are of one method: `modelopt` and `modelopt_fp4`, `awq` and `awq_marlin`."""
    one, other = own.replace("-", "_"), asked.lower().replace("-", "_")
    return one.startswith(other) or other.startswith(one) or (one, other) in _TAKEN_AS


def draft_architecture(
    ev: Evaluator,
    environment: Environment,
    config: Namespace,
    architecture: str,
    algorithm: str | None,
) -> str | None:
    """The draft model that a checkpoint holds beside its model; None where it holds none.

    `ModelConfig` gives the config of a draft model the architecture of that.

    Args:
        ev: The evaluator of the source tree.
        environment: Its environment.
        config: The model's config.
        architecture: The model's class.
        algorithm: The speculative algorithm.
    """
    cls = ev.modules.imported(f"{ev.index.package}.srt.configs.model_config", "ModelConfig")
    if not isinstance(cls, Class):
        return None
    step = ev.classes.attr(cls, _DRAFTS)
    given: dict[str, Any] = {}
    if not isinstance(step, Func):  # older releases decide it in the constructor
        step = ev.classes.attr(cls, "__init__")
        given = {"model_path": _MODEL, "is_draft_model": True}
    if not isinstance(step, Func):
        return None
    shadow = config.copy({**config.values, "architectures": [architecture]})
    text = config.values.get("text_config")
    made = Obj(cls, cls.place)
    made.attrs.update(
        hf_config=shadow,
        hf_text_config=text if isinstance(text, Namespace) else shadow,
        is_draft_model=True,
        is_draft_quantization_explicit=False,
        is_multi_layer_eagle=False,
        quantization=None,
        speculative_algorithm=algorithm,
    )
    stand_ins = {
        "get_config": Native("get_config", lambda *_: shadow),
        _VERIFIES: Native(_VERIFIES, lambda *_: None),
    }
    with (
        contextlib.suppress(Raised, Exhausted),
        ev.noting(),
        environment.standing_in(stand_ins),
        ev.budget.at_most(STEPS),
    ):
        ev.calls.call_function(step, [made], given, cls.place, tolerant=True)
    found = shadow.values.get("architectures")
    name = found[0] if isinstance(found, list) and found else None
    return str(name) if isinstance(name, str) and name != architecture else None


def _holds(config: Namespace, key: str) -> bool:
    """Whether a config, or one inside of it, has a key."""
    inner = [value for value in config.values.values() if isinstance(value, Namespace)]
    return key in config.values or any(_holds(value, key) for value in inner)


def _run_branches(ev: Evaluator, config: Namespace, architecture: str) -> None:
    """Run the branches of `get_config` that are for one architecture, by its name."""
    for name in _GET_CONFIG:
        module = ev.index.module(f"{ev.index.package}.{name}")
        if module is None or f'"{architecture}"' not in module.text:
            continue
        for function, branch in _branches(module, architecture):
            space = ev.modules.space(module.name)
            assert space is not None
            env = Env(space, space.env)
            for name in _parameters(function):
                env.vars[name] = Unknown(f"{name}, which the loader is given")
            env.vars["model"] = _MODEL
            env.vars["config"] = config
            ev.statements.block([branch], env)


def _branches(
    module: SourceModule, architecture: str
) -> Iterator[tuple[ast.FunctionDef | None, ast.If]]:
    """`if` statements on `config.architectures` alone that name an architecture.

    Gives:
        Each of them, with the function that it is in.
    """
    around: dict[ast.AST, ast.FunctionDef] = {}
    for node in ast.walk(ast.Module(module.whole, [])):
        inside = node if isinstance(node, ast.FunctionDef) else around.get(node)
        if inside is not None:
            around.update(dict.fromkeys(ast.iter_child_nodes(node), inside))
        if not isinstance(node, ast.If):
            continue
        test = list(ast.walk(node.test))
        names = {n.id for n in test if isinstance(n, ast.Name)}
        read = {n.attr for n in test if isinstance(n, ast.Attribute)}
        words = {n.value for n in test if isinstance(n, ast.Constant)}
        if names == {"config"} and read == {"architectures"} and architecture in words:
            yield inside, node


def _parameters(function: ast.FunctionDef | None) -> Iterator[str]:
    """The names of a function's parameters."""
    if function is not None:
        yield from (node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg))


def _read_file(
    file: Callable[[], dict[str, Any]],
    ev: Evaluator,
    args: list[Any],
    kwargs: dict[str, Any],
    place: Any,
) -> Any:
    """`PretrainedConfig.get_config_dict(model)`: the file's keys, and what else it was given."""
    if args[:1] != [_MODEL]:
        return Unknown("the keys of another model's file", place)
    return (born(file()), {})


def _take(config: Namespace, changed: Any) -> None:
    """Take over what was written into the loader's copy of a config, as far as it is known."""
    if not isinstance(changed, Namespace):
        return
    for name, value in changed.values.items():
        known = config.values.get(name, ABSENT)
        if isinstance(known, Namespace):
            _take(known, value)
        elif known is ABSENT or known is None:
            if not isinstance(value, (Unknown, Alternatives)):
                config.values[name] = value
        elif name != "architectures" and value is not known and _plain(value):
            config.values[name] = value


def _plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str))
