"""The command line takes what the API takes, with the same defaults."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click
import pytest

import fibcore
from fibcore.cli import cli
from fibcore.cli.group import COMMANDS
from fibcore.verification.run import TIMEOUT_S

CALLS = {
    **{name: (name.replace("-", "_"),) for name in COMMANDS},
    "extract-kernel-definitions": ("extract",),
    "models": ("models", "hierarchy"),
}
"""Command to the functions of the API that it calls."""

OUTPUT = {"json_mode", "quiet", "verbose"}
"""Options about what is printed, which no function of the API has."""

RENAMED = {
    "cost": {"folder"},
    "diff": {"exit_code"},
    "models": {"name", "path"},
    "publish": {"dry_run"},
}
"""Of the command line alone; `publish` sends nothing without --yes, as the API without `yes`."""


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def defaults(name: str) -> dict[str, Any]:
    """What a command gives the API where no option is given."""
    context = command(name).make_context(name, [], resilient_parsing=True)
    ignored = {"help", *OUTPUT, *RENAMED.get(name, ())}
    return {option: value for option, value in context.params.items() if option not in ignored}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_a_keyword_of_the_api(name: str) -> None:
    keywords = {word for f in CALLS[name] for word in getattr(fibcore, f).keywords}
    options = {"page_size", "gemm_shapes", "sampling_order", "drafts"}  # op types declare them
    assert set(defaults(name)) <= keywords | options


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_defaults_are_those_of_the_api(name: str) -> None:
    of_api: dict[str, Any] = {"target_dir": "./repos", "timeout_s": TIMEOUT_S}
    for function in CALLS[name]:
        for parameter in inspect.signature(getattr(fibcore, function)).parameters.values():
            if parameter.default is not inspect.Parameter.empty:
                of_api[parameter.name] = parameter.default
    of_api |= {key: Path(of_api[key]) for key in ("directory", "web_dir") if key in of_api}
    for option, value in defaults(name).items():
        if option != "gemm_shapes":
            assert (value or None) == (of_api.get(option) or None), option
