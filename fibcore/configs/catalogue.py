"""The built-in catalogue of models, and what a model's name stands for.

`catalogue.json` holds facts: each model's names, the fields of its config that decide which kernels
it has, and how it is usually served.
"""

from __future__ import annotations

import copy
import functools
import json
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.configs.model_config import ModelConfig, checked_config, load_config_file
from fibcore.errors import UnknownModelError, UsageError, nearest
from fibcore.model.options import OptionValue

DEFAULT_LAUNCH = "fibcore's default, the parallel sizes alone; no cookbook is named"
"""What is said of a launch line that has no source."""

ModelFiles = Mapping[str, tuple[str, ...]]
"""SGLang model files (`qwen2_moe`) and the architecture classes that each registers."""


@attrs.frozen
class LaunchFact:
    """A launch line by which a model is served, as somebody published it.

    Attributes:
        line: The line.
        source: Where it is from.
    """

    line: str
    source: str


def _launch_facts(given: Iterable[Mapping[str, str] | LaunchFact]) -> tuple[LaunchFact, ...]:
    return tuple(fact if isinstance(fact, LaunchFact) else LaunchFact(**fact) for fact in given)


@attrs.frozen
class CatalogueEntry:
    """One model of the catalogue.

    Attributes:
        slug: Its name in tags and reports, `llama-3.1-8b`.
        hub_id: Its Hub id.
        config: The fields of its config.json that matter here.
        tp: Tensor-parallel sizes that it is usually served at.
        ep: Expert-parallel sizes.
        options: Values of options that op types declare, by name, where they are not the default.
        aliases: Other names, and Hub ids of models with the same sizes.
        default_for: SGLang model files, architecture classes and model types that it stands for.
        launches: Launch lines that were published for it, the usual one first.
        note: What a user should know about these facts; empty where there is nothing.
    """

    slug: str
    hub_id: str
    config: Mapping[str, Any]
    tp: tuple[int, ...] = attrs.field(default=(1,), converter=tuple)
    ep: tuple[int, ...] = attrs.field(default=(1,), converter=tuple)
    options: Mapping[str, OptionValue] = attrs.field(factory=dict)
    aliases: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    default_for: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    launches: tuple[LaunchFact, ...] = attrs.field(default=(), converter=_launch_facts)
    note: str = ""

    @property
    def launch(self) -> str:
        """The launch line of its usual way of serving: the first published one, or its sizes'."""
        if self.launches:
            return self.launches[0].line
        sizes = f"--tp-size {self.tp[0]} --ep-size {self.ep[0]}"
        return f"python3 -m sglang.launch_server --model-path {self.hub_id} {sizes}"

    @property
    def launch_source(self) -> str:
        """Where `launch` is from; of what nobody published that it is fibcore's default."""
        return self.launches[0].source if self.launches else DEFAULT_LAUNCH

    @property
    def architecture(self) -> str:
        """The model class."""
        return str(self.config["architectures"][0])

    def model_config(self) -> ModelConfig:
        """The config, with this catalogue as its origin."""
        data = copy.deepcopy(dict(self.config))
        return ModelConfig(self.slug, self.hub_id, data, f"catalogue:{self.slug}")


@attrs.frozen
class ResolvedModel:
    """The model that a name stands for.

    Attributes:
        slug: The name in tags and reports.
        config: Its config; `config.origin` says where the constants came from.
        tp: Tensor-parallel sizes that it is served at unless others are asked for.
        ep: Expert-parallel sizes, likewise.
        architecture: The model class.
        options: Values of options that op types declare, likewise.
        notes: What the user should know, such as that the Hub could not be reached.
    """

    slug: str
    config: ModelConfig
    tp: tuple[int, ...]
    ep: tuple[int, ...]
    architecture: str | None
    options: Mapping[str, OptionValue] = attrs.field(factory=dict)
    notes: tuple[str, ...] = ()


