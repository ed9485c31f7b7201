"""What the server makes of the options of a launch before it constructs a model.

The source has a handler for each topic (`_handle_data_parallelism`): it refuses options that do not
go together, and changes some (`--moe-a2a-backend deepep` makes the expert-parallel size the
tensor-parallel one). Older releases have them as methods of `ServerArgs`, later ones as functions
of `srt/arg_groups` that declare their decisions. Those that decide about kernels are elaborated,
in the order of the server.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.values import ABSENT, Env, Func, Namespace, Native, Raised
from fibcore.elaborate.sglang.arguments import Args, Kwargs, argument
from fibcore.elaborate.sglang.launch.declarations import server_args_class
from fibcore.errors import ServingError
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.sglang.environment import Environment

HANDLERS = (
    "deprecated_args",
    "deprecated_dp_attention",
    "missing_default_values",
    "decode_context_parallelism",
    "model_specific_adjustments",
    "deterministic_inference",
    "attention_backend_compatibility",
    "kv4_compatibility",
    "mxfp8_kv_cache_compatibility",
    "page_size",
    "data_parallelism",
    "context_parallelism",
    "moe_kernel_config",
    "a2a_moe",
    "shared_experts_tp",
    "eplb_and_dispatch",
    "pipeline_parallelism",
    "speculative_decoding",
    "environment_variables",
)
"""The topics that decide which kernels run, in the server's order, by the ends of their names."""

PARALLEL = (
    "tp_size", "ep_size", "dp_size", "enable_dp_attention", "attn_dp_size", "attn_cp_size",
    "moe_dp_size", "dcp_size",
)  # fmt: skip
"""Arguments that say how ranks are divided."""

_BY_MEMORY = ("chunked_prefill_size", "cuda_graph_config", "cuda_graph_max_bs", "cuda_graph_bs")
"""Arguments that the server computes from the memory of its GPU, and handlers calculate with."""
_ABOUT_ALL = ("deprecated_args", "missing_default_values", "model_specific_adjustments")
"""Topics whose handlers read what decides about no kernel as well."""
_ABOUT_REQUESTS = frozenset({
    "chunked_prefill_size", "cuda_graph_config", "load_format", "max_running_requests",
    "mem_fraction_static", "schedule_conservativeness", "schedule_policy", "trust_remote_code",
})  # fmt: skip
"""Arguments that handlers calculate with, and that say which requests run or where files are."""
STEPS = 400_000
"""The most that one handler takes: the largest, of model-specific adjustments, took 60,000."""
_CHOSEN = "the server chooses by its machine"
_FOLDER = "srt.arg_groups"
_PLACE = SourcePlace("server arguments", 1)


@attrs.frozen
class Settled:
    """What became of the options of a launch.

    Attributes:
        changed: Arguments that a handler gave another value, by name; Unknown where it depends on
            what is not known here.
        effective: Arguments that a handler read which changed something.
        notes: Handlers that could not be followed to their end.
    """

    changed: dict[str, Any]
    effective: frozenset[str]
    notes: tuple[str, ...]


def resolve(
    ev: Evaluator, environment: Environment, config: Namespace, draft: Namespace | None = None
) -> Settled:
    """Run the handlers of a source tree over the arguments of a launch.

    Args:
        ev: The evaluator of the tree.
        environment: Its environment, which holds the server's arguments as they were given.
        config: The model's config.
        draft: The config of the draft model that the launch names; None where it is not at hand.

    Raises:
        ServingError: the server refuses these options, by a check of the source.
    """
    known = environment.shims.server.server_args(ev, [], {}, _PLACE)
    before = dict(known.values)
    given = environment.serving.launch.given if environment.serving.launch is not None else {}
    known.values["get_model_config"] = Native("get_model_config", lambda *_: model_config(config))
    for name in _BY_MEMORY:
        known.values.setdefault(name, Unknown(f"{name}, which follows from the GPU's memory"))
    notes: list[str] = []
    ran = False
    asked, effective = environment.shims.server.asked, set[str]()
    with environment.standing_in(_stand_ins(known, config, draft)):
        for topic in HANDLERS:
            call, arguments = _handler(ev, topic, known)
            if call is not None:
                ran = True
                asked.clear()
                at_first = dict(known.values)
                notes += _run(ev, call, arguments)
                if topic not in _ABOUT_ALL and any(
                    v is not at_first.get(n, ABSENT) for n, v in known.values.items()
                ):
                    effective |= asked - _ABOUT_REQUESTS
        if not ran:
            notes += _run_constructor(ev, known)
    for name in ("get_model_config", *(n for n in _BY_MEMORY if n not in before)):
        known.values.pop(name, None)
    changed = {
        name: decided(name, value, before.get(name, ABSENT), given=name in given)
        for name, value in known.values.items()
        if name not in before or value is not before[name]
    }
    # What is written under a name that is not known is the source's own bookkeeping.
    changed = {
        name: value
        for name, value in changed.items()
        if isinstance(name, str) and not name.startswith("_")
    }
    return Settled(changed, frozenset(effective), tuple(notes))


