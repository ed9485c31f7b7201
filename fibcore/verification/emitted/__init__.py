"""The `conftest.py` that is emitted beside reference tests, and the modules that it is made of.

The modules need torch and pytest. Only tests import them; `conftest_text` reads their text.
"""

from __future__ import annotations

from fibcore.verification.emitted.assembly import conftest_text

__all__ = ["conftest_text"]
