"""What was asked for: models, their configs, how they are served, and what of them is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import attrs

from fibcore.errors import UsageError, nearest
from fibcore.keywords import listed, part, several, user_path
from fibcore.model.launch import DEFAULT_GPU, Launch, known_gpu
from fibcore.model.options import AskedValue, OptionValue
from fibcore.model.serving import STAGES, Serving
from fibcore.ops.options import DeclaredOptions
from fibcore.ops.registry import Registry
from fibcore.workspace import Where

if TYPE_CHECKING:
    from fibcore.configs.catalogue import ResolvedModel
    from fibcore.elaborate.launching import ReadLaunch
    from fibcore.sources.tree import SourceTree

CATALOGUE = "catalogue"
"""Stands for the catalogue's launch line of each model."""

LaunchLine = str | Path | Sequence[str]
"""A launch line, its words, or a file of its options."""

Config = str | Path | Mapping[str, Any] | None
"""A model's config: a file, plain data, or None for what its name stands for."""


class Wanted(TypedDict, total=False):
    """How models are served and what of them is wanted.

    Options that op types declare may be given as keywords of their own or as `options`.

    Attributes:
        tp: Tensor-parallel sizes; by default how the catalogue says the model is served.
        ep: Expert-parallel sizes, likewise; see `combinations`.
        op_type: Only these op types.
        stage: "decode", "prefill" or both; both by default.
        options: Values of options that op types declare; what is left out has the catalogue's
            value for a model, else the declared default.
    """

    tp: int | Sequence[int] | None
    ep: int | Sequence[int] | None
    op_type: str | Sequence[str]
    stage: str | Sequence[str] | None
    options: Mapping[str, AskedValue]


class Launched(TypedDict, total=False):
    """How models are served, as SGLang's own command line says it.

    Attributes:
        launch: A launch line (`python -m sglang.launch_server --tp 8 ...`, or its options alone),
            its words, or a YAML or JSON file of options; "catalogue" for how the catalogue says
            that a model is launched. In place of `tp` and `ep`.
    """

    launch: LaunchLine | None


class OnGpu(TypedDict, total=False):
    """What serves models.

    Attributes:
        gpu: The GPU that the server runs on; an H100 by default.
    """

    gpu: str | None


class WantedWhere(Where, Wanted, Launched, total=False):
    """The keywords of functions of the API about models: `Wanted`, `Launched` and `Where`."""


class ModelsAsked(WantedWhere, total=False):
    """The keywords of functions of the API about models that have their config from somewhere.

    Attributes:
        hf_repo_id: Take the config from this Hub repository.
        config: Take the config from this file, or this plain data.
    """

    hf_repo_id: str | None
    config: Config


class ModelsLaunched(ModelsAsked, OnGpu, total=False):
    """The keywords of functions of the API about models on a GPU of their own."""