def _run(ev: Evaluator, call: Any, given: list[Any]) -> list[str]:
    place = getattr(call, "place", None) or _PLACE
    return _guarded(ev, lambda: ev.calls.call(call, given, {}, place), place)


def _guarded(ev: Evaluator, run: Callable[[], Any], place: SourcePlace) -> list[str]:
    """What kept something from being followed to its end; a refusal of the source is an error."""
    try:
        with ev.budget.at_most(STEPS):
            run()
    except Raised as error:
        if error.explicit or error.kind == "AssertionError":
            raise ServingError(
                "SGLang refuses these options",
                where=str(error.place or place),
                found=error.message or error.kind,
                hint="that is a check of the server's own, before it loads a model",
            ) from None
        return [f"{place}: {error.kind}: {error.message}"]
    except Exhausted as error:
        return [f"{place}: {error.what}"]
    return []


def _run_constructor(ev: Evaluator, known: Namespace) -> list[str]:
    """Run `__post_init__` of releases that have no handlers yet, statement by statement."""
    cls = server_args_class(ev)
    method = ABSENT if cls is None else ev.classes.attr(cls, "__post_init__")
    if not isinstance(method, Func):
        return []
    env = Env(method.env.module, method.env, method)
    env.vars["self"] = known
    body = method.node.body
    notes: list[str] = []
    for statement in body if isinstance(body, list) else []:

        def run(statement: ast.stmt = statement) -> None:
            ev.statements.block([statement], env)

        notes += _guarded(ev, run, method.place)
    return notes


def _handler(ev: Evaluator, topic: str, known: Namespace) -> tuple[Any, list[Any]]:
    """The handler of a topic and what it is called with; None where the release has none."""
    cls = server_args_class(ev)
    method = ABSENT if cls is None else ev.classes.attr(cls, f"_handle_{topic}")
    if isinstance(method, Func):
        return method, [known]
    name = f"handle_{topic}"
    folder = ev.index.root.joinpath(*_FOLDER.split("."))
    for path in sorted(folder.glob("*_hook.py")):
        module = ev.index.module(f"{ev.index.package}.{_FOLDER}.{path.stem}")
        if module is not None and f"def {name}(" in module.text:
            found = ev.modules.imported(module.name, name)
            return (found, [known]) if isinstance(found, Func) else (None, [])
    return None, []


def _stand_ins(known: Namespace, config: Namespace, draft: Namespace | None) -> dict[str, Native]:
    """What newer releases keep decisions with: here they are arguments like any other."""

    def declare(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        for name, value in kwargs.items():
            if name not in ("server_args", "source"):
                ev.writes.put(known.values, name, value)

    def run_pass(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        decided = ev.calls.call(argument(args, kwargs, 1, "fn"), [known], {}, place)
        if isinstance(decided, dict):
            for name, value in decided.items():
                if isinstance(name, str):
                    ev.writes.put(known.values, name, value)

    def run_hook(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        return ev.calls.call(argument(args, kwargs, 0, "builtin"), [known], {}, place)

    def get_config(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        # The target's config is asked for by `model_config_of` and its like, in older releases so.
        path = argument(args, kwargs, 0, "model")
        return config if path is known.values.get("model_path", ABSENT) else of_draft

    view = Native("view", lambda *_: known)
    of_draft = draft or Unknown("the config of the draft model, which is not at hand")
    return {
        "declare_resolution": Native("declare_resolution", declare),
        "run_post_process_pass": Native("run_post_process_pass", run_pass),
        "run_hook": Native("run_hook", run_hook),
        "resolving_view": view,
        "resolved_view": view,
        "get_config": Native("get_config", get_config),
        "model_config_of": Native("model_config_of", lambda *_: model_config(config)),
        # The config is at hand: the model is no single file, nor what another server sends.
        "check_gguf_file": Native("check_gguf_file", lambda *_: False),
        "is_remote_url": Native("is_remote_url", lambda *_: False),
        "parse_connector_type": Native("parse_connector_type", lambda *_: ""),
    }


def model_config(config: Namespace) -> Namespace:
    """The server's view of a model's config, as its handlers ask for it."""
    return Namespace(
        "model config",
        {"hf_config": config, "hf_text_config": _text_config(config)},
        lambda name: Unknown(f"model_config.{name}"),
    )


def _text_config(config: Namespace) -> Any:
    inner = config.values.get("text_config")
    return inner if isinstance(inner, Namespace) else config


def decided(name: str, value: Any, before: Any, *, given: bool) -> Any:
    """A value that a handler left.

    One that depends on what is not known here (the attention backend, which the server chooses by
    its machine) is Unknown, but for what the launch gives: that stays.
    """
    if isinstance(value, Alternatives):
        values = {v if v is not ABSENT else before for v in value.values if _hashable(v)}
        if len(values) == 1 and len(value.values) == len([v for v in value.values if _hashable(v)]):
            return values.pop()
        if given:
            return before
        chosen = Unknown(f"server argument {name}, which {_CHOSEN}")
        return chosen.as_truth() if all(type(v) is bool for v in values) else chosen
    return value


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return not isinstance(value, Unknown)
