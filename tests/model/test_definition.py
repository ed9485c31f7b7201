"""The definition model: what is refused and where, JSON form, identity."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibcore.errors import DefinitionError
from fibcore.model.definition import (
    MAX_SIZE,
    Axis,
    Definition,
    TensorSpec,
    const,
    scalar,
    tensor,
    var,
)
from fibcore.model.dtypes import DTYPES

REFERENCE = "import torch\n\n\ndef run(q, indptr, sm_scale):\n    return q, q[..., 0]\n"


def example(**changes: Any) -> Definition:
    values: dict[str, Any] = {
        "name": "attention_h4_d16",
        "op_type": "attention",
        "description": "an example",
        "tags": ("stage:decode", "model:llama", "stage:decode"),
        "axes": {"n": var("rows"), "heads": const(4), "dim": const(16, "size"), "len": var()},
        "constraints": ("len == n + 1", "n == indptr[-1].item()"),
        "inputs": {
            "q": tensor("n heads dim", "bfloat16", "queries"),
            "indptr": tensor("len", "int32"),
            "sm_scale": scalar("float32"),
        },
        "outputs": {
            "output": tensor("n heads dim", "bfloat16"),
            "lse": tensor("n heads", "float32"),
        },
        "reference": REFERENCE,
    }
    return Definition(**{**values, **changes})


TEXT = """\
{
  "name": "attention_h4_d16",
  "description": "an example",
  "op_type": "attention",
  "tags": [
    "model:llama",
    "stage:decode"
  ],
  "axes": {
    "n": {
      "type": "var",
      "description": "rows"
    },
    "heads": {
      "type": "const",
      "value": 4
    },
    "dim": {
      "type": "const",
      "value": 16,
      "description": "size"
    },
    "len": {
      "type": "var"
    }
  },
  "constraints": [
    "len == n + 1",
    "n == indptr[-1].item()"
  ],
  "inputs": {
    "q": {
      "shape": [
        "n",
        "heads",
        "dim"
      ],
      "dtype": "bfloat16",
      "description": "queries"
    },
    "indptr": {
      "shape": [
        "len"
      ],
      "dtype": "int32"
    },
    "sm_scale": {
      "shape": null,
      "dtype": "float32"
    }
  },
  "outputs": {
    "output": {
      "shape": [
        "n",
        "heads",
        "dim"
      ],
      "dtype": "bfloat16"
    },
    "lse": {
      "shape": [
        "n",
        "heads"
      ],
      "dtype": "float32"
    }
  },
  "reference": "import torch\\n\\n\\ndef run(q, indptr, sm_scale):\\n    return q, q[..., 0]\\n"
}
"""


def test_the_file_has_the_formats_form() -> None:
    assert example().to_json() == TEXT
    assert Definition.from_json(TEXT).to_json() == TEXT


def test_empty_parts_are_left_out() -> None:
    data = example(description=None, constraints=()).to_dict()
    assert list(data) == ["name", "op_type", "tags", "axes", "inputs", "outputs", "reference"]


def test_what_others_leave_out_or_write_otherwise_is_read() -> None:
    data = json.loads(TEXT)
    data["constraints"] = []
    del data["tags"]
    data["axes"]["len"]["description"] = None
    data["axes"]["len"]["value"] = None
    found = Definition.from_dict(dict(reversed(data.items())))
    assert (found.constraints, found.tags) == ((), ())
    assert list(found.inputs) == ["q", "indptr", "sm_scale"]


def test_questions() -> None:
    d = example()
    assert d.const_axes == {"heads": 4, "dim": 16}
    assert d.var_axes == ("n", "len")
    assert d.tag_values("stage") == ("decode",)
    assert d.with_tags("status:verified").tags == ("model:llama", "stage:decode", "status:verified")
    assert d.with_tags("stage:prefill", without="stage").tag_values("stage") == ("prefill",)
    assert d.reference_hash != example(reference=REFERENCE + "\n").reference_hash


def change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Sets, or with `...` removes, the part of the JSON data at a dotted path."""
    *parents, last = path.split(".")

    def apply(data: dict[str, Any]) -> None:
        for key in parents:
            data = data[key]
        if value is ...:
            del data[last]
        else:
            data[last] = value

    return apply


WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str, str]] = {
    "no name": (change("name", ...), "$.name", "missing"),
    "an empty name": (change("name", ""), "$.name", "unusable"),
    "a name that is a path": (change("name", "../up"), "$.name", "unusable"),
    "a name with a line feed": (change("name", "a\nb"), "$.name", "unusable"),
    "a name with an escape": (change("name", "a\x1b[31mb"), "$.name", "unusable"),
    "a hidden name": (change("name", ".x"), "$.name", "unusable"),
    "a name of another type": (change("name", 7), "$.name", "wrong type"),
    "an op type with a blank": (change("op_type", "a b"), "$.op_type", "unusable"),
    "no axes": (change("axes", ...), "$.axes", "missing"),
    "axes as a list": (change("axes", ["n"]), "$.axes", "wrong type"),
    "an axis as a number": (change("axes.n", 8), "$.axes.n", "wrong type"),
    "an axis without type": (change("axes.n", {}), "$.axes.n.type", "missing"),
    "an unknown type of axis": (change("axes.n.type", "dyn"), "$.axes.n.type", "unknown axis"),
    "a const axis without size": (change("axes.dim.value", ...), "$.axes.dim.value", "its size"),
    "a negative size": (change("axes.dim.value", -1), "$.axes.dim.value", "its size"),
    "a size of no tensor": (change("axes.dim.value", 2**63), "$.axes.dim.value", "its size"),
    "a size that is a truth": (change("axes.dim.value", True), "$.axes.dim.value", "wrong type"),
    "a size that is a float": (change("axes.dim.value", 16.0), "$.axes.dim.value", "wrong type"),
    "a var axis with a size": (change("axes.n.value", 3), "$.axes.n.value", "no value"),
    "an unknown key of an axis": (change("axes.n.size", 3), "$.axes.n", "unknown key"),
    "an axis named class": (
        change("axes.class", {"type": "var"}),
        "$.axes/inputs/outputs",
        "identifiers",
    ),
    "an unknown dtype": (change("inputs.q.dtype", "unknown"), "$.inputs.q.dtype", "unknown dtype"),
    "no dtype": (change("inputs.q.dtype", ...), "$.inputs.q.dtype", "missing"),
    "no shape": (change("inputs.q.shape", ...), "$.inputs.q.shape", "missing"),
    "a shape as text": (change("inputs.q.shape", "n"), "$.inputs.q.shape", "wrong type"),
    "a shape of numbers": (change("inputs.q.shape", [1, 2]), "$.inputs.q.shape", "wrong type"),
    "an unknown axis": (change("outputs.lse.shape", ["m"]), "$.outputs.lse.shape", "no such axis"),
    "an unknown key of a tensor": (change("inputs.q.layout", "NHD"), "$.inputs.q", "unknown key"),
    "no outputs": (change("outputs", {}), "$.outputs", "at least one"),
    "one name twice": (
        change("outputs.q", {"shape": None, "dtype": "int8"}),
        "$.outputs",
        "in inputs and in outputs",
    ),
    "tags as text": (change("tags", "model:llama"), "$.tags", "wrong type"),
    "a tag without category": (change("tags", [":fast"]), "$.tags", "category:value"),
    "a tag without value": (change("tags", ["model:"]), "$.tags", "category:value"),
    "a constraint of no sense": (change("constraints", ["n =="]), "$.constraints[0]", "expression"),
    "a constraint that assigns": (change("constraints", ["n = 1"]), "$.constraints[0]", "express"),
    "a long constraint": (
        change("constraints", ["n + " * 2500 + "n > 0"]),
        "$.constraints[0]",
        "too long",
    ),
    "a constraint on nothing": (change("constraints", ["n > m"]), "$.constraints[0]", "no such"),
    "a constraint that reaches out": (
        change("constraints", ["n > 0", "open('x')"]),
        "$.constraints[1]",
        "no such",
    ),
    "a reference of no sense": (change("reference", "def run("), "$.reference", "does not parse"),
    "a reference with a zero byte": (change("reference", "\0"), "$.reference", "does not parse"),
    "a long reference": (change("reference", "x = 1\n" * 200_000), "$.reference", "too long"),
    "a reference without run": (change("reference", "x = 1"), "$.reference", "one top-level"),
    "a reference with two": (change("reference", REFERENCE * 2), "$.reference", "one top-level"),
    "a run of a class": (
        change("reference", "class A:\n    def run(q, indptr, sm_scale): ..."),
        "$.reference",
        "one top-level",
    ),
    "another order": (
        change("reference", "def run(indptr, q, sm_scale): ..."),
        "$.reference",
        "in order",
    ),
    "a parameter more": (
        change("reference", "def run(q, indptr, sm_scale, *more): ..."),
        "$.reference",
        "in order",
    ),
    "an unknown key": (change("author", "me"), "$", "unknown key"),
    "text that UTF-8 cannot hold": (change("description", "\ud800"), "$.description", "UTF-8"),
    "such text of an axis": (
        change("axes.n.description", "\udfff"),
        "$.axes.n.description",
        "UTF-8",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_refused_with_its_place(case: str) -> None:
    apply, where, message = WRONG[case]
    data = json.loads(TEXT)
    apply(data)
    with pytest.raises(DefinitionError) as caught:
        Definition.from_json(json.dumps(data))
    assert caught.value.where == where
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "$ line 1 column 1"),
        ("{\n  'name': 1}", "$ line 2 column 3"),
        ("[]", "$"),
        ("null", "$"),
        ('{"a": 1, "a": 2}', "$"),
        ('{"name": Infinity}', "$"),
        ("[" * 50_000, "$"),
        ('{"n": ' + "1" * 5000 + "}", "$"),
    ],
    ids=["empty", "quotes", "list", "null", "key twice", "Infinity", "nesting", "digits"],
)
def test_what_is_no_object_is_refused(text: str, where: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Definition.from_json(text)
    assert caught.value.where == where


def test_the_path_starts_where_the_caller_says() -> None:
    with pytest.raises(DefinitionError) as caught:
        Definition.from_json(TEXT.replace('"var"', '"dyn"'), "$.definitions[3]")
    assert caught.value.where == "$.definitions[3].axes.n.type"


# --- identity --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"description": None},
        {"tags": ()},
        {"constraints": ()},
        {"reference": REFERENCE + "# the same\n"},
        {"axes": dict(reversed(example().axes.items()))},
        {"inputs": {**example().inputs, "q": tensor("n heads dim", "bfloat16", "other words")}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_same_kernel(changes: dict[str, Any]) -> None:
    assert example(**changes).structure() == example().structure()


REORDERED = "def run(indptr, q, sm_scale): ...\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"op_type": "other"},
        {"axes": {**example().axes, "dim": const(17)}},
        {"axes": {**example().axes, "dim": var()}},
        {"axes": {**example().axes, "more": const(1)}},
        {"inputs": {**example().inputs, "indptr": tensor("len", "int64")}},
        {"inputs": {**example().inputs, "indptr": scalar("int32")}},
        {
            "inputs": {n: example().inputs[n] for n in ("indptr", "q", "sm_scale")},
            "reference": REORDERED,
        },
        {"outputs": {"output": example().outputs["output"]}},
        {"outputs": dict(reversed(example().outputs.items()))},
    ],
    ids=[
        *("op type", "size", "var", "axis more", "dtype", "scalar"),
        *("order of inputs", "output less", "order of outputs"),
    ],
)
def test_another_kernel(changes: dict[str, Any]) -> None:
    assert example(**changes).structure() != example().structure()


