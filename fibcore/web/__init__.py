"""The web site's list of models, `apps/web/data/models.ts`: entries made and edited in place."""

from __future__ import annotations

from fibcore.web.report import AddModelReport
from fibcore.web.run import add_new_model

__all__ = ["AddModelReport", "add_new_model"]
