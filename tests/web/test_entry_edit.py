"""Editing `models.ts`: the entry is there afterwards, and every other byte is as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fibcore.errors import WebError
from fibcore.web.diff import unified_diff
from fibcore.web.entry import WebEntry
from fibcore.web.entry_check import _Plain
from fibcore.web.entry_edit import Edited, edited
from fibcore.web.models_file import find_models_file, read_models
from fibcore.web.modules import WebModule
from fibcore.web.typescript import parse

LONG = "moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e32_h7168_i2048"
WANTED = WebEntry(
    id="tiny-1b",
    name="Tiny 1B",
    description="It's small",
    modules=(
        WebModule("TinyForCausalLM", 1, None, "block"),
        WebModule("TinyLayer (MoE)", 58, "TinyForCausalLM", "block"),
        WebModule("attn", 58, "TinyLayer (MoE)", "layer", ("gqa_a", "gqa_b")),
        WebModule("experts", 58, "TinyLayer (MoE)", "layer", (LONG,)),
        WebModule("act", 58, "TinyLayer (MoE)", "layer"),
    ),
)
TYPES = """\
export type ModelModule = {
  count: number;
  parent?: string;
  type: "block" | "layer";
  definitions?: readonly string[];
  [more: string]: unknown;
};
export type Model = {
  id: string;
  name: string;
  description: string;
  modules: Record<string, ModelModule>;
  [more: string]: unknown;
};
"""


def edit(text: str, wanted: WebEntry = WANTED, *, prune: bool = False) -> Edited:
    """Edit a file; a second time changes nothing."""
    result = edited(text.encode(), "models.ts", wanted, prune=prune)
    again = edited(result.data, "models.ts", wanted, prune=prune)
    assert again.data == result.data
    assert again.change.kind == "unchanged"
    return result


def content(data: bytes) -> list[Any]:
    """The entries of a file as plain data."""
    file = read_models(parse(data, "models.ts"))
    return [None if e.value is None else _Plain(file.source).of(e.value) for e in file.entries]


def test_an_entry_is_written_in_the_style_of_the_others() -> None:
    result = edit(
        "export const models = [\n"
        "\t{\n"
        "\t\tid: 'a',\n"
        "\t\tname: 'A',\n"
        "\t\tdescription: '',\n"
        "\t\tmodules: {\n"
        "\t\t\t'x': {count: 1, type: 'layer'},\n"
        "\t\t\t'y': {count: 1, type: 'layer'}\n"
        "\t\t}\n"
        "\t} // the only one\n"
        "] as const satisfies readonly Model[]\n"
    )
    assert result.data.decode() == (
        "export const models = [\n"
        "\t{\n"
        "\t\tid: 'a',\n"
        "\t\tname: 'A',\n"
        "\t\tdescription: '',\n"
        "\t\tmodules: {\n"
        "\t\t\t'x': {count: 1, type: 'layer'},\n"
        "\t\t\t'y': {count: 1, type: 'layer'}\n"
        "\t\t}\n"
        "\t}, // the only one\n"
        "\t{\n"
        "\t\tid: 'tiny-1b',\n"
        "\t\tname: 'Tiny 1B',\n"
        '\t\tdescription: "It\'s small",\n'
        "\t\tmodules: {\n"
        "\t\t\t'TinyForCausalLM': {count: 1, type: 'block'},\n"
        "\t\t\t'TinyLayer (MoE)': {\n"
        "\t\t\t\tcount: 58,\n"
        "\t\t\t\tparent: 'TinyForCausalLM',\n"
        "\t\t\t\ttype: 'block'\n"
        "\t\t\t},\n"
        "\t\t\t'attn': {\n"
        "\t\t\t\tcount: 58,\n"
        "\t\t\t\tparent: 'TinyLayer (MoE)',\n"
        "\t\t\t\ttype: 'layer',\n"
        "\t\t\t\tdefinitions: ['gqa_a', 'gqa_b']\n"
        "\t\t\t},\n"
        "\t\t\t'experts': {\n"
        "\t\t\t\tcount: 58,\n"
        "\t\t\t\tparent: 'TinyLayer (MoE)',\n"
        "\t\t\t\ttype: 'layer',\n"
        f"\t\t\t\tdefinitions: ['{LONG}']\n"
        "\t\t\t},\n"
        "\t\t\t'act': {count: 58, parent: 'TinyLayer (MoE)', type: 'layer'}\n"
        "\t\t}\n"
        "\t}\n"
        "] as const satisfies readonly Model[]\n"
    )
    assert result.change.kind == "added"


EMPTY = [
    "export const models: Model[] = []",
    "export const models: Model[] = [ ] as const",
    "export const models: Model[] = [\n  // none yet\n]\n",
    "export const models: Model[] = [ /* none yet */ ]\n",
    "export const models: Model[] = [ // none yet\n]\n",
    "const models = <Model[]>[]; export default models\n",
    "export default [] satisfies Model[]; export const MODELS = ([]);",
    "export const models: Record<string, Model> = {}\n",
    "export const models = Object.freeze({ /* by id */ }) as Models;\n",
]


@pytest.mark.parametrize("text", EMPTY)
def test_an_empty_list(text: str) -> None:
    result = edit(text)
    assert content(result.data) == [WANTED.to_dict()]


def test_a_file_in_which_lines_end_in_crlf_after_a_bom() -> None:
    text = "\ufeffexport const models: Model[] = [\r\n    make('x'),\r\n]\r\n"
    result = edit(text).data.decode()
    assert result.startswith(
        "\ufeffexport const models: Model[] = [\r\n    make('x'),\r\n    {\r\n"
    )
    assert result.endswith("\r\n    },\r\n]\r\n")
    assert result.count("\n") == result.count("\r\n")


EXISTING = """\
import { shared } from "./shared"