@attrs.frozen
class Request:
    """What is wanted of models; empty sizes stand for how a model is usually served.

    Attributes:
        tp: Tensor-parallel sizes.
        ep: Expert-parallel sizes.
        stages: Stages of inference.
        op_types: Op types; empty for all.
        options: Values of options that op types declare, where others than the usual ones were
            asked for.
        hf_repo_id: The Hub repository to take the config of the one model from.
        config: The config of the one model.
        launch: The launch line, as it was given, or as a release reads it.
        gpu: The GPU that the server runs on.
    """

    tp: tuple[int, ...] = ()
    ep: tuple[int, ...] = ()
    stages: tuple[str, ...] = STAGES
    op_types: tuple[str, ...] = ()
    options: Mapping[str, OptionValue] = attrs.field(factory=dict)
    hf_repo_id: str | None = None
    config: Config = None
    launch: str | Path | tuple[str, ...] | ReadLaunch | None = None
    gpu: str = DEFAULT_GPU

    @classmethod
    def of(
        cls,
        registry: Registry,
        asked: Wanted,
        *,
        hf_repo_id: str | None = None,
        config: Config = None,
    ) -> Request:
        """What the keywords of a function of the API ask for.

        Raises:
            UsageError: an op type or option is unknown, and the nearest ones are named; or an
                option cannot have the value.
            PluginError: no plugin is in use.
        """
        stage = asked.get("stage")
        launch = part(Launched, asked).get("launch")
        if launch is not None:
            sizes_of_a_launch(tp=asked.get("tp"), ep=asked.get("ep"))
        request = cls(
            tp=listed(asked.get("tp")),
            ep=listed(asked.get("ep")),
            stages=STAGES if stage is None else listed(stage),
            op_types=known_op_types(asked.get("op_type", ()), registry),
            options=registry.options.asked(asked.get("options") or {}),
            hf_repo_id=hf_repo_id,
            config=config,
            launch=launch_line(launch),
            gpu=known_gpu(part(OnGpu, asked).get("gpu")),
        )
        registry.check_there_are_plugins()  # what is wrong with a name is said first
        return request

    def for_model(self, name: str, source: SourceTree) -> Request:
        """The request for one model: `--launch catalogue` is the catalogue's line of that model.

        Raises:
            UsageError: the catalogue has no such model.
        """
        if self.launch != CATALOGUE:
            return self
        from fibcore.configs.catalogue import catalogue, find_entry

        entry = find_entry(name)
        if entry is None:
            raise UsageError(
                "the catalogue has no launch line of this model",
                where=f"--launch {CATALOGUE}",
                expected=", ".join(nearest(name, [e.slug for e in catalogue()])),
                found=repr(name),
            )
        return attrs.evolve(self, launch=entry.launch).for_source(source)

    def with_launch_source(self, model: ResolvedModel) -> ResolvedModel:
        """A model with a note of where its launch line is from, where that is the catalogue's."""
        from fibcore.configs.catalogue import find_entry

        entry = find_entry(model.slug) if self.launch == CATALOGUE else None
        if entry is None:
            return model
        note = f"the catalogue's launch line: {entry.launch_source}"
        return attrs.evolve(model, notes=(*model.notes, note))

    def for_source(self, source: SourceTree) -> Request:
        """The request with its launch line read as a release reads it.

        Raises:
            UsageError: an option of the launch line is unknown or cannot have its value.
        """
        from fibcore.elaborate.launching import ReadLaunch, read_launch

        if self.launch is None or self.launch == CATALOGUE or isinstance(self.launch, ReadLaunch):
            return self
        return attrs.evolve(self, launch=read_launch(source, self.launch))

    @property
    def read_launch(self) -> ReadLaunch | None:
        """The launch line as it was read; None where there is none."""
        from fibcore.elaborate.launching import ReadLaunch

        return self.launch if isinstance(self.launch, ReadLaunch) else None

    def named(self, names: Sequence[str], source: SourceTree) -> tuple[str, ...]:
        """The models that are named, else the one that the launch line names.

        Raises:
            UsageError: there is none; or the launch line cannot be read.
        """
        if not names and self.launch is not None:
            read = self.for_source(source).read_launch
            names = () if read is None or read.model is None else (read.model,)
        check_models(names, self.hf_repo_id, self.config)
        return tuple(names)

    def check_named(self, names: Sequence[str]) -> None:
        """Refuse what is wrong with the names of models before there is a source.

        Raises:
            UsageError: no model is named, and no launch line that may name one; or one config for
                several models.
        """
        if names or self.launch is None:
            check_models(names, self.hf_repo_id, self.config)

    @classmethod
    def of_models(cls, registry: Registry, asked: ModelsAsked) -> Request:
        """What the keywords ask for, with where the one model has its config from.

        Raises:
            UsageError: as `of`.
            PluginError: as `of`.
        """
        return cls.of(
            registry, asked, hf_repo_id=asked.get("hf_repo_id"), config=asked.get("config")
        )

    def combinations(self, model: ResolvedModel) -> list[tuple[int, int]]:
        """The (TP, EP) pairs of a model; see `combinations`."""
        read = self.read_launch if self.launch is not None else None
        if read is not None:
            return [(read.tp, read.ep)]
        return combinations(self.tp, self.ep, model)

    def serving(self, model: ResolvedModel, tp: int, ep: int, declared: DeclaredOptions) -> Serving:
        """How a model is served at parallel sizes, with a value for every declared option.

        Raises:
            ServingError: it cannot be.
        """
        read = self.read_launch if self.launch is not None else None
        launch = None if read is None else read.launch
        if launch is None and self.gpu != DEFAULT_GPU:
            launch = Launch("")  # the server decides by its machine, whatever options it has
        launched = {} if launch is None else declared.launched(launch.given)
        options = declared.completed(self.options, launched, model.options)
        return Serving(
            tp=tp, ep=ep, stages=self.stages, options=options, gpu=self.gpu, launch=launch
        )

    def wants(self, kernel_op_type: str) -> bool:
        """Whether kernels of an op type are wanted."""
        return not self.op_types or kernel_op_type in self.op_types


