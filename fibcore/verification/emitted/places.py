"""Where this file is, and the dataset around it."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(os.path.abspath(__file__)).parent  # noqa: PTH100  (resolve() would leave a linked dataset)
DATASET = HERE.parents[1]