const count = 58
export const models: Model[] = [
  ...shared,
  {
    id: "tiny-1b", // ours
    name: "Tiny by hand",
    license: license("mit"),
    modules: {
      TinyForCausalLM: { count: 1, type: "block", color: color("red") },
      attn: {
        count: 57,
        // why
        type: "layer" as const,
        definitions: [
          "rope", // by hand
          'gqa_b'
        ]
      },
      /* by hand */
      extra: { ...shared.extra },
      experts: { count, "parent": "TinyLayer (MoE)", type: `layer` },
    },
  },
]
"""


def test_an_entry_is_brought_up_to_date_in_place() -> None:
    result = edit(EXISTING)
    assert (
        result.data.decode()
        == """\
import { shared } from "./shared"

const count = 58
export const models: Model[] = [
  ...shared,
  {
    id: "tiny-1b", // ours
    name: "Tiny by hand",
    description: "It's small",
    license: license("mit"),
    modules: {
      TinyForCausalLM: { count: 1, type: "block", color: color("red") },
      "TinyLayer (MoE)": {
        count: 58,
        parent: "TinyForCausalLM",
        type: "block",
      },
      attn: {
        count: 58,
        parent: "TinyLayer (MoE)",
        // why
        type: "layer" as const,
        definitions: [
          "rope", // by hand
          'gqa_b',
          "gqa_a"
        ]
      },
      /* by hand */
      extra: { ...shared.extra },
      experts: { count, "parent": "TinyLayer (MoE)", type: `layer`, definitions: ["LONG"] },
      act: { count: 58, parent: "TinyLayer (MoE)", type: "layer" },
    },
  },
]
""".replace("LONG", LONG)
    )
    change = result.change
    assert change.kind == "updated"
    assert change.added == ["TinyLayer (MoE)", "act"]
    assert change.changed == {
        "attn": ["count", "parent", "definitions"],
        "experts": ["definitions"],
    }
    assert change.kept == ["extra"]
    assert change.kept_definitions == {"attn": ["rope"]}


def test_prune_removes_what_the_model_does_not_have() -> None:
    result = edit(EXISTING, prune=True)
    entry = content(result.data)[1]
    assert entry["modules"].keys() == {m.name for m in WANTED.modules}
    assert entry["modules"]["attn"]["definitions"] == ["gqa_a", "gqa_b"]
    assert b"/* by hand */" in result.data
    assert result.change.removed == ["extra"]
    foreign = EXISTING.replace("TinyForCausalLM", "A").replace("attn", "B")
    foreign = foreign.replace("experts", "C").replace("count,", "count: 1,")
    assert content(edit(foreign, prune=True).data)[1]["modules"] == WANTED.to_dict()["modules"]


def test_words_are_replaced_only_where_asked() -> None:
    asked = attrs.evolve(WANTED, renamed=True, described=True)
    entry = content(edit(EXISTING, asked).data)[1]
    assert (entry["name"], entry["description"]) == ("Tiny 1B", "It's small")


INLINE = 'export const models = [{ id: "tiny-1b", modules: { attn: { count: 1 }, x: {} } }, f()]'


def test_an_entry_on_one_line() -> None:
    result = edit(INLINE)
    assert result.data.decode().startswith(
        'export const models = [{ id: "tiny-1b", name: "Tiny 1B", description: "It\'s small", '
        'modules: { attn: { count: 58, parent: "TinyLayer (MoE)", type: "layer", '
        'definitions: ["gqa_a", "gqa_b"] }, experts: {'
    )
    pruned = content(edit(INLINE, prune=True).data)[0]
    assert pruned["modules"].keys() == {m.name for m in WANTED.modules}


def test_an_entry_that_is_a_constant_of_the_file() -> None:
    text = (
        "const tiny: Model = {\n  id: `tiny-1b`,\n  name: '',\n  description: '',\n"
        "  modules: modules,\n}\nconst modules = { 'attn': { count: 2, type: 'layer' } }\n"
        "export const models = [tiny]\n"
    )
    entry = content(edit(text).data)[0]
    assert entry["modules"].keys() == {m.name for m in WANTED.modules}
    for more in ("other(tiny)", "const x = { ...tiny }", "export { modules }"):
        with pytest.raises(WebError, match="cannot be edited safely") as caught:
            edit(text + more)
        assert "to be used here alone" in str(caught.value)


def test_a_record_with_ids_as_keys() -> None:
    text = 'export const models: Record<string, Model> = {\n  "a-1": { id: "a-1", modules: {} },\n}'
    result = edit(text)
    assert b'\n  "tiny-1b": {\n    id: "tiny-1b",\n' in result.data
    by_key = edit('export const models = { "tiny-1b": { modules: {} } }')
    assert by_key.change.kind == "updated"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("export const models: Model[] = [", "not TypeScript that can be read"),
        ("", "no list of models"),
        ("export const other = [1]", "no list of models"),
        ("export const a = [{ modules: {} }], b = [{ modules: {} }]", "several lists of models"),
        ("export const models = build([])", "built by code"),
        ("export const models = [...a].map(f)", "built by code"),
        ('export const models = [{ id: "tiny-1b" }, { id: "tiny-1b" }]', "two entries"),
        ('export const models = [make("tiny-1b")]', "seems to be this model"),
        ("export const models = [tiny1B]", "seems to be this model"),
        ('export const models = [{ ...base, id: "tiny-1b" }]', "seems to be this model"),
        ('export const models = { "tiny-1b": make() }', "cannot be edited safely"),
        ('export const models = [{ id: "tiny-1b", modules: make() }]', "cannot be edited safely"),
        ('export const models = [{ id: "tiny-1b", modules: { ...x } }]', "cannot be edited safely"),
        ('export const models = [{ id: "tiny-1b", modules: { attn } }]', "cannot be edited safely"),
        (
            'export const models = [{ id: "tiny-1b", modules: { attn: { count: n() } } }]',
            "cannot be edited safely",
        ),
        (
            'export const models = [{ id: "tiny-1b", modules: { attn: { definitions: [x] } } }]',
            "cannot be edited safely",
        ),
        (
            'export const models = [{ id: "tiny-1b", modules: {}, modules: {} }]',
            "cannot be edited safely",
        ),
    ],
)
def test_what_cannot_be_edited_safely_is_an_error(text: str, message: str) -> None:
    with pytest.raises(WebError, match=message) as caught:
        edited(text.encode(), "models.ts", WANTED)
    assert str(caught.value).startswith("models.ts")


def test_a_file_that_is_not_utf_8() -> None:
    with pytest.raises(WebError, match="not UTF-8"):
        edited("export const models = []".encode("utf-16"), "models.ts", WANTED)


def test_other_entries_built_by_code_are_left_alone() -> None:
    text = 'export const models = [...old, make("other"), { ...base, id: "x" }, imported]'
    assert edit(text).data.decode().startswith(text[:-1] + ", {")


def test_where_the_file_is_looked_for(tmp_path: Path) -> None:
    file = tmp_path / "repo/web/apps/web/data/models.ts"
    file.parent.mkdir(parents=True)
    with pytest.raises(WebError, match=r"no models\.ts below"):
        find_models_file(tmp_path / "repo")
    with pytest.raises(WebError, match="no such folder"):
        find_models_file(tmp_path / "nowhere")
    file.touch()
    for folder in ("repo", "repo/web", "repo/web/apps/web", "repo/web/apps/web/data"):
        assert find_models_file(tmp_path / folder).samefile(file)
    assert find_models_file(file) == file
    other = tmp_path / "repo/other/apps/web/data"
    other.mkdir(parents=True)
    (other / "models.ts").touch()
    assert find_models_file(tmp_path / "repo").samefile(file)
    file.rename(tmp_path / "repo/web/models.ts")
    assert find_models_file(tmp_path / "repo") == other / "models.ts"


def test_the_diff_of_a_long_file_is_that_of_its_changed_part() -> None:
    before = b"".join(b"line %d\n" % n for n in range(1000))
    after = before.replace(b"line 500\n", b"new\nline 500\n") + b"end"
    assert unified_diff(before, before, "x") == ""
    lines = unified_diff(before, after, "x").splitlines()
    assert lines[:3] == ["--- a/x", "+++ b/x", "@@ -498,6 +498,7 @@"]
    assert "@@ -998,3 +999,4 @@" in lines
    assert lines[-1] == "\\ No newline at end of file"


@pytest.fixture(scope="session")
def tsc() -> str:
    """TypeScript's compiler: FIBCORE_TSC, on PATH, or in node_modules; skips without it."""
    here = Path(__file__).parents[2]
    named = os.environ.get("FIBCORE_TSC")
    local = [p / "node_modules/.bin/tsc" for p in (here, *here.parents)]
    found = named or shutil.which("tsc") or next((str(p) for p in local if p.exists()), None)
    if found is None or shutil.which("node") is None:
        pytest.skip("needs node and TypeScript's tsc (FIBCORE_TSC, PATH or node_modules)")
    return found