def sizes_of_a_launch(**given: Any) -> None:
    """Refuse parallel sizes beside a launch line, which has them itself.

    Raises:
        UsageError: a size is given, by its name.
    """
    for name, value in given.items():
        if value not in (None, ()):
            raise UsageError(
                "a launch line gives the parallel sizes itself",
                where=f"--{name}, --launch",
                expected="one of the two",
                found=f"{name}={value} beside a launch line",
                hint=f"write --{name}-size into the launch line",
            )


def launch_line(launch: LaunchLine | None) -> str | Path | tuple[str, ...] | None:
    """A launch line as it was given; a text that is the name of a file of options as its path."""
    if launch is None or isinstance(launch, Path):
        return launch
    if not isinstance(launch, str):
        return tuple(launch)
    is_file = launch.lower().endswith((".yaml", ".yml", ".json")) and " " not in launch.strip()
    return user_path(launch.strip(), "--launch") if is_file else launch


def check_models(names: Sequence[str], hf_repo_id: str | None, config: Config) -> None:
    """Refuse models that a config does not fit.

    Raises:
        UsageError: no model, or one config for several models.
    """
    if not names:
        raise UsageError("no model is named", where="--model-name", expected="at least one name")
    if hf_repo_id is not None and config is not None:
        raise UsageError("these options exclude each other", where="--hf-repo-id, --config")
    if len(names) > 1 and (hf_repo_id is not None or config is not None):
        raise UsageError(
            "one config does not serve several models",
            where="--hf-repo-id" if config is None else "--config",
            expected="one --model-name",
            found=", ".join(names),
        )


def combinations(
    tp: Sequence[int], ep: Sequence[int], model: ResolvedModel
) -> list[tuple[int, int]]:
    """The (TP, EP) pairs to extract.

    Pairs that were asked for are all there, whether they can be or not. An empty list stands for
    how the model is usually served; but where TP alone is given, a model that is served with its
    experts over all ranks keeps that: EP is TP.

    Args:
        tp: TP sizes that were asked for.
        ep: EP sizes that were asked for.
        model: The model, which knows how it is served.
    """
    if ep:
        return [(t, e) for t in tp or model.tp for e in ep]
    if tp and model.ep == model.tp != (1,):
        return [(t, t) for t in tp]
    if tp:
        return [(t, e) for t in tp for e in model.ep]
    return [(t, e) for t in model.tp for e in model.ep if t % e == 0]


def known_op_types(op_type: str | Sequence[str], registry: Registry) -> tuple[str, ...]:
    """The op types asked for, after a check that a plugin is responsible for each.

    Raises:
        UsageError: one is unknown; the nearest ones are named.
    """
    asked = several(op_type)
    known = registry.op_types()
    for name in asked:
        if name not in known:
            skipped = ", ".join(p.label for p in registry.skipped())
            raise UsageError(
                "no installed plugin has this op type",
                where="--op-type",
                expected=", ".join(nearest(name, known)) or "an op type of an installed plugin",
                found=repr(name),
                hint="fibcore plugins lists them"
                + (f"; not used because they are broken: {skipped}" if skipped else ""),
            )
    return asked
