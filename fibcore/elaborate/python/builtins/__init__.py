"""Python's builtins over evaluated values."""

from fibcore.elaborate.python.builtins import (
    classes,
    containers,
    iterators,
    names,
    numbers,
    objects,
)
from fibcore.elaborate.python.builtins.table import BUILTINS

__all__ = ["BUILTINS", "classes", "containers", "iterators", "names", "numbers", "objects"]
