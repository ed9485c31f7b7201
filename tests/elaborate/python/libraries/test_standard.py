"""What is imitated of the standard library gives what Python gives."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.elaborate.python.values import Ext
from fibcore.model.tree import Alternatives, Unknown

SOURCES = {
    "collections": "import collections\nx = dict(collections.OrderedDict(a=1))\n",
    "collections defaults": "from collections import defaultdict\nx = dict(defaultdict(list))\n",
    "contextlib": "import contextlib\nwith contextlib.nullcontext(4) as x:\n    pass\n",
    "copy": "import copy\na = {'k': [1]}\nb = copy.deepcopy(a)\nb['k'].append(2)\nx = (a, b)\n",
    "dataclasses": (
        "from dataclasses import asdict, dataclass, fields, replace\n"
        "@dataclass\nclass R:\n    a: int\n    b: int = 2\n"
        "x = (asdict(replace(R(1), b=3)), [f.name for f in fields(R)])\n"
    ),
    "enum": (
        "import enum\nclass E(enum.Enum):\n    A = enum.auto()\n    B = enum.auto()\n"
        "x = E.B.value\n"
    ),
    "functools": (
        "import functools\ndef f(a, b, c=0):\n    return (a, b, c)\n"
        "x = (functools.partial(f, 1, c=3)(2), functools.reduce(lambda a, b: a * b, [2, 3, 4]))\n"
    ),
    "functools caches": (
        "import functools\n@functools.lru_cache\ndef f(n):\n    return n + 1\nx = f(1)\n"
    ),
    "itertools": "import itertools\nx = list(itertools.chain([1], (2, 3)))\n",
    "logging": "import logging\nx = logging.getLogger('a').warning('said')\n",
    "math": "import math\nx = (math.ceil(7 / 2), math.prod([2, 3]), math.log2(8), math.pi)\n",
    "operator": "import operator\nx = operator.floordiv(7, 2)\n",
    "os": (
        "import os\n"
        "x = (os.getenv('NO_SUCH', 'd'), os.environ.get('NO_SUCH'), 'NO_SUCH' in os.environ)\n"
    ),
    "os without the variable": (
        "import os\ntry:\n    x = os.environ['NO_SUCH']\nexcept KeyError:\n    x = 'none'\n"
    ),
    "re": "import re\nx = (re.sub('a+', '-', 'caat'), re.findall('[0-9]+', 'a1b22'))\n",
    "types": "import types\nx = types.SimpleNamespace(a=1).a\n",
    "typing": "from typing import Optional, cast\nA = Optional['Unbound']\nx = cast(int, 3)\n",
    "warnings": "import warnings\nx = warnings.filterwarnings('ignore')\n",
}


@pytest.mark.parametrize("name", SOURCES)
def test_same_as_python(plain: Any, name: str) -> None:
    scope: dict[str, Any] = {}
    exec(SOURCES[name], scope)  # noqa: S102 - the sources above
    assert plain.value(SOURCES[name]) == scope["x"]


def test_numpy_parts(plain: Any) -> None:
    text = "import numpy as np\nx = [p.tolist() for p in np.array_split(list(range(5)), 2)]\n"
    assert plain.value(text) == [[0, 1, 2], [3, 4]]


def test_regex_stands_in_for_re(plain: Any) -> None:
    assert plain.value("import regex\nx = regex.escape('a.b')\n") == "a\\.b"


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("torch.empty(2, 3)", (2, 3)),
        ("torch.zeros((4, 5))", (4, 5)),
        ("torch.full((2,), 1.0)", (2,)),
        ("torch.ones_like(torch.empty(3, 4))", (3, 4)),
        ("torch.empty(2, 3).t()", (3, 2)),
        ("torch.nn.Parameter(torch.empty(2, 3))", (2, 3)),
        ("torch.tensor([1])", None),
    ],
)
def test_tensors_have_shapes(plain: Any, text: str, shape: Any) -> None:
    assert plain.value(f"import torch\nx = {text}\n").shape == shape


def test_one_of_several_arguments(plain: Any) -> None:
    text = "import math, foreign\nx = math.sqrt(4 if foreign.flag() else 9)\n"
    assert plain.value(text) == Alternatives((2.0, 3.0))


def test_what_nobody_imitates_is_not_known(plain: Any) -> None:
    found = plain.value("import statistics\nx = statistics.median([1, 2])\n")
    assert isinstance(found, Unknown)
    assert plain.value("import statistics\nx = statistics.median\n") == Ext("statistics.median")