@functools.lru_cache(maxsize=1)
def catalogue() -> tuple[CatalogueEntry, ...]:
    """All models of the catalogue."""
    text = pkgutil.get_data(__name__, "catalogue.json")
    assert text is not None
    # Its form is held by a test; to check it in every run would cost more than to read it.
    return tuple(CatalogueEntry(**entry) for entry in json.loads(text)["models"])


def find_entry(name: str) -> CatalogueEntry | None:
    """The model with this slug, alias or Hub id; case and separators do not matter."""
    return _names().get(_key(name))


def resolve_model(
    name: str,
    *,
    hf_repo_id: str | None = None,
    config_file: str | Path | Mapping[str, Any] | None = None,
    known_files: ModelFiles | Callable[[], ModelFiles] | None = None,
) -> ResolvedModel:
    """The model that `name` stands for, with its constants.

    The constants are those of `config_file`, else of the Hub (where a Hub id is given), else of the
    catalogue. The catalogue also stands in for a Hub that does not give a model that it has, and
    `notes` says so. The network is only used for a Hub id.

    Args:
        name: A SGLang model file (`llama`, `qwen2_moe`), an architecture class, a slug of the
            catalogue, or a Hub id. With `config_file` any name will do.
        hf_repo_id: The Hub id to take the config of.
        config_file: A config.json, a folder that holds one, or its parsed content.
        known_files: The source tree's model files, or what returns them; asked only where the
            catalogue does not know the name.

    Raises:
        UnknownModelError: nothing has this name, or what has it has no config in the catalogue.
        ConfigError: a config that cannot be had, or holds what cannot be.
        UsageError: arguments that exclude each other, or a name that cannot be one.
    """
    if config_file is not None and hf_repo_id is not None:
        raise UsageError(
            "a config comes from a file or from the Hub",
            where="--config, --hf-repo-id",
            expected="one of the two",
        )
    if not name.strip() or any(ord(c) < 32 for c in name):
        raise UsageError("a model needs a name", where="--model-name", found=repr(name))
    if config_file is not None:
        return _from_file(name, config_file)
    if hf_repo_id is not None:
        return _from_hub(hf_repo_id, _hub_slug(name, hf_repo_id))
    if "/" in name:
        return _from_hub(name, None)
    return _from_catalogue(name, known_files)


def _from_file(name: str, config_file: str | Path | Mapping[str, Any]) -> ResolvedModel:
    slug = slugify(name)
    if isinstance(config_file, Mapping):
        read = checked_config(copy.deepcopy(dict(config_file)), f"config of {slug}", name)
        config = ModelConfig(slug, None, read.data, "given", read.notes, read.origins)
    else:
        config = load_config_file(config_file, slug)
    return _served(config, find_entry(name))


def _from_hub(hub_id: str, slug: str | None) -> ResolvedModel:
    from fibcore.configs.hub import HubError, check_hub_id, load_hub_config

    entry = _names().get(_key(hub_id)) if "/" in hub_id else None
    if entry is not None:
        slug = slug or entry.slug
    try:
        return _served(load_hub_config(check_hub_id(hub_id), slug=slug), entry)
    except HubError as error:
        if entry is None:
            raise
        found = f": {error.found}" if error.found else ""
        note = f"constants of {hub_id} are the catalogue's, since {error.message}{found}"
        config = attrs.evolve(entry.model_config(), slug=slug or entry.slug)
        return _served(config, entry, note)


def _hub_slug(name: str, hub_id: str) -> str | None:
    """The slug for a Hub model that was also given a name; None for the one its id gives."""
    if "/" in name or name == hub_id:
        return None
    entry = find_entry(name)
    if entry is not None:
        return entry.slug
    # The name of a model file or class says which model it is less well than the Hub id.
    return None if _key(name) in _defaults() else slugify(name)


