"""Mutate the references of plugins, and see whether the properties of their tests notice.

    python tools/mutate_references.py                       all plugins in plugins/
    python tools/mutate_references.py plugins/op_moe        one
    python tools/mutate_references.py --sample 40 --seed 3  some mutations of each definition

The folder of a plugin has `tests/conftest.py`, whose `small_definitions()` gives a definition for
each reference and variant, and `tests/judged_mutations.json`, which holds the mutations that no
test can see, and why (see `Judged`). Every mutation (`fibcore.testing.mutations`) of each of these
references takes its place in the properties of the test template. One that all of them accept has
survived.

The exit status is 1 where a survivor is not judged, or a judgement is about none; only a run of all
mutations on a CPU tells the latter. A sample takes judgements as they are. Survivors are printed
with line, before and after; `--json FILE` writes all mutations. Judgements name statements as
`ast.unparse` writes them since Python 3.11; an older one puts tuples that are assigned to in
parentheses.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import importlib.util
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from fibcore.model.definition import Definition
from fibcore.ops.registry import load_plugins
from fibcore.processes.children import Program
from fibcore.processes.endings import Ending
from fibcore.processes.limits import Limits
from fibcore.processes.pool import Pool, Worker
from fibcore.testing.mutations import Mutation, mutations

ROOT = Path(__file__).resolve().parents[1]
WORKER = Path(__file__).with_name("mutation_worker.py")
TASK_S, MEMORY = 300.0, 4 << 30
ANY = "*"


@attrs.frozen
class Subject:
    """A definition whose reference is mutated."""

    folder: Path
    definition: Definition
    template: str

    @property
    def name(self) -> str:
        """The definition's name."""
        return self.definition.name


@attrs.frozen
class Judged:
    """Changes of one statement that no test can see.

    In the file: `[{"why": REASON, "on": DEVICE, "subjects": [PATTERN], "changes": {FUNCTION:
    {STATEMENT: [CHANGED, ...]}}}]`; `"*"` in place of the list is any change of the statement.
    Without "on" it holds on every device, without "subjects" for every definition of the plugin.
    """

    why: str
    on: str
    subjects: tuple[str, ...]
    function: str
    before: str
    after: str

    def covers(self, subject: Subject, mutation: Mutation) -> bool:
        """Whether it is about this mutation."""
        return (
            (self.function, self.before) == (mutation.function, mutation.before)
            and self.after in (ANY, mutation.after)
            and any(fnmatch.fnmatch(subject.name, pattern) for pattern in self.subjects)
        )


@attrs.frozen
class Outcome:
    """What came of a mutation: the check that killed it; None where it survived."""

    subject: Subject
    mutation: Mutation
    killed_by: str | None
    ran: bool = True


def subjects_of(folder: Path) -> list[Subject]:
    """The definitions of a plugin that are mutated."""
    spec = importlib.util.spec_from_file_location(
        f"_conftest_of_{folder.name}", folder / "tests" / "conftest.py"
    )
    assert spec is not None
    assert spec.loader is not None
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)
    plugin = importlib.import_module(f"fibcore_{folder.name}")
    registry = load_plugins(extra={folder.name: plugin}, discover=False)
    found = []
    small = conftest.small_definitions()
    for definition in small.values() if isinstance(small, dict) else small:
        template = registry.test_template(definition.op_type)
        assert template is not None
        found.append(Subject(folder, definition, template.source))
    return found


def judgements(folder: Path, device: str) -> list[Judged]:
    """What the plugin's file says of a device."""
    path = folder / "tests" / "judged_mutations.json"
    if not path.is_file():
        return []
    return [
        Judged(group["why"], on, tuple(group.get("subjects", [ANY])), function, before, after)
        for group in json.loads(path.read_text("utf-8"))
        if (on := group.get("on", device)) == device
        for function, statements in group["changes"].items()
        for before, afters in statements.items()
        for after in ([ANY] if afters == ANY else afters)
    ]


