"""Functions on plain data, compiled: what matches hundreds of names by the hundred.

Most of what is evaluated is evaluated once, and the evaluator asks at every step what is known. A
quantisation config matches each of a model's layers against each name of a list, which is the same
few statements a million times on strings that are all known. Such a function is turned into
closures over Python's own operators, and is then one operation like any other: its result depends
on its arguments, and on a layer's index where they do.

It is a short cut and decides nothing by itself. Whatever is not plain, known data, or not one of
the few operations here, ends it (`NotPlain`), and the evaluator starts again from the beginning:
such functions change nothing but lists that they made.
"""
