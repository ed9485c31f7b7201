"""The summary of a config class, from the text of it and its bases."""

from __future__ import annotations

import ast

from fibcore.elaborate.transformers.summaries.constructor import follow
from fibcore.elaborate.transformers.summaries.draft import Draft
from fibcore.elaborate.transformers.summaries.lineage import Lineage
from fibcore.elaborate.transformers.summaries.rewriter import Rewriter
from fibcore.elaborate.transformers.summaries.summary import ClassSummary, NotExpressibleError
from fibcore.elaborate.transformers.summaries.syntax import default_of


def summarise(lineage: Lineage) -> ClassSummary:
    """The summary of the first class of a lineage."""
    draft = Draft(lineage)
    if lineage.modern:
        for name, node in lineage.annotated.items():
            draft.fields[name] = default_of(node)
    follow(draft, 0)
    if not any(step.is_base for step in draft.steps):
        # A constructor that was not seen to call its base class's does so nevertheless.
        draft.base(None)
    properties: dict[str, str] = {}
    for name in lineage.properties:
        try:
            value = lineage.property_value(name)
            rewritten = Rewriter(draft, len(lineage.classes) - 1, {}).visit(value)
            properties[name] = ast.unparse(rewritten)
        except NotExpressibleError:  # noqa: PERF203 - each on its own
            draft.unclear.add(name)
    return ClassSummary(
        name=lineage.classes[0][0].name,
        model_type=lineage.model_type,
        bases=[cls.name for cls, _ in lineage.classes[1:]],
        renamed=lineage.renamed,
        nested=lineage.nested,
        constants=lineage.constants,
        fields=draft.fields,
        steps=draft.steps,
        properties=properties,
        dropped=sorted(draft.dropped),
        unclear=sorted(draft.unclear),
    )
