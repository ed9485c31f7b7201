"""`fibcore.onboard`: a model from nothing to two pull-request folders, resumable."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.benchmarking.recorded import import_workloads
from fibcore.benchmarking.solutions import add_solutions
from fibcore.benchmarking.workloads.add import add_workloads
from fibcore.configs.catalogue import find_entry
from fibcore.dataset import Dataset
from fibcore.dataset.files import write_elsewhere
from fibcore.dataset.layout import DEFINITIONS, PROVENANCE
from fibcore.elaborate import model_files
from fibcore.errors import FibcoreError, UsageError
from fibcore.extraction.find import resolve
from fibcore.extraction.report import ExtractReport, source_label
from fibcore.extraction.request import ModelsLaunched, Request
from fibcore.extraction.run import extract
from fibcore.keywords import api, part, user_path
from fibcore.model.definition import Definition
from fibcore.onboarding import texts
from fibcore.onboarding.manifest import DONE, PHASES, Manifest
from fibcore.progress import report, report_end
from fibcore.sources.repos_config import repository_path
from fibcore.verification import add_reference_tests
from fibcore.web import add_new_model
from fibcore.web.models_file import find_models_file
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

DATASET, CODE = "dataset", "code"
"""The folders of the two pull requests."""

RECORDED = 32
"""Workloads of a definition out of a real run, unless more or fewer are asked for."""

NO_SITE = "not asked for: --site names the site's repository"


@attrs.frozen
class OnboardReport:
    """What was done for a model, and what is left.

    Attributes:
        model: The model's slug.
        folder: The folder with the manifest and the two pull requests.
        manifest: The manifest as it is now.
        done: Phases that this call did.
        kept: Phases that an earlier call had done.
        problems: What was wrong in them.
    """

    model: str
    folder: Path
    manifest: Manifest
    done: tuple[str, ...]
    kept: tuple[str, ...]
    problems: tuple[str, ...] = ()

    @property
    def left(self) -> dict[str, str]:
        """Phases that are not done, with what is in their way."""
        states = self.manifest.to_dict()["phases"]
        return {phase: state for phase, state in states.items() if state != DONE}

    @property
    def exit_code(self) -> int:
        """0 where every phase is done that was asked for, and nothing was wrong."""
        return 1 if self.problems or set(self.left.values()) - {NO_SITE} else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "model": self.model,
            "folder": str(self.folder),
            "manifest": self.manifest.to_dict(),
            "done": list(self.done),
            "kept": list(self.kept),
            "left": self.left,
            "problems": list(self.problems),
            "exit_code": self.exit_code,
        }


@api(ModelsLaunched, options=True)
def onboard(
    model_name: str = "",
    *,
    output: str | Path = "onboarding",
    workloads: str | Path | None = None,
    log: str | Path | None = None,
    limit: int | None = None,
    site: str | Path | None = None,
    since: str | Path | None = None,
    force: bool = False,
    **asked: Unpack[ModelsLaunched],
) -> OnboardReport:
    """Make the two pull requests of a new model: dataset and code repository.

    `<output>/<slug>/dataset` has the definitions that the dataset lacks, one test file, baselines
    and workloads for each, and those whose tags change; `<output>/<slug>/code` the coverage page's
    part, the benchmark configuration, the entry in models.ts and requests for kernels that
    FlashInfer lacks. `manifest.json` beside them says what each phase found and did: a call goes on
    where the one before it ended.

    Args:
        model_name: The model, as for `fibcore.extract`.
        output: The folder of all onboardings.
        workloads: What FlashInfer logged of a real run, as for `fibcore.import_workloads`. Without
            it workloads are drawn and marked as synthetic, which the published dataset does not
            take.
        log: The log of that run.
        limit: The most workloads of one definition.
        site: The site's repository, for models.ts; without it that phase is left.
        since: An older SGLang source, beside which models are called new.
        force: Do every phase anew.
        **asked: How the model is served, and where things are; `dataset` is the published dataset
            (or none), which stays as it is.

    Raises:
        UsageError: a name or an option is wrong, or the manifest is another model's.
        FibcoreError: the model or the source cannot be had at all.
    """
    workspace = Workspace.of(**part(Where, asked))
    # What is wrong with it, before anything is done.
    request = Request.of_models(workspace.registry, asked)
    slug = _slug(model_name)
    folder = user_path(output, "--output") / slug
    manifest = Manifest(slug) if force else Manifest.read(folder, slug)
    asked["registry"] = workspace.registry
    if manifest.phases.get("definitions") != DONE:
        resolve(
            *(model_name, workspace.source()), hf_repo_id=request.hf_repo_id, config=request.config
        )
    work = _Onboarding(
        model_name, workspace, folder, manifest, asked, workloads, log, limit, site, since
    )
    kept = tuple(phase for phase in PHASES if manifest.phases.get(phase) == DONE)
    done: list[str] = []
    for number, phase in enumerate(PHASES):
        if phase in kept:
            continue
        step = f"onboarding: {phase}"
        report(workspace.progress, step, number, len(PHASES))
        try:
            state = work.phases()[phase]()
        except FibcoreError as error:
            manifest.phases[phase] = f"failed: {error.summary}"
            report_end(workspace.progress, step, "failed")
            manifest.write(folder)
            if phase in ("repositories", "discovery", "definitions"):
                raise  # nothing of what follows can be done
            work.problems.append(f"{phase}: {error}")
            continue
        manifest.phases[phase] = state
        manifest.write(folder)
        report_end(workspace.progress, step, state)
        if state == DONE:
            done.append(phase)
    return OnboardReport(slug, folder, manifest, tuple(done), kept, tuple(work.problems))


def _slug(name: str) -> str:
    entry = find_entry(name)
    slug = entry.slug if entry is not None else name.rpartition("/")[2].lower()
    if not re.fullmatch(r"[a-z0-9][a-z0-9._+-]*", slug):
        raise UsageError("this cannot be the name of a folder", where="MODEL", found=repr(name))
    return slug


@attrs.define
class _Onboarding:
    """The phases of one model; each returns its state."""

    name: str
    workspace: Workspace
    folder: Path
    manifest: Manifest
    asked: Any
    recorded: str | Path | None
    log: str | Path | None
    limit: int | None
    site: str | Path | None
    since: str | Path | None
    problems: list[str] = attrs.field(factory=list)

    def phases(self) -> Mapping[str, Callable[[], str]]:
        """Phase to what does it."""
        return {
            "repositories": self._repositories,
            "discovery": self._discovery,
            "definitions": self._definitions,
            "tests": self._tests,
            "baselines": self._baselines,
            "workloads": self._workloads,
            "benchmark": self._benchmark,
            "coverage": self._coverage,
            "web": self._web,
            "requests": self._requests,
        }

    @property
    def dataset(self) -> Path:
        """The folder of the dataset's pull request."""
        return self.folder / DATASET

    @property
    def _place(self) -> dict[str, Any]:
        """Where the pull request's dataset is, for functions of the API."""
        registry, progress = self.workspace.registry, self.workspace.progress
        return {"dataset": self.dataset, "registry": registry, "progress": progress}

    def _repositories(self) -> str:
        source, place = self.workspace.source(), self.workspace.target_dir
        flashinfer = repository_path(place, "flashinfer")
        self.manifest.repositories = {
            "sglang": {"version": source.version, "commit": source.commit, "origin": source.origin},
            "flashinfer": {"path": None if flashinfer is None else str(flashinfer)},
            "flashinfer_trace": {"present": self.workspace.dataset_folder.is_dir()},
        }
        return DONE

    def _discovery(self) -> str:
        """What SGLang has: architectures, and those that are new since an older release."""
        have = model_files(self.workspace.source())
        names = {name: file for file, classes in have.items() for name in classes}
        if self.since is not None:
            older = model_files(self.workspace.source(str(self.since)))
            known = {name for classes in older.values() for name in classes}
            self.manifest.discovery["new_since"] = sorted(set(names) - known)
        entry = find_entry(self.name)
        if entry is not None:
            self.manifest.hub_id = entry.hub_id
        self.manifest.discovery["architectures"] = len(names)
        return DONE

    def _definitions(self) -> str:
        """Extract beside a copy of the dataset's definitions; what does not change goes again."""
        base = self.workspace.dataset_folder
        if self.dataset.exists():
            shutil.rmtree(self.dataset)  # of a call that did not come to its end
        for part_ in (DEFINITIONS, PROVENANCE):
            if (base / part_).is_dir():
                shutil.copytree(base / part_, self.dataset / part_)
        found = extract(self.name, **{**self.asked, "dataset": self.dataset})
        if not found.models:
            raise found.refused[0].error
        _drop_unchanged(base, self.dataset)
        model = found.models[0]
        self.manifest.architecture = model.architecture
        self.manifest.discovery["source"] = source_label(self.workspace.source())
        self.manifest.discovery["uncovered"] = sorted(
            {remark.what for one in found.models for remark in one.not_covered}
        )
        self.problems += found.failures
        self._list(found, base)
        return DONE

    def _list(self, found: ExtractReport, base: Path) -> None:
        """The kernels of the manifest."""
        store, old = Dataset(self.dataset), Dataset(base) if base.is_dir() else None
        users = _Users(self.workspace.source().root)
        links = {name: k.get("pull_request") for name, k in self.manifest.kernels.items()}
        self.manifest.kernels = {}
        for model in found.models:
            for kernel in model.kernels:
                definition = store.get(kernel.name)
                if definition is None and old is not None:
                    definition = old.get(kernel.name)
                if definition is None:
                    continue
                is_new = found.outcomes.get(kernel.name) in ("new", "conflict")
                state = "new" if is_new else "existing"
                functions = definition.tag_values("fi_api")
                self.manifest.kernels[kernel.name] = {
                    "op_type": kernel.op_type,
                    "state": state,
                    "flashinfer": {
                        "has": bool(functions),
                        "functions": list(functions),
                        "trace_template": any(map(texts.has_template, functions)),
                    },
                    "sglang": {
                        "where": kernel.where,
                        "calls_flashinfer": users.of(functions),
                    },
                    "phases": {
                        "definition": DONE if state == "new" else "existing",
                        "test": "pending" if state == "new" else "existing",
                        "baseline": "pending" if state == "new" else "existing",
                        "workloads": "pending" if state == "new" else "existing",
                        "verified": "pending: fibcore verify, on a GPU",
                        "traces": "pending: flashinfer-bench run, on a GPU",
                    },
                    "pull_request": links.get(kernel.name),
                }

    def _new(self) -> tuple[str, ...]:
        return self.manifest.new()

    def _tests(self) -> str:
        if self._new():
            made = add_reference_tests(
                definition_name=self._new(), per_definition=True, **self._place
            )
            self.problems += map(str, made.problems)
            states = {n: DONE if n in made.tests else "none" for n in self._new()}
            self.manifest.mark("test", states)
        return DONE

    def _baselines(self) -> str:
        if self._new():
            made = add_solutions(definition_name=self._new(), **self._place)
            self.problems += map(str, made.problems)
            have = {
                name: any((self.dataset / "solutions").glob(f"*/*/{name}/*.json"))
                for name in self._new()
            }
            self.manifest.mark(
                "baseline", {n: DONE if there else "none" for n, there in have.items()}
            )
        return DONE

    def _workloads(self) -> str:
        if not self._new():
            return DONE
        if self.recorded is not None:
            given = import_workloads(
                self.recorded,
                definition_name=self._new(),
                log=self.log,
                limit=RECORDED if self.limit is None else self.limit,
                **self._place,
            )
            self.problems += map(str, given.refused)
            have = {one.definition for one in given.definitions}
            self.manifest.mark(
                "workloads", {n: "recorded" if n in have else "none" for n in self._new()}
            )
            return DONE
        made = add_workloads(definition_name=self._new(), limit=self.limit, **self._place)
        self.problems += map(str, made.problems)
        self.manifest.mark(
            "workloads",
            {n: "synthetic" if made.workloads.get(n) else "none" for n in self._new()},
        )
        return DONE

    def _written(self) -> list[Definition]:
        """The new definitions."""
        store = Dataset(self.dataset)
        return [d for d in map(store.get, self._new()) if d is not None]

    def _benchmark(self) -> str:
        self._text(f"benchmarks/{self.manifest.model}.yaml", texts.benchmark_yaml(self._written()))
        return DONE

    def _coverage(self) -> str:
        manifest = self.manifest
        page = texts.coverage_page(
            manifest.model,
            manifest.architecture,
            manifest.kernels,
            (),
            manifest.discovery.get("uncovered", ()),
        )
        self._text(f"docs/model_coverage/{manifest.model}.md", page)
        return DONE

    def _web(self) -> str:
        if self.site is None:
            return NO_SITE
        site = user_path(self.site, "--site")
        file = find_models_file(site)
        copy = self.folder / CODE / (file.relative_to(site) if site.is_dir() else file.name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        made = add_new_model(
            self.name, web_dir=copy, **{**self.asked, "dataset": self.workspace.dataset_folder}
        )
        self.problems += made.failures
        return DONE

    def _requests(self) -> str:
        for definition in self._written():
            has_baseline = any((self.dataset / "solutions").glob(f"*/*/{definition.name}/*.json"))
            if not definition.tag_values("fi_api") and not has_baseline:
                text = texts.kernel_request(self.manifest.model, definition)
                self._text(f"kernel_requests/{definition.name}.md", text)
        return DONE

    def _text(self, path: str, text: str) -> None:
        file = self.folder / CODE / path
        file.parent.mkdir(parents=True, exist_ok=True)
        write_elsewhere(file, text)


def _drop_unchanged(base: Path, copy: Path) -> None:
    """Remove what the dataset has byte for byte: a pull request holds what it changes."""
    for folder in (DEFINITIONS, PROVENANCE):
        for file in sorted((copy / folder).rglob("*.json")):
            there = base / file.relative_to(copy)
            if there.is_file() and there.read_bytes() == file.read_bytes():
                file.unlink()
        for empty in sorted((copy / folder).glob("*/")):
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()


class _Users:
    """Which files of SGLang call FlashInfer's functions."""

    def __init__(self, root: Path) -> None:
        self.texts = {
            path.relative_to(root).as_posix(): text
            for path in sorted((root / "srt").rglob("*.py"))
            if "flashinfer" in (text := path.read_text("utf-8", errors="replace"))
        }

    def of(self, functions: tuple[str, ...]) -> list[str]:
        """Up to five files that name one of the functions."""
        names = {f.removesuffix(".run").rpartition(".")[2] for f in functions}
        pattern = re.compile(rf"\b({'|'.join(map(re.escape, sorted(names)))})\b") if names else None
        return [p for p, text in self.texts.items() if pattern and pattern.search(text)][:5]