def test_the_result_compiles(tsc: str, tmp_path: Path) -> None:
    quoted = EXISTING.replace("license(", "String(").replace("color(", "String(")
    texts = [
        *EMPTY,
        quoted.replace('import { shared } from "./shared"', "const shared: any = []"),
        INLINE.replace(", f()", ""),
        """const tiny: Model = { id: 'tiny-1b', name: '', description: '', modules: {} };
        export const models = [tiny] as const satisfies readonly Model[]""",
    ]
    for n, text in enumerate(texts):
        whole = TYPES + "type Models = Record<string, Model>;\n" + text
        (tmp_path / f"m{n}.ts").write_bytes(edit(whole).data)
        (tmp_path / f"p{n}.ts").write_bytes(edit(whole, prune=True).data)
    command = [tsc, "--noEmit", "--strict", "--skipLibCheck", *map(str, tmp_path.glob("*.ts"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout


WORDS = st.sampled_from(["a", "b-1", "qkv_proj", "x (y)", "model.layers", "it's", 'say "x"', "ü"])
OPAQUE = st.sampled_from(
    ["...base", "make('other')", "{ ...base, n: 1 }", "imported", "f({ id: 'q' }, [1, 2])"]
)
COMMENT = st.sampled_from(["", "", " // note", " /* note */", " // ] } '"])


@attrs.frozen
class File:
    """A generated file: what is before the list's content, its entries, what is after."""

    head: str
    entries: tuple[str, ...]
    between: str
    end: str
    tail: str
    ours: bool

    @property
    def text(self) -> str:
        return self.head + self.between.join(self.entries) + self.end + self.tail


@st.composite
def files(draw: st.DrawFn) -> File:
    """Files of many styles; in half of them the model has an entry already."""
    eol = draw(st.sampled_from(["\n", "\r\n"]))
    unit = draw(st.sampled_from(["  ", "    ", "\t"]))
    quote = draw(st.sampled_from("\"'"))
    comma = draw(st.sampled_from([",", ""]))
    one_line = draw(st.booleans())

    def string(text: str) -> str:
        return quote + text.replace(quote, "\\" + quote) + quote

    def entry(model: str, *, extra: bool) -> str:
        modules = draw(st.lists(WORDS, unique=True, max_size=3))
        bodies = [
            f"{string(m)}: {{ count: {draw(st.integers(0, 99))}, type: {string('layer')} }}"
            for m in modules
        ]
        if extra:
            bodies.append("attn: { type: " + string("block") + ", note: f(1), definitions: [] }")
        inside = f"{{ {', '.join(bodies)} }}"
        if not one_line and bodies:
            between = f",{draw(COMMENT)}{eol}{unit * 3}"
            inside = f"{{{eol}{unit * 3}{between.join(bodies)}{comma}{eol}{unit * 2}}}"
        parts = [f"id: {string(model)}", f"name: {string(draw(WORDS))}", f"modules: {inside}"]
        if draw(st.booleans()):
            parts.insert(draw(st.integers(0, 3)), f"more: {string(draw(WORDS))}")
        if one_line:
            return "{ " + ", ".join(parts) + " }"
        between = f",{draw(COMMENT)}{eol}{unit * 2}"
        return f"{{{eol}{unit * 2}{between.join(parts)}{comma}{eol}{unit}}}"

    number = draw(st.integers(0, 3))
    entries = [
        draw(OPAQUE) if draw(st.booleans()) else entry(f"other-{n}", extra=False)
        for n in range(number)
    ]
    ours = draw(st.booleans())
    if ours:
        entries.insert(draw(st.integers(0, number)), entry(WANTED.id, extra=draw(st.booleans())))
    flat = draw(st.booleans())
    between = ", " if flat else f",{draw(COMMENT)}{eol}{unit}"
    start = "" if flat else f"{draw(COMMENT)}{eol}{unit}"
    end = comma if flat and entries else (comma if entries else "") + draw(COMMENT) + eol
    head = draw(st.sampled_from(["", "\ufeff"])) + draw(
        st.sampled_from(
            ["", f"import x from 'y'{eol}", f"// models = [{eol}", f"type A = {{}}{eol}"]
        )
    )
    head += draw(st.sampled_from(["export const models = [", "const models: readonly M[] = ["]))
    tail = draw(st.sampled_from(["]", "] as const", "] satisfies M[]"])) + draw(
        st.sampled_from(["", ";", eol, f"{eol}export default models{eol}", f"{eol}// end ] }}"])
    )
    return File(head + start, tuple(entries), between, end, tail, ours)


def is_within(short: bytes, long: bytes) -> bool:
    """Whether `long` is `short` with bytes put in."""
    rest = iter(long)
    return all(byte in rest for byte in short)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files())
def test_all_other_bytes_stay(file: File) -> None:
    result = edit(file.text)
    after = result.data.decode()
    assert after.startswith(file.head.rstrip())
    assert after.endswith(file.tail)
    position = 0
    for entry in file.entries:
        if WANTED.id not in entry:
            position = after.index(entry, position) + len(entry)
    assert result.change.kind == ("updated" if file.ours else "added")
    if not file.ours:
        assert is_within(file.text.encode(), result.data)
    ours = [e for e in content(result.data) if e is not None and e.get("id") == WANTED.id]
    assert len(ours) == 1
    for module in WANTED.modules:
        have = ours[0]["modules"][module.name]
        assert (have["count"], have.get("parent")) == (module.count, module.parent)
        assert set(module.definitions) <= set(have.get("definitions", ()))
    if file.ours and "note: f(1)" in file.text:
        assert b"note: f(1)" in result.data


@pytest.mark.parametrize(
    "text",
    [
        "[{ id: 'a', description: 'd'" + " + 'a'" * 3000 + " }]",
        "[{ id: 'a', description: " + "(" * 3000 + "'d'" + ")" * 3000 + " }]",
        "[{ id: 'a', modules: " + "{ a: " * 2000 + "1" + " }" * 2000 + " }]",
        "[m, { id: 'b', modules: m }]; const m = { modules: m, more: [m, m] }",
        "["
        + "a0, " * 9
        + "]; "
        + "; ".join(f"const a{n} = [a{n + 1}, a{n + 1}]" for n in range(60)),
        r"[{ id: 'a', description: '\u{FFFFFFFF}' }]",
        "[{ id: 'a', modules: { x: { count: 'many', parent: 7, definitions: [[1], {}, 5] } } }]",
    ],
)
def test_files_that_are_nested_deeply_or_refer_to_themselves_are_edited(text: str) -> None:
    before = f"export const models = {text};\n"
    result = edit(before)
    assert "tiny-1b" in result.data.decode()


def test_definitions_of_another_type_are_no_traceback() -> None:
    for definitions in ("5", "[[1], {}]", "'x'", "null"):
        modules = f"{{ experts: {{ count: 58, type: 'layer', definitions: {definitions} }} }}"
        text = f"export const models = [{{ id: 'tiny-1b', modules: {modules} }}];\n"
        try:
            result = edit(text)
        except WebError:
            continue
        assert LONG in result.data.decode()


def test_an_error_deep_inside_is_an_error_with_its_place() -> None:
    with pytest.raises(WebError, match="not TypeScript that can be read") as caught:
        edit("export const models = [" + "[" * 3000 + "(;" + "]" * 3000 + "];\n")
    assert caught.value.where is not None
