"""Launch lines of SGLang's server, read as a release reads them, and what the server makes of them.

`read_launch` needs the source alone; `settle` needs the model too, since the server looks at its
config before it decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.patterns import charging
from fibcore.elaborate.recursion import deep_recursion
from fibcore.elaborate.sglang.environment import Environment
from fibcore.elaborate.sglang.index import index_of
from fibcore.elaborate.sglang.launch.command_line import CommandLine
from fibcore.elaborate.sglang.launch.config_file import with_config_file
from fibcore.elaborate.sglang.launch.resolution import PARALLEL
from fibcore.elaborate.sglang.launch.variables import process_variables
from fibcore.elaborate.sglang.launch.words import WHERE, launch_words
from fibcore.errors import ServingError, UsageError
from fibcore.model.launch import Launch
from fibcore.model.serving import Serving

if TYPE_CHECKING:
    from fibcore.sources.tree import SourceTree

_SIZES = ("tp_size", "ep_size")
_MODEL = "model_path"


@attrs.frozen
class ReadLaunch:
    """A launch line as a release reads it.

    Attributes:
        model: The model that it names; None where it names none.
        tp: The tensor-parallel size.
        ep: The expert-parallel size.
        launch: Everything else.
    """

    model: str | None
    tp: int
    ep: int
    launch: Launch


def read_launch(source: SourceTree, line: str | Path | Sequence[str]) -> ReadLaunch:
    """Read a launch line, or a file of options, with the definitions of a release.

    Args:
        source: SGLang's source.
        line: What a shell runs, its words, or a YAML or JSON file as `--config` takes it.

    Raises:
        UsageError: an option is unknown or cannot have its value; the file cannot be read.
        SourceError: the source does not say which options its server takes.
    """
    words = launch_words(["--config", str(line)] if isinstance(line, Path) else line)
    environment = Environment(Serving(), source.version)
    ev = Evaluator(index_of(source.root), environment)
    release = f"SGLang {source.version or source.commit or ''}".strip()
    with deep_recursion(), charging(ev.budget.spend):
        parser = CommandLine(ev, release)
        given = parser.values(with_config_file(words.options, parser))
        variables = process_variables(ev, environment, words.variables, release)
    model = given.pop(_MODEL, None)
    tp, ep = (_size(given.pop(name, 1), name) for name in _SIZES)
    return ReadLaunch(
        model=None if model is None else str(model),
        tp=tp,
        ep=ep,
        launch=Launch("", arguments=given, given=given, variables=variables),
    )


def _size(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(
            "a parallel size has to be a positive integer",
            where=f"{WHERE} --{name.replace('_', '-')}",
            expected="an integer of at least 1",
            found=repr(value),
        )
    return value


def settled_serving(
    serving: Serving,
    decided: Mapping[str, Any],
    effective: frozenset[str],
    variables: Mapping[str, Any],
) -> Serving:
    """A way of serving with what the server made of its options.

    Args:
        serving: The way of serving, with a launch.
        decided: Server arguments after the server's handlers, by name.
        effective: Arguments, and variables, on whose account the server changed something.
        variables: Variables of the environment that the server set.

    Raises:
        ServingError: a parallel size depends on what is not known.
    """
    launch = serving.launch
    assert launch is not None
    arguments = {name: value for name, value in decided.items() if name != _MODEL}

    def size(name: str, default: int) -> int:
        value = arguments.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ServingError(
                "a parallel size of the launch is not known or cannot be",
                where=f"{WHERE} --{name.replace('_', '-')}",
                found=str(value),
            )
        return int(value)

    # Newer releases count groups of attention by themselves, older ones with `dp_size`.
    groups = size("attn_dp_size", 1)
    if groups == 1 and arguments.get("enable_dp_attention") is True:
        groups = size("dp_size", 1)
    return attrs.evolve(
        serving,
        tp=size("tp_size", serving.tp),
        ep=size("ep_size", serving.ep),
        launch=attrs.evolve(
            launch,
            arguments=arguments,
            attention_dp=groups,
            attention_cp=size("attn_cp_size", 1),
            expert_dp=size("moe_dp_size", 1),
            decode_cp=size("dcp_size", 1),
            effective=effective | frozenset(PARALLEL),
            decided=variables,
            settled=True,
        ),
    )