def _served(config: ModelConfig, entry: CatalogueEntry | None, *notes: str) -> ResolvedModel:
    """A model with the serving sizes of the catalogue's entry, where it is of the same class."""
    names = config.data.get("architectures")
    architecture = config.architecture if names else None  # else the model type decides
    notes = (*config.notes, *notes)
    if entry is None or entry.architecture != architecture:
        return ResolvedModel(config.slug, config, (1,), (1,), architecture, notes=notes)
    if entry.note and config.origin.startswith("catalogue:"):
        notes = (*notes, entry.note)
    return ResolvedModel(
        config.slug, config, entry.tp, entry.ep, architecture, entry.options, notes
    )


def _from_catalogue(
    name: str, known_files: ModelFiles | Callable[[], ModelFiles] | None
) -> ResolvedModel:
    entry = find_entry(name) or _defaults().get(_key(name))
    if entry is not None:
        return _served(entry.model_config(), entry)
    files = (known_files() if callable(known_files) else known_files) or {}
    classes = _classes_named(name, files)
    for architecture in classes:
        entry = _defaults().get(_key(architecture))
        if entry is not None:
            return _served(entry.model_config(), entry)
    if classes:
        raise UnknownModelError(
            f"SGLang has {', '.join(classes)}, but the catalogue has no config of it",
            where=name,
            hint="give --config FILE or --hf-repo-id ID",
        )
    nearest = _nearest(name, files)
    raise UnknownModelError(
        "no model, model file or architecture has this name",
        where=name,
        expected=f"such as {', '.join(nearest)}" if nearest else None,
        hint="list the names with `fibcore models`, or give --config FILE or --hf-repo-id ID",
    )


def _classes_named(name: str, files: ModelFiles) -> tuple[str, ...]:
    """Architecture classes that a name stands for in the source tree."""
    key = _key(name)
    for stem, classes in files.items():
        if _key(stem) == key:
            return tuple(classes)
    return tuple(c for classes in files.values() for c in classes if _key(c) == key)[:1]


def _nearest(name: str, files: ModelFiles) -> list[str]:
    known: dict[str, str] = {}
    for entry in catalogue():
        for one in (entry.slug, *entry.aliases, *entry.default_for):
            known.setdefault(_key(one.rpartition("/")[2]), one.rpartition("/")[2])
    for stem, classes in files.items():
        for one in (stem, *classes):
            known.setdefault(_key(one), one)
    return [known[key] for key in nearest(_key(name), known, limit=5, at_least=50)]


def slugify(name: str) -> str:
    """A name for tags, reports and file names: the last part of a Hub id, in lower case.

    Raises:
        UsageError: nothing is left.
    """
    last = name.rstrip("/").rpartition("/")[2].lower()
    slug = re.sub(r"[^a-z0-9._]+", "-", last).strip("-.")
    if not slug:
        raise UsageError(
            "not a name for a model",
            where="--model-name",
            expected="letters, digits, . _ -",
            found=repr(name),
        )
    return slug


def _key(name: str) -> str:
    """The part of a name that is compared: letters, digits, and the slash of a Hub id."""
    return re.sub(r"[^a-z0-9/]", "", name.lower())


@functools.lru_cache(maxsize=1)
def _names() -> dict[str, CatalogueEntry]:
    names = ((name, e) for e in catalogue() for name in (e.slug, e.hub_id, *e.aliases))
    # A Hub id's last part will do as well.
    return _unique((n, e) for name, e in names for n in (name, name.rpartition("/")[2]))


@functools.lru_cache(maxsize=1)
def _defaults() -> dict[str, CatalogueEntry]:
    return _unique((name, e) for e in catalogue() for name in e.default_for)


def _unique(pairs: Iterable[tuple[str, CatalogueEntry]]) -> dict[str, CatalogueEntry]:
    found: dict[str, CatalogueEntry] = {}
    for name, entry in pairs:
        if found.setdefault(_key(name), entry) is not entry:
            raise ValueError(f"two models of the catalogue are named {name}")
    return found
