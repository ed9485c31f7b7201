"""Stand-ins for a handful of the source's own functions.

Each does what the function means for the tree of modules, without what it does to a machine: layers
are made, server arguments are read at their defaults, stages run on the stream of one batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.forward import TENSOR_REASON
from fibcore.elaborate.python.libraries import torch_nn
from fibcore.elaborate.python.values import Ext, Mod, Namespace, Raised
from fibcore.elaborate.sglang.arguments import Args, Kwargs, argument
from fibcore.elaborate.sglang.attention_methods import attention_handler
from fibcore.elaborate.sglang.index import entry_classes, index_of
from fibcore.elaborate.sglang.residual_stream import ResidualStreams
from fibcore.elaborate.sglang.runtime_context import RuntimeContext
from fibcore.elaborate.sglang.server_arguments import ServerArguments
from fibcore.elaborate.sglang.server_dict import ServerDict
from fibcore.model.launch import Launch
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.transformers.config import ConfigBuilder


class Shims:
    """The stand-ins of one elaboration, with what they share.

    Args:
        tp: The tensor-parallel size.
        ep: The expert-parallel size.
        launch: Options that the server was launched with.

    Attributes:
        configs: Makes config objects; None until there is one.
        server: The server's arguments.
        attention_dp: Data-parallel groups of attention.
        streams: The residual stream that stage boundaries read and write.
        functions: What stands in for functions, by the name that facts have for it.
        objects: What makes objects of the environment, likewise; called with the fact's content.
    """

    def __init__(self, *, tp: int, ep: int, launch: Launch | None = None) -> None:
        self.configs: ConfigBuilder | None = None
        self._tp = tp
        self.attention_dp = 1 if launch is None else launch.attention_dp
        self.server = ServerArguments(tp=tp, ep=ep, launch=launch)
        self._runtime = RuntimeContext(self.server)
        self.streams = ResidualStreams(tp)
        self.functions: dict[str, Callable[..., Any]] = {
            "attention_handler": attention_handler,
            "context": self._runtime.context,
            "forward_context": forward_context,
            "in_forward": in_forward,
            "lazy_import": lazy_import,
            "local_attention_dp": self.local_attention_dp,
            "make_layers": make_layers,
            "make_layers_non_pp": partial(_layers, whole=False),
            "make_pp_layers": partial(_layers, whole=True),
            "model_class": self.model_class,
            "model_config": self.server.passes.model_config,
            "pp_indices": pp_indices,
            "aiter_rope": aiter_rope,
            "rotary_cached": rotary_cached,
            "server_args": self.server.server_args,
            "server_dict": ServerDict(self.server).server_dict,
            "tensor": tensor,
            **self.streams.functions,
        }
        self.objects: dict[str, Callable[..., Any]] = {
            "bag": self.server.bag,
            "forward_flags": self.server.forward_flags,
            "parallel": self.server.parallel,
            "record": self._runtime.record,
        }

    def local_attention_dp(
        self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        """`get_local_attention_dp_size()`: groups of attention on the ranks of a dense layer.

        (`compute_dp_attention_local_info`.)
        """
        groups = self.attention_dp
        if groups == 1:
            return 1
        dense = self.server.argument(ev, "moe_dense_tp_size", place)
        if isinstance(dense, Unknown):
            return dense
        return max(1, groups // (self._tp // (dense or self._tp)))

    def model_class(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`_get_sgl_model_cls(self, config, auto_model_type)`: SGLang's model for a nested config.

        The source asks transformers' Auto classes for the architecture of the config's class, and
        its own registry for the model of that name.
        """
        config = argument(args, kwargs, 1, "config")
        auto = argument(args, kwargs, 2, "auto_model_type", Ext("transformers.AutoModel"))
        kind = (
            ev.attributes.find(config, "model_type", place)
            if isinstance(config, Namespace)
            else None
        )
        table = self.configs.table if self.configs is not None else None
        if not isinstance(kind, str) or table is None or not isinstance(auto, Ext):
            return Unknown("the model class of a nested config", place)
        task = auto.name.rpartition(".AutoModel")[2]
        named = table.architectures.get(kind, ())
        names = [n for n in ([named] if isinstance(named, str) else named) if _for_task(n, task)]
        for name in names:
            for module in index_of(ev.index.root).model_modules():
                if name in entry_classes(module):
                    space = ev.modules.space(module.name)
                    return (
                        Unknown(name, place) if space is None else ev.modules.name_in(space, name)
                    )
        asked = " or ".join(names) or f"{kind} with AutoModel{task}"
        return Unknown(f"a model class of its own: this SGLang has none for {asked}", place)


