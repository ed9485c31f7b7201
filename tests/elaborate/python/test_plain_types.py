"""What the source may do with plain data: every attribute of every type is tried."""

from __future__ import annotations

import itertools
import re
import sys
from typing import Any

import pytest

from fibcore.elaborate.python.plain import SPECIAL_CHANGES
from fibcore.elaborate.python.plain_types import PLAIN_TYPES, is_plain
from fibcore.elaborate.python.values import DictView, Native, Raised, Value, deep_unknown
from fibcore.model.tree import Alternatives, Unknown
from tests.elaborate.python.conftest import PlainSource

SAMPLES: dict[type, tuple[str, ...]] = {
    int: ("7", "0"),
    bool: ("True",),
    float: ("2.5",),
    complex: ("(1+2j)",),
    str: ("'b a,{}'", "''"),
    bytes: ("b'b a'",),
    list: ("[3, 1, 2]", "[]"),
    tuple: ("(3, 1, 2)",),
    dict: ("{'a': 1, 'b': 2}",),
    set: ("{1}",),
    frozenset: ("frozenset([1])",),
    range: ("range(1, 9, 2)",),
    slice: ("slice(1, 9, 2)",),
    type(None): ("None",),
    type(Ellipsis): ("...",),
    re.Pattern: ("re.compile('(b)( )?')",),
    re.Match: ("re.match('(b)( )?', 'b a')",),
}
ARGUMENTS = (
    "", "1", "'a'", "'a', 'b'", "b'a'", "[1]", "{1}", "0, 3", "'utf-8'", "1, 'big'", "{'a': 5}",
    "print", "Own()", "lambda *a: 1",
)  # fmt: skip
HEAD = "import re\nclass Own:\n    pass\n"


def _in_python(source: str) -> Any:
    """What CPython makes of an expression and of the object that it stands at."""
    names: dict[str, Any] = {}
    try:
        exec(HEAD + source, names)  # noqa: S102 - our own text
    except Exception as error:  # noqa: BLE001 - the exception is the result
        return type(error).__name__
    return names["x"], names["v"]


def _equal(found: Any, expected: Any) -> bool:
    if isinstance(found, list) and not isinstance(expected, list):  # views are lists here
        return found == list(expected)
    return bool(found == expected) and isinstance(expected, type(found).__mro__[-2])


def test_all_types_of_the_table_are_tried() -> None:
    assert set(SAMPLES) == set(PLAIN_TYPES)


@pytest.mark.parametrize("kind", PLAIN_TYPES, ids=lambda kind: kind.__name__)
def test_attributes_are_data_methods_or_unknown(plain: PlainSource, kind: type) -> None:
    entry = PLAIN_TYPES[kind]
    sample = SAMPLES[kind][0]
    names = dir(kind)
    plain.write("made.py", f"{HEAD}v = {sample}\n" + "".join(f"x{n} = v.{n}\n" for n in names))
    evaluator = plain.fresh()
    for name in names:
        found = evaluator.value("made", f"x{name}")
        if isinstance(found, Unknown):
            continue
        if name in SPECIAL_CHANGES and kind in (dict, list, set):
            assert isinstance(found, Native)  # it forgets what the container holds
            continue
        assert not name.startswith("_")
        if name in entry.data:
            assert found == getattr(_in_python(f"x = v = {sample}")[0], name)
        else:
            assert name in entry.methods
            assert isinstance(found, Native)


@pytest.mark.parametrize("kind", PLAIN_TYPES, ids=lambda kind: kind.__name__)
def test_calls_give_what_python_gives_or_unknown(plain: PlainSource, kind: type) -> None:
    wrong = []
    for sample in SAMPLES[kind]:
        lines = [HEAD]
        tried = []
        for name, arguments in itertools.product(dir(kind), ARGUMENTS):
            number = len(tried)
            tried.append(f"v = {sample}\nx = v.{name}({arguments})\n")
            lines.append(
                f"def f{number}():\n    v = {sample}\n    try:\n"
                f"        x = v.{name}({arguments})\n"
                "    except (TypeError, ValueError, LookupError, AttributeError):\n"
                "        return 'raised'\n"
                f"    return x, v\nx{number} = f{number}()\n"
            )
        plain.write("made.py", "".join(lines))
        evaluator = plain.fresh()
        for number, source in enumerate(tried):
            found = evaluator.value("made", f"x{number}")
            if not _right(found, source) and not _of_a_later_python(source):
                wrong.append((source, found))
    assert not wrong


