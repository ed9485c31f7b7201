"""Configs from the Hugging Face Hub, through huggingface_hub: its cache, token and offline mode."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from fibcore.configs import mistral
from fibcore.configs.model_config import (
    QUANT_FILE,
    ModelConfig,
    read_config,
    read_json_object,
    says_quantization,
)
from fibcore.errors import ConfigError, UsageError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
"""An id of the form `organisation/model`."""

PROBE_LIMIT_S = 5.0
"""Seconds in which the Hub has to answer before it counts as not reachable."""


class HubError(ConfigError):
    """The Hub did not give the config; the model may be known from elsewhere."""


def check_hub_id(hub_id: str) -> str:
    """`hub_id`, if it can be one.

    Raises:
        UsageError: it cannot.
    """
    if not HUB_ID.fullmatch(hub_id) or ".." in hub_id or "--" in hub_id or len(hub_id) > 96:
        raise UsageError(
            "not a Hub id",
            where="--hf-repo-id",
            expected="ORGANISATION/MODEL, such as meta-llama/Llama-3.1-8B",
            found=repr(hub_id),
        )
    return hub_id


def slug_of(hub_id: str) -> str:
    """The name of a model in tags and reports, from its Hub id: the last part, in lower case."""
    return hub_id.rpartition("/")[2].lower()


def load_hub_config(
    hub_id: str, revision: str | None = None, *, slug: str | None = None
) -> ModelConfig:
    """Get a model's `config.json` from the Hub, or from its local cache.

    Where it says nothing of quantisation, the repository's `hf_quant_config.json` is asked for too.

    Args:
        hub_id: `organisation/model`.
        revision: A branch, tag or commit; None for the default branch.
        slug: The model's name in tags and reports; None for the one that the id gives.

    Raises:
        HubError: no such model, gated, no network, or offline and not in the cache.
        ConfigError: a config that holds what cannot be.
        UsageError: not a Hub id.
    """
    check_hub_id(hub_id)
    why = unreachable()
    first, second = "config.json", mistral.FILE
    if mistral.wants_params(hub_id):  # SGLang reads no other file of these
        first, second = second, first
    path = _download(hub_id, first, revision, why) or _download(hub_id, second, revision, why)
    if path is None:
        raise HubError(
            "the repository has no config.json and no params.json",
            where=hub_id,
            hint="give --config FILE, if the model has a config elsewhere",
        )
    # .../snapshots/COMMIT/config.json
    commit = path.parent.name
    quant: Path | None = None
    notes: tuple[str, ...] = ()
    if not says_quantization(read_json_object(path)):
        quant, notes = _quantization(hub_id, commit, why)
    read = read_config(path, quant, hub_id)
    origin = f"hub:{hub_id}@{commit}"
    slug = slug or slug_of(hub_id)
    return ModelConfig(slug, hub_id, read.data, origin, (*notes, *read.notes), read.origins)


def _quantization(
    hub_id: str, commit: str, unreachable: str | None
) -> tuple[Path | None, tuple[str, ...]]:
    """The repository's `hf_quant_config.json`, and what to say where that cannot be known."""
    if unreachable is None:
        return _download(hub_id, QUANT_FILE, commit, None), ()
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(hub_id, QUANT_FILE, revision=commit)
    if isinstance(cached, str):
        return Path(cached), ()
    if cached is not None:
        # The cache knows that the repository has no such file.
        return None, ()
    note = f"taken as not quantised: {QUANT_FILE} could not be asked for ({unreachable})"
    return None, (note,)


def unreachable(endpoint: str | None = None) -> str | None:
    """The reason why the Hub cannot be asked; None where it answers, even with an error.

    huggingface_hub itself tries for half a minute before it gives a host up.

    Args:
        endpoint: Its address; by default that of huggingface_hub's settings (HF_ENDPOINT).
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "offline mode is on (HF_HUB_OFFLINE)"
    try:
        get_session().head(endpoint or constants.ENDPOINT, timeout=PROBE_LIMIT_S)
    except http_errors() as error:
        return first_line(error)
    return None


def _download(hub_id: str, name: str, revision: str | None, unreachable: str | None) -> Path | None:
    """The path in the cache of a repository's file; None where the repository has no such file."""
    from huggingface_hub import hf_hub_download

    errors = hub_errors()
    try:
        local = unreachable is not None
        return Path(hf_hub_download(hub_id, name, revision=revision, local_files_only=local))
    except errors.LocalEntryNotFoundError as error:
        # Before its base class: it stands for "not in the cache, and the Hub cannot be asked".
        raise HubError(
            "the Hub cannot be reached, and its local cache has no such model",
            where=hub_id,
            found=unreachable or first_line(error.__cause__ or error),
            hint="give --config FILE, or try again with a network",
        ) from error
    except errors.EntryNotFoundError:
        return None
    except errors.GatedRepoError as error:
        raise HubError(
            "the Hub gives this model only to those who accepted its terms",
            where=hub_id,
            found=first_line(error),
            hint=f"accept them at https://huggingface.co/{hub_id} and log in (`hf auth login`), "
            "or give --config FILE",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            "the Hub has no such model, or it is private",
            where=hub_id,
            found=first_line(error),
            hint="check the id, or log in (`hf auth login`)",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(
            "the model has no such revision", where=hub_id, found=repr(revision)
        ) from error
    except errors.HfHubHTTPError as error:
        raise HubError("the Hub refused", where=hub_id, found=first_line(error)) from error
    except http_errors() as error:
        raise HubError("the Hub cannot be asked", where=hub_id, found=first_line(error)) from error


def hub_errors() -> Any:
    """The module with huggingface_hub's errors: `utils` in every release, `errors` since 0.25."""
    return importlib.import_module("huggingface_hub.utils")


def http_errors() -> tuple[type[Exception], ...]:
    """Exceptions of a connection; the HTTP library is httpx in newer releases, else requests."""
    return (OSError, *hub_errors().HfHubHTTPError.__mro__[1:2])


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
