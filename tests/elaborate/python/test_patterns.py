"""Regular expressions match as Python's, or are refused before they begin."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from fibcore.elaborate.python import patterns
from fibcore.elaborate.python.limits import TooLarge
from fibcore.model.tree import Unknown

NAME = "model.layers.17.mlp.experts.255.gate_proj"


@pytest.mark.parametrize(
    "pattern",
    [
        r"model\.layers\.\d+\.mlp\.experts\.\d+\.(gate|up)_proj",
        r".*mlp.gate$",
        r".*layers.*mlp.*experts.*gate.*",
        r".*\.layers\.(?!(1|2)\.).*\.mlp\.experts\..*\.(gate|up|down)_proj.*",
        r"^(?:[a-z]+\.)*gate_proj$",
        r"(?i).*EXPERTS\.(?P<number>\d{1,3})",
        r"(?<=model\.)layers",
        r"(\w+)\.\w+\.(\w+)",
        r"",
    ],
)
def test_patterns_of_layer_names_match_as_pythons(pattern: str) -> None:
    for text in (NAME, NAME.upper(), "lm_head", ""):
        assert patterns.matches(pattern, text) is (re.match(pattern, text) is not None)
        whole = re.fullmatch(pattern, text) is not None
        assert patterns.matches(pattern, text, whole=True) is whole
        found = patterns.FUNCTIONS["findall"](pattern, text)
        assert found == re.findall(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(a+)+$", "a" * 30 + "!"),
        (r"([a-z0-9._]+)+!$", NAME),
        (r"(.*.*.*.*.*.*.*.*)*x$", NAME),
        (r"(x+x+)+y", "x" * 40),
        (r"(a|aa)+$", "a" * 60 + "b"),
        (r"(a|b|ab)*c", "ab" * 30),
        (r"(a*)*b", "a" * 30),
        (r"(?:a?){30}a{30}", "a" * 30),
        (r"(?i)(A+)+$", "a" * 30 + "!"),
        (r"(?=(a+)+$)b", "a" * 30 + "!"),
        (r"(é+)+$", "é" * 30 + "!"),
        (r"x*" * 200 + "y", "x" * 200),
        ("(" * 2000 + ")" * 2000, "a"),
        ("(?i)" + "[\u0000-\uffff]" * 500, "a"),
        ("a" * 5000, "a"),
        ("a", "a" * 10**6),
    ],
)
def test_what_may_take_too_long_is_refused_at_once(pattern: str, text: str) -> None:
    began = time.thread_time()
    with pytest.raises(TooLarge):
        patterns.FUNCTIONS["search"](pattern, text)
    assert time.thread_time() - began < 1


def test_steps_are_counted() -> None:
    steps: list[int] = []
    with patterns.charging(lambda count, _: steps.append(count)):
        assert patterns.matches(r".*a.*b.*c.*", "xaxbxc" * 10)
    assert patterns.matches("a", "a")
    assert len(steps) == 1
    assert steps[0] > 1


def test_source_gets_what_python_computes_or_unknown(plain: Any) -> None:
    found = plain.attributes(
        r"""
        self.groups = re.match(r'(\w+)-(\d+)', 'ab-12').groups()
        self.text = re.sub('b', 'xy', 'abc', 1)
        self.parts = re.split(',', 'a,b', flags=0)
        self.long = re.match('(a+)+$', 'a' * 40 + '!')
        try:
            re.compile('[')
            self.error = False
        except Exception:
            self.error = True
        """,
        before="import re",
    )
    assert found["groups"] == ("ab", "12")
    assert (found["text"], found["parts"]) == ("axyc", ["a", "b"])
    assert isinstance(found["long"], Unknown)
    assert "regular expression" in found["long"].reason
    assert found["error"] is True
