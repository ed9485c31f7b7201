"""Summaries of transformers' config classes: what a constructor does, as data, read off its text.

`release` finds the classes of a transformers source tree, `lineage` reads what class bodies say,
`constructor` follows `__init__` or `__post_init__`, `rewriter` writes its expressions over the
names of attributes, and `summary` is what comes out.

Why not the partial evaluator of `fibcore.elaborate.python`? It computes what a constructor makes
of one file, and so needs the source of the class for each file. A summary says what it makes of
any file: it can be shipped, so that defaults are at hand without a copy of transformers. The
evaluator has its part when a summary is applied (`class_instances`): its expressions are
evaluated there, with the origins of every number. docs/config.md compares both ways.
"""
