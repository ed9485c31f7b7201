"""Walks over Python syntax, and written literals."""

from __future__ import annotations

import ast
import gc
import sys
import threading
from pathlib import Path

import pytest

import fibcore.elaborate.python.evaluator
from fibcore.syntax import children, literal, parse_module, walk

CONTEXTS = (ast.Load, ast.Store, ast.Del)


def test_the_same_as_that_of_the_standard_library_without_contexts() -> None:
    tree = ast.parse(Path(fibcore.elaborate.python.evaluator.__file__).read_text())
    expected = [node for node in ast.walk(tree) if not isinstance(node, CONTEXTS)]
    assert [id(node) for node in walk(tree)] == [id(node) for node in expected]
    for node in expected:
        below = [n for n in ast.iter_child_nodes(node) if not isinstance(n, CONTEXTS)]
        assert [id(n) for n in children(node)] == [id(n) for n in below]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1.5e-3,
        "it's",
        'a "quote"',
        (1,),
        [],
        {"k": ("x" * 60, "y" * 60)},
        ((9, 0), None),
    ],
)
def test_literals_read_back(value: object) -> None:
    text = literal(value)
    assert ast.literal_eval(text) == value
    assert max(map(len, text.splitlines())) <= 100


def test_threads_parse_at_once() -> None:
    text = "x = f(a, [b, c], {'d': e})\n" * 200
    failures: list[BaseException] = []

    def deeper(depth: int) -> None:
        if depth:
            deeper(depth - 1)
            return
        try:
            for _ in range(10):
                parse_module(text)
        except SystemError as error:
            failures.append(error)

    def collected(phase: str, info: dict[str, int]) -> None:
        """Python that the garbage collector runs, where another thread may come in."""

    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.callbacks.append(collected)
    gc.set_threshold(50)
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=deeper, args=(10 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
        gc.callbacks.remove(collected)
    assert not failures
