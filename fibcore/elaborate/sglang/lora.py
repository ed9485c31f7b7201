"""LoRA adapters: which modules the server wraps for them, and what the wrappers launch besides.

`LoRAManager` puts a wrapper around every module that the adapters are for (`get_lora_layer` has the
table), and wrappers call the LoRA backend (`lora_backend.run_qkv_lora`), which calls kernels. The
wrapped layer itself runs as before. What is called follows from the text of these functions: it is
the same for all models.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.elaborate.python.values import Class, Func, Raised
from fibcore.elaborate.sglang.launch.words import WHERE
from fibcore.errors import UsageError
from fibcore.model.serving import Serving
from fibcore.model.tree import Missing, ModuleNode, Operation, SourcePlace, Unknown, with_origins
from fibcore.regular_files import read_text

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.index import SourceModule
    from fibcore.elaborate.sglang.environment import Environment

_LAYERS = "srt.lora.layers"
_REGISTRY = "srt.lora.backend.lora_registry"
_UTILS = "srt.lora.utils"
_TABLE = "get_lora_layer"
_REGISTERS = "register_lora_backend"
_BEFORE = ("srt.lora.backend.base_backend", "get_backend_from_name")
"""The function that chooses a backend, by its module, in releases (to 0.5.3) without a registry."""
_NORMALISES = "get_normalized_target_modules"
_ALL = ("all", "all-linear")
_EXPERTS = ("gate_up_proj", "down_proj")
_PLACE = SourcePlace("server arguments", 1)
_CONFIG = "adapter_config.json"
_STARTS = ("forward", "apply_lora")
"""Methods of wrappers by which a forward pass comes to the LoRA backend."""


@attrs.frozen
class Adapters:
    """What adapters add to a model.

    Attributes:
        calls: Calls of kernels, for each module that is wrapped.
        missing: What of it is not known.
    """

    calls: tuple[Operation, ...] = ()
    missing: tuple[Missing, ...] = ()


def adapters(
    ev: Evaluator, environment: Environment, root: ModuleNode, serving: Serving
) -> Adapters:
    """What the LoRA adapters of a launch add to a model.

    Args:
        ev: The evaluator of the source tree.
        environment: Its environment.
        root: The model.
        serving: How it is served.

    Raises:
        UsageError: the config of an adapter cannot be read.
    """
    if not (serving.argument("lora_paths") or serving.argument("enable_lora") is True):
        return Adapters()
    try:
        given = _Given.of(serving)
        wrapped = list(_wrapped(ev, root, given))
        backend = _backend(ev, environment)
    except _UndecidedError as why:
        return Adapters(missing=(Missing("lora", str(why)),))
    calls: list[Operation] = []
    kernels: dict[str, tuple[tuple[str, SourcePlace], ...]] = {}
    for node, wrapper in wrapped:
        if wrapper not in kernels:
            kernels[wrapper] = tuple(_kernels(ev, wrapper, backend)) or (
                (f"{ev.index.package}.{_LAYERS}.{wrapper}", node.place),
            )
        calls += (_call(ev, node, wrapper, one, given.rank) for one in kernels[wrapper])
    return Adapters(tuple(calls))


class _UndecidedError(Exception):
    """Something about the adapters is not known; the message says what."""


@attrs.frozen
class _Given:
    """What the launch says of adapters.

    Attributes:
        targets: Names of the modules that they are for, as they are given.
        rank: The largest rank.
    """

    targets: tuple[str, ...]
    rank: Any

    @classmethod
    def of(cls, serving: Serving) -> _Given:
        configs = [_adapter(path) for path in _paths(serving.argument("lora_paths"))]
        targets = list(serving.argument("lora_target_modules") or ())
        for config in configs if not targets else ():
            named = config.get("target_modules") or ()
            targets += [named] if isinstance(named, str) else list(named)
        if not targets:
            raise _UndecidedError(
                "which modules adapters are for is not known: --lora-target-modules, or a local "
                f"folder of an adapter with its {_CONFIG} in --lora-paths, says it"
            )
        ranks = [config["r"] for config in configs if isinstance(config.get("r"), int)]
        rank: Any = serving.argument("max_lora_rank")
        if rank is None and ranks:
            rank = max(ranks)
        if not isinstance(rank, int):
            rank = Unknown("the rank of adapters, which --max-lora-rank says")
        origin = frozenset({"serving:max_lora_rank"})
        return cls(tuple(dict.fromkeys(targets)), with_origins(rank, origin))


def _paths(given: Any) -> Iterator[str]:
    """The paths of `--lora-paths`: `NAME=PATH`, a path alone, or objects with `lora_path`."""
    if isinstance(given, Mapping):
        yield from map(str, given.values())
        return
    for one in given if isinstance(given, Sequence) and not isinstance(given, str) else ():
        if isinstance(one, Mapping):
            yield str(one.get("lora_path", ""))
        else:
            yield str(one).partition("=")[2] if "=" in str(one) else str(one)


def _adapter(path: str) -> Mapping[str, Any]:
    """The config of an adapter in a local folder; nothing for one that lies elsewhere."""
    file = Path(path).expanduser() / _CONFIG
    if not file.is_file():
        return {}
    try:
        data = json.loads(read_text(file))
    except (OSError, ValueError) as error:
        raise UsageError(
            "the config of an adapter cannot be read",
            where=f"{WHERE} --lora-paths {file}",
            expected="a JSON object",
            found=str(error),
        ) from None
    return data if isinstance(data, dict) else {}


def _wrapped(ev: Evaluator, root: ModuleNode, given: _Given) -> Iterator[tuple[ModuleNode, str]]:
    """The modules that are wrapped, each with the class of its wrapper."""
    table = _table(ev)
    everything = any(name in _ALL for name in given.targets)
    targets = frozenset() if everything else _normalised(ev, given.targets)
    for node in root.walk():
        wrapper = next((w for base, w in table.items() if node.is_a(base)), None)
        if wrapper is None:
            continue
        parts = node.path.split(".")
        names = {parts[-1], ".".join(parts[-2:])}
        if "FusedMoE" in table and node.is_a("FusedMoE"):
            hit = everything or targets.issuperset(_EXPERTS)
        else:
            hit = everything or not targets.isdisjoint(names)
        if hit and not node.idle:
            yield node, wrapper


def _table(ev: Evaluator) -> dict[str, str]:
    """Class of a layer to the class of its wrapper, in the order in which they are tried."""
    found: dict[str, str] = {}
    for node in ast.walk(_function(ev, _LAYERS, _TABLE).node):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Call):
            kind = node.test.args[-1] if node.test.args else None
            made = next((n for n in node.body if isinstance(n, ast.Return)), None)
            call = None if made is None else made.value
            if isinstance(kind, ast.Name) and isinstance(call, ast.Call):
                found.setdefault(kind.id, ast.unparse(call.func))
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Name) and isinstance(value, ast.Name):
                    found.setdefault(key.id, value.id)
    return found


def _normalised(ev: Evaluator, targets: Sequence[str]) -> frozenset[str]:
    """Names of modules as the server has them: `q_proj` is in `qkv_proj`."""
    function = _function(ev, _UTILS, _NORMALISES)
    try:
        names = ev.calls.call(function, [list(targets)], {}, function.place)
    except Raised as error:
        raise _UndecidedError(f"which modules adapters are for: {error.message}") from None
    if not isinstance(names, (set, frozenset)):
        raise _UndecidedError(f"which modules adapters are for: {names}")
    return frozenset(map(str, names))


def _backend(ev: Evaluator, environment: Environment) -> Class:
    """The class of the LoRA backend that the launch names, or the release's default."""
    name = environment.shims.server.argument(ev, "lora_backend", _PLACE)
    module = ev.index.module(f"{ev.index.package}.{_REGISTRY}")
    if module is None:
        return _chosen(ev, name)
    for node in module.whole:
        if isinstance(node, ast.FunctionDef) and any(
            isinstance(mark, ast.Call)
            and ast.unparse(mark.func) == _REGISTERS
            and ast.unparse(mark.args[0]) == repr(name)
            for mark in node.decorator_list
        ):
            for inside in ast.walk(node):
                if isinstance(inside, ast.ImportFrom) and inside.module is not None:
                    found = ev.modules.imported(inside.module, inside.names[0].name)
                    if isinstance(found, Class):
                        return found
    raise _unsaid(name)