def outcomes(
    subjects: Sequence[Subject], device: str, jobs: int, sample: int, seed: int, only: str
) -> Iterator[Outcome]:
    """Mutate and run; what came of each mutation, as they end.

    Raises:
        SystemExit: a right reference does not hold.
    """
    setup = {
        "subjects": {
            s.name: (s.definition.to_dict(), s.template, device) for s in subjects
        }
    }  # fmt: skip

    def worker() -> Worker:
        return Worker(Program(WORKER), Limits(TASK_S, MEMORY if device == "cpu" else None), setup)

    with Pool(worker, jobs) as pool:
        right: dict[str, Any] = {}
        for name, answer in pool.map(
            {s.name: {"subject": s.name, "source": None} for s in subjects}
        ):
            if isinstance(answer, Ending):
                raise SystemExit(
                    f"{name}: the right reference fails: {answer.sentence} {answer.output}"
                )
            right[name] = answer
        tasks: dict[int, dict[str, Any]] = {}
        about: dict[int, tuple[Subject, Mutation]] = {}
        for subject in subjects:
            lines = set(right[subject.name]["lines"])
            found = [m for m in mutations(subject.definition.reference) if only in m.before]
            if sample and sample < len(found):
                found = _sampled(found, sample, f"{seed} {subject.name}")
            told = judgements(subject.folder, device) if sample else []
            for mutation in found:
                if any(entry.covers(subject, mutation) for entry in told):
                    yield Outcome(subject, mutation, None)  # what a whole run holds to
                    continue
                if mutation.function and not lines.intersection(
                    range(mutation.line, mutation.last_line + 1)
                ):
                    yield Outcome(subject, mutation, None, ran=False)
                    continue
                key = len(tasks)
                about[key] = subject, mutation
                seconds = right[subject.name]["seconds"]
                tasks[key] = {
                    "subject": subject.name,
                    "source": mutation.source,
                    "seconds": seconds,
                }
        for key, answer in pool.map(tasks):
            ended = isinstance(answer, Ending)
            yield Outcome(*about[key], str(answer.how) if ended else answer["killed_by"])  # type: ignore[union-attr,index]


def _sampled(found: list[Mutation], count: int, seed: str) -> list[Mutation]:
    return random.Random(seed).sample(found, count)  # noqa: S311 - a sample, no secret


def say(text: str) -> None:
    """Print a text."""
    print(text)  # noqa: T201


def report(found: Sequence[Outcome], device: str, whole: bool) -> int:
    """Print what survived; how many problems there are."""
    problems = 0
    order = sorted(found, key=lambda o: (o.subject.folder.name, o.subject.name, o.mutation.line))
    judged = {o.subject.folder: judgements(o.subject.folder, device) for o in order}
    used: set[Judged] = set()
    counts: dict[str, Counter[str]] = {}
    for outcome in order:
        count = counts.setdefault(outcome.subject.name, Counter())
        count["mutations"] += 1
        if outcome.killed_by is not None:
            count["killed"] += 1
            continue
        entries = [
            j for j in judged[outcome.subject.folder] if j.covers(outcome.subject, outcome.mutation)
        ]
        used.update(entries)
        count["judged" if entries else "survived"] += 1
        if not entries:
            problems += 1
            m = outcome.mutation
            state = "survived" if outcome.ran else "never run"
            say(f"{outcome.subject.name}:{m.line} in {m.function or 'constants'}: {state}")
            say(f"  - {m.before}\n  + {m.after}")
    if whole:
        for folder, entries in judged.items():
            for entry in entries:
                if entry not in used:
                    problems += 1
                    where = f"in {entry.function or 'constants'}"
                    say(f"{folder.name}: judged, but no survivor: {where}")
                    say(f"  - {entry.before}\n  + {entry.after}")
    columns = ("mutations", "killed", "judged", "survived")
    say("".join(f"{c:>10}" for c in columns))
    for name, count in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        say("".join(f"{count[c]:>10}" for c in columns) + f"  {name}")
    return problems


def as_json(found: Sequence[Outcome]) -> list[dict[str, Any]]:
    """All outcomes as plain data, in the order of the text."""
    rows = []
    for o in found:
        m = o.mutation
        told = {"line": m.line, "function": m.function, "before": m.before, "after": m.after}
        rows.append({"subject": o.subject.name, **told, "killed_by": o.killed_by, "ran": o.ran})
    return sorted(rows, key=lambda row: (row["subject"], row["line"], row["after"]))


def main() -> int:
    """Run what the command line asks for."""
    if sys.version_info < (3, 11):
        sys.exit(f"Python 3.11 or newer is needed, found {sys.version.split()[0]}")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, help="folders of plugins")
    parser.add_argument("--subject", default=ANY, help="pattern of definitions")
    parser.add_argument("--only", default="", help="text of the statements to mutate")
    parser.add_argument("--sample", type=int, default=0, help="mutations of each definition")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write all outcomes to a file")
    given = parser.parse_args()
    folders = given.folders or sorted(p.parent for p in (ROOT / "plugins").glob("*/pyproject.toml"))
    subjects = [
        subject
        for folder in folders
        for subject in subjects_of(folder.resolve())
        if fnmatch.fnmatch(subject.name, given.subject)
    ]
    begun = time.monotonic()
    found = list(outcomes(subjects, given.device, given.jobs, given.sample, given.seed, given.only))
    if given.json:
        given.json.write_text(json.dumps(as_json(found), indent=1) + "\n", "utf-8")
    whole = given.device == "cpu" and given.subject == ANY and not (given.sample or given.only)
    problems = report(found, given.device, whole)
    say(f"{time.monotonic() - begun:.0f} s")
    return min(problems, 1)


if __name__ == "__main__":
    sys.exit(main())
