"""Publishing a dataset folder on the Hugging Face Hub: what changed, checked, in one commit."""

from __future__ import annotations

from fibcore.publishing.dataset import PublishReport, publish

__all__ = ["PublishReport", "publish"]