def _chosen(ev: Evaluator, name: Any) -> Class:
    """The class that the function of older releases chooses."""
    function = _function(ev, *_BEFORE)
    try:
        found = ev.calls.call(function, [name], {}, function.place)
    except Raised as error:
        raise _UndecidedError(f"the LoRA backend {name}: {error.message}") from None
    if isinstance(found, Class):
        return found
    raise _unsaid(name)


def _unsaid(name: Any) -> _UndecidedError:
    return _UndecidedError(f"this source does not say what the LoRA backend {name} is")


def _function(ev: Evaluator, module: str, name: str) -> Func:
    found = ev.modules.imported(f"{ev.index.package}.{module}", name)
    if not isinstance(found, Func):
        raise _UndecidedError(f"this source has no {module}.{name}")
    return found


def _kernels(ev: Evaluator, wrapper: str, backend: Class) -> Iterator[tuple[str, SourcePlace]]:
    """The kernels that a wrapper comes to, by way of the backend, each with where it is called."""
    cls = ev.modules.imported(f"{ev.index.package}.{_LAYERS}", wrapper)
    if not isinstance(cls, Class):
        return
    pending = [(cls, name) for name in _STARTS]
    methods = {name for name in _STARTS if isinstance(ev.classes.attr(cls, name), Func)}
    seen: set[tuple[str, str]] = set()
    found: dict[str, SourcePlace] = {}
    while pending:
        owner, name = pending.pop(0)
        method = ev.classes.attr(owner, name)
        key = (owner.name, name)
        if key in seen or not isinstance(method, Func):
            continue
        seen.add(key)
        module = method.env.module.source
        imports = _imports(module)
        for call in (n for n in ast.walk(method.node) if isinstance(n, ast.Call)):
            called = ast.unparse(call.func)
            if called in imports and _is_kernel(imports[called]):
                found.setdefault(imports[called], method.env.module.place(call))
            elif called == "self.lora_backend.forward_with_base" and _STARTS[-1] in methods:
                continue  # which comes back to `apply_lora`
            elif called.startswith("self.lora_backend."):
                pending.append((backend, called.removeprefix("self.lora_backend.")))
            elif called.startswith("self.") and called.count(".") == 1:
                pending.append((owner, called.removeprefix("self.")))
    yield from found.items()


def _imports(module: SourceModule) -> dict[str, str]:
    """Names that a module imports from others, by the name that they have in it."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(ast.Module(list(module.whole), []))
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
    }


def _is_kernel(name: str) -> bool:
    """Whether a function is a kernel of LoRA's (`lora/triton_ops`, `kernels/ops/gemm/…lora…`)."""
    return "lora" in name and any(folder.endswith("ops") for folder in name.split("."))


def _call(
    ev: Evaluator, node: ModuleNode, wrapper: str, kernel: tuple[str, SourcePlace], rank: Any
) -> Operation:
    name, place = kernel
    return Operation(
        function=name,
        module=node.path,
        args=(),
        kwargs={"max_lora_rank": rank},
        place=place,
        callers=(f"{ev.index.package}.{_LAYERS}.{wrapper}.forward",),
        beside=True,
    )