# --- round trips -----------------------------------------------------------------------------

WORDS = st.text(max_size=20)  # without surrogates, which no file can hold
LETTERS = st.sampled_from(["a", "b", "cc", "n_1", "größe", "_x"])
AXES = st.one_of(
    st.builds(Axis, st.just("var"), st.none(), st.none() | WORDS),
    st.builds(Axis, st.just("const"), st.integers(0, MAX_SIZE), st.none() | WORDS),
)


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    axes = draw(st.dictionaries(LETTERS, AXES, max_size=4))
    shapes = st.none() | (
        st.lists(st.sampled_from(sorted(axes)), max_size=3).map(tuple) if axes else st.just(())
    )
    specs = st.builds(TensorSpec, shapes, st.sampled_from(DTYPES), st.none() | WORDS)
    inputs = draw(st.dictionaries(LETTERS.map(lambda n: "in_" + n), specs, max_size=3))
    outputs = draw(
        st.dictionaries(LETTERS.map(lambda n: "out_" + n), specs, min_size=1, max_size=3)
    )
    comment = draw(WORDS.map(ascii))
    return Definition(
        name=draw(st.from_regex(r"[a-z][a-z0-9_.]{0,10}", fullmatch=True)),
        op_type=draw(st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)),
        axes=axes,
        inputs=inputs,
        outputs=outputs,
        reference=f"WORDS = {comment}\n\n\ndef run({', '.join(inputs)}):\n    return None\n",
        description=draw(st.none() | WORDS),
        tags=tuple(draw(st.lists(WORDS.filter(bool).map(lambda w: "model:" + w), max_size=3))),
        constraints=tuple(f"{axis} >= 0" for axis in list(axes)[:2]),
    )


@settings(deadline=None)
@given(definitions())
def test_json_keeps_everything(definition: Definition) -> None:
    text = definition.to_json()
    again = Definition.from_json(text)
    assert attrs.asdict(again) == attrs.asdict(definition)
    assert again.to_json() == text
    assert text.encode().decode() == text
    assert again.structure() == definition.structure()
    assert [list(x) for x in (again.axes, again.inputs, again.outputs)] == [
        list(x) for x in (definition.axes, definition.inputs, definition.outputs)
    ]
