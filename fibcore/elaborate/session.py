"""One elaboration from start to finish: set the scene, construct, run forward, write the tree."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.configs.model_config import load_config_file
from fibcore.elaborate.build import TreeBuilder
from fibcore.elaborate.following import Following
from fibcore.elaborate.launching import settled_serving
from fibcore.elaborate.packages.facts import PackageFacts
from fibcore.elaborate.packages.indexes import other_releases, package_indexes, required_packages
from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.joined_index import JoinedIndex
from fibcore.elaborate.python.mode import FORWARD
from fibcore.elaborate.python.patterns import charging
from fibcore.elaborate.python.values import Class, Func, Mod, Namespace, Raised, Unforeseen
from fibcore.elaborate.recursion import deep_recursion
from fibcore.elaborate.sglang.architectures import find_architecture
from fibcore.elaborate.sglang.cache_dtypes import cache_dtype
from fibcore.elaborate.sglang.checkpoint_files import without_quantization
from fibcore.elaborate.sglang.config_loading import (
    core_sizes,
    load_config,
    origins_below,
    unused_parts,
)
from fibcore.elaborate.sglang.entry_points import follow_forward, follow_others
from fibcore.elaborate.sglang.environment import Environment
from fibcore.elaborate.sglang.fact_checks import contradicted
from fibcore.elaborate.sglang.index import index_of
from fibcore.elaborate.sglang.insides import activation_dtype
from fibcore.elaborate.sglang.launch.by_model import switched_by_model
from fibcore.elaborate.sglang.launch.initialization import initialize
from fibcore.elaborate.sglang.launch.model_options import as_served
from fibcore.elaborate.sglang.launch.resolution import PARALLEL, resolve
from fibcore.elaborate.sglang.loader import draft_architecture, prepare
from fibcore.elaborate.sglang.lora import Adapters, adapters
from fibcore.elaborate.sglang.model_arguments import (
    root_arguments,
    settle,
    shared_experts,
)
from fibcore.elaborate.sglang.own_classes import OwnClasses
from fibcore.elaborate.sglang.quantization import Quantizer, quantization_data
from fibcore.elaborate.transformers import pins
from fibcore.elaborate.transformers.config import ConfigBuilder
from fibcore.elaborate.transformers.config_object import from_file
from fibcore.elaborate.transformers.config_reads import unread_keys
from fibcore.errors import ConfigError, ElaborationError, FibcoreError, ServingError
from fibcore.model.serving import Serving
from fibcore.model.tree import Followed, Later, Missing, ModelTree, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.configs.model_config import ModelConfig
    from fibcore.elaborate.python.index import ModuleIndex, SourceModule
    from fibcore.sources.tree import SourceTree

FORWARD_STEPS = 1_500_000


class Session:
    """Elaborates one model under one set of serving sizes."""

    def __init__(self, source: SourceTree, config: ModelConfig, serving: Serving) -> None:
        self.source = source
        self.config = as_served(config, serving)
        self.serving = serving
        self.index = index_of(source.root)
        self.config_label = "its config class"

    def run(self, architecture: str) -> ModelTree:
        """The tree of the model class `architecture`."""
        module = find_architecture(self.index, architecture)
        with deep_recursion():
            try:
                return self._elaborate(module, architecture)
            except Raised as error:
                raise self._failure(error, module, architecture) from None
            except Exhausted as error:
                raise ElaborationError(
                    "the source takes more than any model's does",
                    where=str(error.place or module.file),
                    found=error.what,
                ) from None
            except Unforeseen as error:
                raise ElaborationError(
                    "a statement of the source cannot be evaluated",
                    where=str(error.place),
                    found=str(error),
                    hint="this is a defect of fibcore: report it with the source and the config",
                ) from error
            except (RecursionError, MemoryError):
                raise ElaborationError(
                    "the source nests deeper than can be followed", where=module.file
                ) from None

    def settle(self, architecture: str) -> Serving:
        """How the model is served once the server has decided about the options of its launch.

        Raises:
            ServingError: the server refuses these options.
        """
        if self.serving.launch is None:
            return self.serving
        environment, ev = self._scene()
        server = environment.shims.server
        with deep_recursion(), charging(ev.budget.spend):
            builder = self._builder(ev, environment)
            config = load_config(builder, self.config.data, self.config.origins)
            if not config.values.get("architectures"):
                config.values["architectures"] = [architecture]
            server.passes.config = config
            found = resolve(ev, environment, config, self._draft_config(builder))
            known = {
                name: server.argument(ev, name, SourcePlace("server arguments", 1))
                for name in PARALLEL
                if server.has(ev, name)
            }
        given = self.serving.launch.arguments
        known = {name: value for name, value in known.items() if isinstance(value, (int, bool))}
        variables = environment.variables
        return settled_serving(
            self.serving,
            {**known, **given, **found.changed},
            found.effective | variables.asked,
            variables.changed(),
        )

    def _draft_config(self, builder: ConfigBuilder) -> Namespace | None:
        """The config of the draft model that the launch names, where it lies in a local folder."""
        path = self.serving.argument("speculative_draft_model_path")
        if not isinstance(path, str) or not Path(path).expanduser().exists():
            return None
        found = load_config_file(path, "draft")
        return load_config(builder, found.data, found.origins)

    def draft(self, architecture: str) -> str | None:
        """The draft model that the checkpoint holds beside this one; None where it holds none."""
        environment, ev = self._scene()
        with deep_recursion(), charging(ev.budget.spend):
            builder = self._builder(ev, environment)
            config = load_config(builder, self.config.data, self.config.origins)
            algorithm = self.serving.argument("speculative_algorithm")
            return draft_architecture(ev, environment, config, architecture, algorithm)

    def _scene(self) -> tuple[Environment, Evaluator]:
        environment = Environment(self.serving, self.source.version)
        return environment, Evaluator(self._sources(), environment)

    def _sources(self) -> ModuleIndex:
        """The modules of SGLang, with those of packages whose source is at hand."""
        self.packages = package_indexes(self.source.packages)
        return JoinedIndex(self.index, self.packages) if self.packages else self.index

    def _read_packages(self, ev: Evaluator) -> list[str]:
        """The packages of which modules were evaluated."""
        read = {name.partition(".")[0] for name in ev.modules.evaluated()}
        return [index.package for index in self.packages if index.package in read]

    def _builder(self, ev: Evaluator, environment: Environment) -> ConfigBuilder:
        """What makes config objects, from now on also for the environment."""
        release = pins.transformers_table(self.source, environment.transformers_major)
        if release.note:
            environment.warnings.append(release.note)
        version = self.source.version or (self.source.commit or "")[:12]
        builder = ConfigBuilder(ev, release.table, f"sglang {version}".strip(), OwnClasses(ev))
        environment.use_configs(builder)
        if self.packages and release.table is not None:
            required = required_packages(self.source)
            facts = PackageFacts(self.packages, required, release.table.model_types)
            environment.use_packages(facts)
        return builder

    def _elaborate(self, module: SourceModule, architecture: str) -> ModelTree:
        environment, ev = self._scene()
        with charging(ev.budget.spend):
            return self._evaluate(ev, environment, module, architecture)

    def _evaluate(
        self,
        ev: Evaluator,
        environment: Environment,
        module: SourceModule,
        architecture: str,
    ) -> ModelTree:
        space = ev.modules.space(module.name)
        assert space is not None
        cls = ev.modules.name_in(space, architecture)
        if not isinstance(cls, Class):
            raise ElaborationError(
                "the architecture is no class of the source",
                where=module.file,
                found=str(cls),
            )
        builder = self._builder(ev, environment)
        config = load_config(builder, self.config.data, self.config.origins)
        self.config_label = config.label
        environment.warnings.extend(core_sizes(config))
        file = partial(from_file, dict(self.config.data), "", self.config.origins)
        section = quantization_data(self.config.data)
        if section is None:
            environment.external_calls.update(without_quantization())
        method = self.serving.argument("quantization")
        if isinstance(method, Unknown) and section is not None:
            method = None  # whatever the server makes of it, the checkpoint says what it holds
        asked = method if isinstance(method, str) else None
        ev.notes.extend(prepare(ev, environment, config, architecture, file, asked))
        environment.shims.server.passes.config = config
        if self.serving.launch is None:
            server = environment.shims.server
            server.switched = switched_by_model(ev, server, config, architecture)
        else:
            environment.warnings.extend(initialize(ev, environment))
        quantizer = Quantizer(ev, section, cls, config, method)
        environment.shims.server.shared_experts = shared_experts(ev, cls, config, quantizer.config)
        settle(ev, cls, config, quantizer.config)
        missing: list[Missing] = []
        arguments = root_arguments(ev, cls, config, quantizer.config)
        # A class that only chooses among others is no module itself, but it holds one.
        root = ev.construction.module(cls, [], arguments, cls.place)
        self._forward(ev, root, missing)
        tree = TreeBuilder(ev, environment, quantizer)
        node = tree.build(root)
        environment.warnings.extend(unused_parts(self.config.data, node))
        environment.warnings.extend(contradicted(ev, environment))
        if self.packages:
            environment.warnings.extend(other_releases(self.source, self._read_packages(ev)))
        if not (tree.missing or missing or ev.changes):  # else what is missing might read them
            data, origins = self.config.data, self.config.origins
            unread = unread_keys(data, builder.reads, origins, lambda: origins_below(node))
            environment.warnings.extend(unread)
        wrapped = adapters(ev, environment, node, self.serving)
        dtype = self.serving.kv_cache_dtype
        dtype = cache_dtype(ev, root, config) if dtype == "auto" else dtype
        following = Following(ev, tree, activation_dtype(self.config.data), self.serving.tp)
        return ModelTree(
            model=self.config.slug,
            architecture=architecture,
            root=node,
            operations=tuple(o for o in tree.operations if not o.beside),
            missing=(
                *tree.missing,
                *missing,
                *(Missing("layers", change.reason, change.place) for change in ev.changes),
                *wrapped.missing,
            ),
            warnings=tuple(environment.warnings),
            source_version=self.source.version or self.source.commit,
            config=dict(self.config.data),
            kv_cache_dtype=dtype,
            asked=frozenset(environment.shims.server.asked | environment.variables.asked),
            followed=Later(lambda: _followed(ev, following, tree, wrapped)),
        )

    def _forward(self, ev: Evaluator, root: Mod, missing: list[Missing]) -> None:
        """Follow the forward pass, to see how modules are called."""
        func = _forward_method(ev, root)
        inner = [v for v in root.attrs.values() if isinstance(v, Mod)]
        if func is None and len(inner) == 1:  # the module that the class has chosen
            (root,) = inner
            func = _forward_method(ev, root)
        if func is None:
            reason = f"{root.class_name} has no forward pass; how its modules are called is unknown"
            missing.append(Missing("forward", reason, root.place))
            return
        try:
            with ev.budget.at_most(FORWARD_STEPS), ev.within(FORWARD):
                follow_forward(ev, root, func)
                follow_others(ev, root)
        except Raised as error:
            missing.append(
                Missing(
                    "forward",
                    f"the forward pass raised {error.kind}: {error.message}; "
                    "how modules behind this point are called is not known",
                    error.place,
                )
            )
        except Exhausted as error:
            why = f"the forward pass is too long to follow: {error.what}"
            missing.append(Missing("forward", why, error.place or func.place))

    def _failure(self, error: Raised, module: SourceModule, architecture: str) -> FibcoreError:
        """What an exception of the model's own constructor means for the user."""
        where = str(error.place) if error.place is not None else module.file
        sizes = f"tp={self.serving.tp} ep={self.serving.ep}"
        if self.serving.tp > 1 and self._fits_one_rank(module, architecture):
            return ServingError(
                f"{architecture} cannot be served at {sizes}",
                where=where,
                expected="sizes that divide the model's heads, experts and widths",
                found=error.message,
                hint="choose other --tp / --ep sizes",
            )
        if error.kind == "AttributeError" and error.message.startswith("config"):
            return ConfigError(
                "the config lacks a key that the model reads",
                where=where,
                expected=error.message.rpartition(" ")[2],
                found=f"no such key in {self.config.origin}",
                hint=self._where_keys_are(),
            )
        if error.kind in ("AssertionError", "ValueError", "KeyError", "NotImplementedError"):
            return ConfigError(
                f"{architecture} refuses this config ({error.kind})",
                where=where,
                found=error.message,
            )
        return ElaborationError(
            f"{architecture} cannot be elaborated",
            where=where,
            found=f"{error.kind}: {error.message}",
        )

    def _where_keys_are(self) -> str:
        """What to do about a key that neither the file nor a class has."""
        remote = self.config.data.get("auto_map")
        own = remote.get("AutoConfig") if isinstance(remote, Mapping) else None
        if isinstance(own, str) and self.config_label.startswith("PreTrainedConfig"):
            return (
                f"the model's config class is code of its repository ({own}), which is not run: "
                "add the key to the config, as that class defaults it"
            )
        return f"add the key to the config; {self.config_label} has no default for it"

    def _fits_one_rank(self, module: SourceModule, architecture: str) -> bool:
        one = Session(self.source, self.config, attrs.evolve(self.serving, tp=1, ep=1))
        try:
            one._elaborate(module, architecture)
        except (Raised, FibcoreError):
            return False
        return True


def _followed(
    ev: Evaluator, following: Following, tree: TreeBuilder, wrapped: Adapters
) -> Followed:
    """What is run beside modules, found after the model was elaborated.

    The models' own calls come first, then those below building blocks, then those of adapters.
    """
    ev.budget.restart()
    with deep_recursion(), charging(ev.budget.spend):
        found = following.run()
    own = (operation for operation in tree.operations if operation.beside)
    return attrs.evolve(found, kernel_calls=(*own, *found.kernel_calls, *wrapped.calls))


def _forward_method(ev: Evaluator, mod: Mod) -> Func | None:
    func = ev.classes.attr(mod.cls, "forward") if isinstance(mod.cls, Class) else None
    return func if isinstance(func, Func) else None