def make_layers(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """`make_layers(num_hidden_layers, layer_fn, ...)`; with pipeline ranks, also their range."""
    whole = kwargs.get("pp_rank") is not None and kwargs.get("pp_size") is not None
    return _layers(ev, args, kwargs, place, whole=whole)


def _layers(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace, *, whole: bool) -> Any:
    """All layers, on the only pipeline rank; where `whole`, with their range on this rank."""
    count = argument(args, kwargs, 0, "num_hidden_layers")
    layer_fn = argument(args, kwargs, 1, "layer_fn")
    prefix = kwargs.get("prefix", next((a for a in args[2:] if isinstance(a, str)), ""))
    modules = Mod(Ext("torch.nn.ModuleList"), place)
    ev.keep.append(modules)
    if not isinstance(count, int):
        modules.entries = [
            count if isinstance(count, Unknown) else Unknown("an unknown number of layers", place)
        ]
    else:

        def one(index: Any) -> Any:
            name = ev.operators.apply(
                lambda p, i: f"{p}.{i}" if p else str(i), [prefix, index], place
            )
            return ev.calls.call(layer_fn, [], {"idx": index, "prefix": name}, place)

        modules.entries = ev.layers.repeated(list(range(count)), one)
    return (modules, 0, count) if whole else modules


def pp_indices(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """All layers are on the only pipeline rank."""
    return (0, argument(args, kwargs, 0, "num_hidden_layers"))


def rotary_cached(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """`_get_live_rope_cache_entry(key)`: the embedding that an earlier layer made, if one did.

    The source looks whether its buffers were freed meanwhile, which happens to a model that is
    thrown away; nothing throws one away while another is built.
    """
    table = ev.value("sglang.srt.layers.rotary_embedding.factory", "_ROPE_DICT")
    get = ev.attributes.find(table, "get", place)
    return ev.calls.call(get, [argument(args, kwargs, 0, "key")], {}, place)


def aiter_rope(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """`aiter.rotary_embedding.get_rope(…)`: a module of AITER's, whatever the scaling.

    It reads what it is given and changes nothing of it (amd-aiter 0.1.7).
    """
    return torch_nn.construct(
        ev, Ext("aiter.rotary_embedding.RotaryEmbedding"), args, kwargs, place
    )


def lazy_import(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """`LazyImport(module_name, class_name)`: what it imports when it is first used.

    Imported at once, so that calls of it stand where the source makes them.
    """
    module, name = (
        argument(args, kwargs, 0, "module_name"),
        argument(args, kwargs, 1, "class_name"),
    )
    if not isinstance(module, str) or not isinstance(name, str):
        return Unknown("what is imported lazily", place)
    return ev.attributes.find(ev.modules.by_name(str(module), place), str(name), place)


def in_forward(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> bool:
    """`has_forward_context()`: the runtime sets a context around each forward pass."""
    return bool(ev.mode.forward)


def forward_context(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """`get_forward_context()`: what a forward pass runs with, the attention backend above all."""
    if not ev.mode.forward:
        raise Raised("AssertionError", "no forward context is active", place)
    return Namespace(
        "forward context", {}, lambda name: Unknown.attribute(f"{name} of the forward context")
    )


def tensor(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """A function that passes tensors on."""
    return Unknown.tensor(TENSOR_REASON, place)


def _for_task(name: str, task: str) -> bool:
    return name.endswith(task) if task else "For" not in name
