"""`fibcore.check`: a table of others against the source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.checking.comparing import KnownModel, compare
from fibcore.checking.pages import SUFFIXES, check_page
from fibcore.checking.reading import TableRow, named_models, read_table
from fibcore.checking.report import CheckReport
from fibcore.errors import UsageError
from fibcore.exporting.serving import found_kernels
from fibcore.exporting.shapes import shape_of
from fibcore.extraction.find import few_collections, resolve
from fibcore.extraction.report import Refused, source_label
from fibcore.extraction.request import ModelsLaunched, Request
from fibcore.keywords import api, part, several, user_path
from fibcore.reports.coverage.handkept.quantities import flat
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fibcore.model.options import OptionValue


@api(ModelsLaunched, options=True)
def check(
    table: str | Path, model_name: str | Sequence[str] = (), **asked: Unpack[ModelsLaunched]
) -> CheckReport:
    """Hold a table of shapes or of architectures against the source.

    A row is held against the kernels of its model whose const axes have the names of its columns
    (`N`, `K`, `num_qo_heads`), of whole layers and of ranks; and else, number by number, against
    the model's config. Axes that a batch decides (`M`) say nothing.

    Args:
        table: A file of CSV with column names, or of JSON, in which objects with numbers are rows
            and the keys around them may name models. A page in Markdown is held as by
            `fibcore.coverage(check=...)`, against the dataset as well.
        model_name: The models of rows that name none.
        **asked: How the models are served where a row does not say it, and where; see
            `ModelsLaunched`.

    Raises:
        UsageError: a name or an option is wrong.
        SourceError: the table cannot be read, or there is no source to elaborate.
    """
    workspace = Workspace.of(**part(Where, asked))
    path = user_path(table, "TABLE")
    if path.suffix.lower() in SUFFIXES:
        if asked.pop("hf_repo_id", None) is not None:
            raise UsageError("a page is held against --config or catalogue", where="--hf-repo-id")
        return check_page(path, several(model_name), **asked)
    request = Request.of_models(workspace.registry, asked)
    records = read_table(path)
    source = workspace.source()
    with few_collections():
        known = _Known(workspace, request, several(model_name))
        verdicts = tuple(compare(record, known.models_of(record)) for record in records)
    return CheckReport(
        table=str(path),
        source=source_label(source),
        verdicts=verdicts,
        refused=tuple(known.refused),
        failures=tuple(dict.fromkeys(known.failures)),
    )


class _Known:
    """Derives models as rows ask for them, each once."""

    def __init__(self, workspace: Workspace, request: Request, names: Sequence[str]) -> None:
        self._workspace = workspace
        self._request = request
        self._names = names
        self._models: dict[tuple[str, int | None, int | None], list[KnownModel]] = {}
        self.refused: list[Refused] = []
        self.failures: list[str] = []

    def models_of(self, record: TableRow) -> list[KnownModel]:
        """The models that a record may be about, as it says that they are served."""
        names = named_models(record) or self._names
        return [one for name in names for one in self._model(name, record.tp, record.ep)]

    def _model(self, name: str, tp: int | None, ep: int | None) -> list[KnownModel]:
        key = (name, tp, ep)
        if key not in self._models:
            self._models[key] = list(self._derived(name, tp, ep))
        return self._models[key]

    def _derived(self, name: str, tp: int | None, ep: int | None) -> Iterator[KnownModel]:
        """The model with its kernels at every choice of options that cut them otherwise."""
        request, workspace = self._request, self._workspace
        tps, eps = (tp,) if tp else request.tp, (ep,) if ep else request.ep
        shapes = []
        for options in _choices(workspace, request):
            asked = attrs.evolve(request, tp=tps, ep=eps, options=options)
            found = found_kernels([name], workspace, asked)
            if found.refused:
                self.refused += [one for one in found.refused if one not in self.refused]
                return
            self.failures += found.failures
            shapes += [shape_of(served) for served in found.kernels]
        model = resolve(
            name, workspace.source(), hf_repo_id=request.hf_repo_id, config=request.config
        )
        yield KnownModel(model.slug, model.config.origin, flat(model.config.data), shapes)


def _choices(workspace: Workspace, request: Request) -> Iterable[dict[str, OptionValue]]:
    """The options as asked for, and every other choice of words that nobody asked for."""
    yield dict(request.options)
    for name, option in workspace.registry.options.items():
        if name not in request.options and not option.several and option.words:
            for word in option.choices:
                if word != option.default:
                    yield {**request.options, name: word}