def _of_a_later_python(source: str) -> bool:
    """Whether a call has arguments that this Python does not know; the evaluator knows 3.11's."""
    return sys.version_info < (3, 11) and ".to_bytes(" in source


def _right(found: Any, source: str) -> bool:
    if isinstance(found, (Unknown, Alternatives)):
        return True
    expected = _in_python(source)
    if found == "raised":
        return isinstance(expected, str)
    result, after = found
    if deep_unknown([result, after]) is not None:
        return True
    if isinstance(result, DictView):  # it shows what the same view of Python shows
        views = (type({}.keys()), type({}.values()), type({}.items()))
        return isinstance(expected[0], views) and result.now() == list(expected[0])
    if isinstance(expected, str) or isinstance(result, Value):
        return False
    if isinstance(result, (re.Match, re.Pattern)):
        return repr(result) == repr(expected[0])
    if isinstance(after, (re.Match, re.Pattern)):
        return is_plain(result) and _equal(result, expected[0])
    own = not is_plain(result) or not is_plain(after)  # it holds an instance, a function
    return own or (_equal(result, expected[0]) and _equal(after, expected[1]))


@pytest.mark.parametrize(
    "source",
    [
        "[].__reduce_ex__(2)[0].__globals__",
        "(1).__class__.__base__.__subclasses__()",
        "str.__init__.__globals__",
        "dict.__subclasshook__",
        "print.__globals__",
        "print.fn.__globals__",
        "(lambda: 1).env.module",
        "len.fn",
        "getattr([], '__class__')",
        "getattr(str, 'mro')()",
        "'{0.__class__}'.format(1)",
        "'{0[0]}'.format([1])",
        "'{a.__init__.__globals__}'.format_map({'a': f})",
        "str.format('{0.fn}', print)",
        "'%s' % (f,)",
        "'%s' % f",
        "'%s' % (foreign.flag(),)",
        "f'{f}'",
        "f'{Own()!r:>10}'",
        "str(print)",
        "repr([f])",
        "format(Own)",
        "''.join([str(f), 'a'])",
        "'a'.encode('idna')",
        "'a'.encode(encoding='mbcs')",
        "hash('a')",
        "str({'a', 'b'})",
    ],
)
def test_no_object_of_the_interpreter_is_reached(plain: PlainSource, source: str) -> None:
    head = f"{HEAD}import foreign\ndef f():\n    return 1\n"
    try:
        found = plain.value(f"{head}x = {source}")
    except Raised as error:
        assert error.kind in ("AttributeError", "LookupError")  # noqa: PT017
        return
    assert isinstance(found, Unknown)


@pytest.mark.parametrize(
    "source",
    [
        "'{} {}'.format(1, 'a')",
        "'{1:>4}|{0!r}'.format('a', 2)",
        "'{a}{b:03d}{{}}'.format(a=1, b=2)",
        "'{a}'.format_map({'a': None})",
        "str.upper('a') + str.join(',', ['a', 'b'])",
        "int.from_bytes(b'ab', 'big')",
        "dict.fromkeys(['a', 'b'], 0)",
        "'%s %d %r' % ('a', 2, [1])",
        "'%(a)s' % {'a': 1}",
        "f'{True:>3d}{None}{[1, 2]!r}{1.5:.2f}'",
        "f'{True}{(1,)}'",
        "repr('a') + str(None) + str([1, 'b']) + ascii('\xe9')",
        "format(3, '04d')",
        "int.__name__",
        "'a,b'.split(sep=',')",
        "[s for s in re.findall('[a-z]+', 'ab cd')]",
        "re.compile('a(b)').match('ab').group(1)",
        "(7).bit_length() + (7).real",
    ],
)
def test_plain_text_is_what_python_makes(plain: PlainSource, source: str) -> None:
    assert plain.value(f"{HEAD}x = {source}") == eval(source, {"re": re})  # noqa: S307 - our text


def test_objects_say_their_text_by_their_methods(plain: PlainSource) -> None:
    source = """
    class Kind:
        def __str__(self):
            return "640"
        def __repr__(self):
            return "Kind"
    x = f"{Kind()}-{Kind()!r}-{str(Kind())}-{'{}'.format(Kind())}"
    """
    assert plain.value(source) == "640-Kind-640-640"
