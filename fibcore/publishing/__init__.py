"""Publishing a dataset folder on the Hugging Face Hub: what changed, checked, in one commit."""

from __future__ import annotations

from fibcore.publishing.report import PublishReport
from fibcore.publishing.run import publish

__all__ = ["PublishReport", "publish"]
