"""Dumps of FlashInfer's tracing: what is repaired, what is refused, what comes into the dataset."""

from __future__ import annotations

import ast
import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fibcore.cli import cli
from fibcore.dataset import Dataset
from fibcore.dataset.explanation import explain
from fibcore.errors import TraceError, UsageError
from fibcore.model.definition import Definition
from fibcore.ops.registry import Registry
from fibcore.traces import ImportReport, import_trace, read_trace, repair
from fibcore.validation.run import validate

PREAMBLE = "from __future__ import annotations\nimport math\nimport torch\n\n"

NORM = PREAMBLE + (
    "@torch.no_grad()\n"
    "def _rmsnorm_reference(hidden_states, weight):\n"
    "    x = hidden_states.to(torch.float32)\n"
    "    y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight.to(torch.float32)\n"
    "    return y.to(hidden_states.dtype)\n"
)

DECODE = PREAMBLE + (
    "def _decode_reference(q, k_cache, v_cache, kv_indptr, kv_indices, sm_scale):\n"
    "    batch_size, num_qo_heads, head_dim = q.shape\n"
    "    num_pages, page_size, num_kv_heads, _ = k_cache.shape\n"
    "    output = torch.zeros_like(q)\n"
    "    lse = torch.full((batch_size, num_qo_heads), -math.inf)\n"
    "    return output, lse\n"
)


def norm(**changes: Any) -> dict[str, Any]:
    """A dump of an RMSNorm as FlashInfer writes it, faults included."""
    data: dict[str, Any] = {
        "name": "rmsnorm_h64",
        "description": "RMSNorm.",
        "op_type": "rmsnorm",
        "tags": ["fi_api:flashinfer.norm.rmsnorm", "status:verified"],
        "axes": {"batch_size": {"type": "var"}, "hidden_size": {"type": "const", "value": 64}},
        "inputs": {
            "hidden_states": {"shape": ["batch_size", "hidden_size"], "dtype": "bfloat16"},
            "weight": {"shape": ["hidden_size"], "dtype": "bfloat16"},
        },
        "outputs": {"output": {"shape": ["batch_size", "hidden_size"], "dtype": "bfloat16"}},
        "reference": NORM,
        "check": "def check(): ...",
        "init": "def init(): ...",
    }
    return {**copy.deepcopy(data), **changes}


def decode(kv_heads: int = 2, page_size: int = 1, **changes: Any) -> dict[str, Any]:
    """A dump of paged decode attention as FlashInfer writes it, faults included."""
    cache = {"shape": ["num_pages", "page_size", "num_kv_heads", "head_dim"], "dtype": "bfloat16"}
    index = {"dtype": "unknown", "optional": True, "description": "Set during plan()."}
    sizes = {"num_qo_heads": 4, "num_kv_heads": kv_heads, "head_dim": 16, "page_size": page_size}
    data: dict[str, Any] = {
        "name": f"gqa_paged_decode_h4_kv{kv_heads}_d16_ps{page_size}",
        "description": "Paged decode attention.",
        "op_type": "gqa_paged",
        "tags": ["fi_api:flashinfer.decode.Wrapper.run", "stage:decode", "status:verified"],
        "axes": {
            "batch_size": {"type": "var"},
            **{name: {"type": "const", "value": size} for name, size in sizes.items()},
            **{name: {"type": "var"} for name in ("num_pages", "len_indptr", "num_kv_indices")},
        },
        "constraints": [
            "len_indptr == batch_size + 1",
            "num_kv_indices == kv_indptr[-1].item()",
        ],
        "inputs": {
            "q": {"shape": ["batch_size", "num_qo_heads", "head_dim"], "dtype": "bfloat16"},
            "k_cache": cache,
            "v_cache": cache,
            "kv_indptr": {"shape": ["len_indptr"], **index},
            "kv_indices": {"shape": ["num_kv_indices"], **index},
            "sm_scale": {"shape": None, "dtype": "float32", "optional": True},
        },
        "outputs": {
            "output": {"shape": ["batch_size", "num_qo_heads", "head_dim"], "dtype": "bfloat16"},
            "lse": {"shape": ["batch_size", "num_qo_heads"], "dtype": "float32"},
        },
        "reference": DECODE,
    }
    return {**copy.deepcopy(data), **changes}


@pytest.fixture
def dump(tmp_path: Path) -> Callable[..., Path]:
    """Write files of a dump and give its folder."""

    def write(*files: dict[str, Any], folder: str = "dump") -> Path:
        root = tmp_path / folder
        root.mkdir(parents=True, exist_ok=True)
        for data in files:
            (root / f"{data['name']}.json").write_text(json.dumps(data, indent=2))
        return root

    return write


@pytest.fixture
def repaired(
    dump: Callable[..., Path], op_plugins: Registry
) -> Callable[[dict[str, Any]], tuple[Definition, dict[str, str]]]:
    """Repair one file: its definition, and the repairs by place."""

    def run(data: dict[str, Any]) -> tuple[Definition, dict[str, str]]:
        (file,) = read_trace(dump(data) / f"{data['name']}.json").files
        done = repair(file, op_plugins)
        return done.definition, {r.place: r.message for r in done.repairs}

    return run


@pytest.fixture
def load(tmp_path: Path, op_plugins: Registry) -> Callable[..., ImportReport]:
    """Import a dump into the dataset below `tmp_path`."""

    def run(trace: Path, **options: Any) -> ImportReport:
        return import_trace(trace, dataset=tmp_path / "dataset", registry=op_plugins, **options)

    return run


Fixed = Callable[[dict[str, Any]], tuple[Definition, dict[str, str]]]
Load = Callable[..., ImportReport]
Dump = Callable[..., Path]


def run_of(definition: Definition) -> Any:
    """The function `run` of a reference."""
    torch = pytest.importorskip("torch", reason="references need torch to run")
    namespace: dict[str, Any] = {"torch": torch}
    exec(definition.reference, namespace)  # noqa: S102 - written above
    return namespace["run"]


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.startswith(".")
    }


# --- repairs ---------------------------------------------------------------------------------


def test_a_reference_gets_a_run_with_the_inputs_and_checks(repaired: Fixed) -> None:
    definition, repairs = repaired(decode())
    assert "one that calls _decode_reference" in repairs["$.reference"]
    assert DECODE.rstrip() in definition.reference  # the function itself stays as it is
    run = ast.parse(definition.reference).body[-1]
    assert isinstance(run, ast.FunctionDef)
    assert [a.arg for a in run.args.args] == list(definition.inputs)
    text = ast.unparse(run)
    assert "assert k_cache.shape[2] == 2" in text
    assert "assert len_indptr == batch_size + 1" in text
    assert "batch_size = q.shape[0]" in text


def test_a_run_refuses_other_sizes_and_broken_constraints(repaired: Fixed) -> None:
    definition, _ = repaired(decode())
    run = run_of(definition)
    import torch

    inputs = {
        "q": torch.zeros(1, 4, 16),
        "k_cache": torch.zeros(2, 1, 2, 16),
        "v_cache": torch.zeros(2, 1, 2, 16),
        "kv_indptr": torch.tensor([0, 2]),
        "kv_indices": torch.tensor([0, 1]),
        "sm_scale": 1.0,
    }
    assert len(run(**inputs)) == 2
    for name, wrong in (
        ("k_cache", torch.zeros(2, 1, 4, 16)),
        ("kv_indptr", torch.tensor([0, 1, 2])),
        ("kv_indices", torch.tensor([0])),
    ):
        with pytest.raises(AssertionError):
            run(**{**inputs, name: wrong})


def test_index_tensors_of_unknown_dtype_are_int32(repaired: Fixed) -> None:
    definition, repairs = repaired(decode())
    assert definition.inputs["kv_indptr"].dtype == "int32"
    assert definition.inputs["kv_indices"].dtype == "int32"
    assert "int32" in repairs["$.inputs.kv_indptr.dtype"]


def test_extra_keys_and_tags_are_left_out_and_nothing_is_verified(repaired: Fixed) -> None:
    definition, repairs = repaired(norm(tags=["fi_api:flashinfer.norm.rmsnorm", "fused", "a:"]))
    assert definition.tags == ("fi_api:flashinfer.norm.rmsnorm", "fused", "status:unverified")
    assert {"$.check", "$.init", "$.tags"} <= set(repairs)
    definition, repairs = repaired(norm())
    assert "status:unverified" in definition.tags
    assert "status:verified" in repairs["$.tags"]


def test_an_output_that_the_reference_does_not_return_is_left_out(repaired: Fixed) -> None:
    data = norm(name="fused_add_rmsnorm_h64")
    data["inputs"]["residual"] = data["inputs"]["hidden_states"]
    data["outputs"]["residual"] = data["inputs"]["hidden_states"]
    data["reference"] = NORM.replace("weight):", "weight, residual):")
    definition, repairs = repaired(data)
    assert list(definition.outputs) == ["output"]
    assert "does not return it" in repairs["$.outputs.residual"]


def test_an_output_that_repeats_an_input_and_is_returned_gets_a_name(repaired: Fixed) -> None:
    data = norm()
    data["outputs"] = {"hidden_states": data["outputs"]["output"]}
    definition, repairs = repaired(data)
    assert list(definition.outputs) == ["updated_hidden_states"]
    assert "updated_hidden_states" in repairs["$.outputs.hidden_states"]


def test_a_reference_that_writes_into_its_inputs_gets_copies(repaired: Fixed) -> None:
    data = norm()
    data["outputs"] = {"hidden_states": data["outputs"]["output"]}
    data["reference"] = PREAMBLE + "def _scale(hidden_states, weight):\n    hidden_states.mul_(2)\n"
    definition, _ = repaired(data)
    run = run_of(definition)
    import torch

    x = torch.ones(2, 64)
    assert run(x, torch.ones(64)).sum() == 256
    assert x.sum() == 128


def test_names_of_typing_are_imported(repaired: Fixed) -> None:
    data = norm(reference=NORM.replace("weight):", "weight) -> Optional[torch.Tensor]:"))
    definition, _ = repaired(data)
    assert "from typing import Optional" in definition.reference
    assert definition.reference.startswith("from __future__")
    run_of(definition)


def test_a_parameter_of_another_name_is_the_one_input_that_is_left(repaired: Fixed) -> None:
    definition, _ = repaired(norm(reference=NORM.replace("hidden_states", "input")))
    assert "input=hidden_states" in definition.reference
    run_of(definition)


def test_an_optional_input_that_was_not_passed_is_left_out(repaired: Fixed) -> None:
    source = NORM.replace("weight):", "weight, bias=None):").replace(
        "    return y", "    bias\n    return y"
    )
    data = norm(reference=source)
    data["inputs"]["bias"] = {"shape": ["other"], "dtype": "unknown", "optional": True}
    data["axes"]["other"] = {"type": "const"}
    data["constraints"] = ["other == hidden_size"]
    definition, repairs = repaired(data)
    assert list(definition.inputs) == ["hidden_states", "weight"]
    assert "did not pass" in repairs["$.inputs.bias"]
    assert "other" not in definition.axes
    assert definition.constraints == ()
    assert {"$.axes.other", "$.constraints[0]"} <= set(repairs)


@pytest.mark.parametrize(
    ("parameters", "body", "why"),
    [
        ("weight", "", "does not take"),  # as attention's return_lse
        ("weight, flag=False", "    del flag\n", "does not read"),  # as latent attention's
        (
            "weight, flag=None",
            "    if hidden_states.dtype == torch.float8_e4m3fn:\n        weight = weight * flag\n",
            "does not read",
        ),
    ],
)
def test_an_input_that_is_for_the_kernel_alone_is_left_out(
    parameters: str, body: str, why: str, repaired: Fixed
) -> None:
    source = NORM.replace("weight):", f"{parameters}):")
    source = source.replace("    return y", f"{body}    return y")
    data = norm(reference=source)
    data["inputs"]["flag"] = {"shape": None, "dtype": "int32", "optional": True}
    definition, repairs = repaired(data)
    assert list(definition.inputs) == ["hidden_states", "weight"]
    assert why in repairs["$.inputs.flag"]


def test_an_input_that_the_reference_reads_for_some_dtypes_stays_where_it_may(
    repaired: Fixed,
) -> None:
    body = "    if hidden_states.dtype != torch.float8_e4m3fn:\n        weight = weight * flag\n"
    source = NORM.replace("weight):", "weight, flag=None):")
    data = norm(reference=source.replace("    x = hidden", f"{body}    x = hidden"))
    data["inputs"]["flag"] = {"shape": None, "dtype": "float32", "optional": True}
    definition, _ = repaired(data)
    assert "flag" in definition.inputs


def test_a_parameter_that_is_not_read_needs_no_input(repaired: Fixed) -> None:
    source = NORM.replace("weight):", "weight, workspace_buffer):")
    definition, _ = repaired(norm(reference=source))
    assert "workspace_buffer=None" in definition.reference
    assert list(definition.inputs) == ["hidden_states", "weight"]


def test_the_reference_is_the_function_that_no_other_one_calls(repaired: Fixed) -> None:
    helper = "def _scale_reference(x):\n    return x * 2\n\n"
    source = NORM.replace("@torch", f"{helper}@torch", 1)
    source = source.replace("    return y", "    y = _scale_reference(y)\n    return y")
    definition, _ = repaired(norm(reference=source))
    assert "return _rmsnorm_reference(" in definition.reference


def test_the_values_of_a_function_of_the_file_are_counted(repaired: Fixed) -> None:
    both = "def attend(q):\n    return q, q\n\n\n"
    signature = "q, k_cache, v_cache, kv_indptr, kv_indices, sm_scale"
    source = PREAMBLE + both + f"def run({signature}):\n    return attend(q)\n"
    definition, _ = repaired(decode(reference=source))
    assert definition.reference == source


def test_what_a_branch_reads_is_no_disagreement(repaired: Fixed) -> None:
    other = "        _, num_kv_heads, page_size, _ = k_cache.shape\n"
    branch = f"    if sm_scale > 0:\n{other}"
    source = DECODE.replace("    output = torch.zeros", f"{branch}    output = torch.zeros")
    definition, _ = repaired(decode(page_size=16, reference=source))
    assert definition.const_axes["page_size"] == 16


def test_axes_that_tensors_have_are_declared_and_others_left_out(repaired: Fixed) -> None:
    data = norm()
    data["axes"]["idle"] = {"type": "var"}
    del data["axes"]["batch_size"]
    definition, repairs = repaired(data)
    assert "idle" not in definition.axes
    assert definition.axes["batch_size"].type == "var"
    assert {"$.axes.idle", "$.axes.batch_size"} <= set(repairs)


def test_a_reference_that_is_whole_stays(repaired: Fixed) -> None:
    source = NORM.replace("_rmsnorm_reference", "run")
    definition, repairs = repaired(norm(reference=source))
    assert definition.reference == source
    assert "$.reference" not in repairs


def test_a_function_called_run_with_other_parameters_is_wrapped(repaired: Fixed) -> None:
    source = NORM.replace("_rmsnorm_reference", "run").replace("weight):", "weight, **unused):")
    definition, _ = repaired(norm(reference=source))
    assert "def _traced_reference(hidden_states, weight, **unused)" in definition.reference
    run_of(definition)


# --- refusals --------------------------------------------------------------------------------


def _changed(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *parents, last = path.split("/")
    place = data
    for part in parents:
        place = place[part]
    place[last] = value
    return data


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a data tensor of unknown dtype": (
        _changed(norm(), "inputs/weight/dtype", "unknown"),
        "$.inputs.weight.dtype",
        "unknown",
    ),
    "an output of unknown dtype": (
        _changed(norm(), "outputs/output/dtype", "unknown"),
        "$.outputs.output.dtype",
        "unknown",
    ),
    "a dtype that the format lacks": (
        _changed(norm(), "inputs/weight/dtype", "uint8"),
        "$.inputs.weight.dtype",
        "the format does not have",
    ),
    "an absent tensor that the reference needs": (
        _changed(norm(), "inputs/weight", {"shape": None, "dtype": "unknown", "optional": True}),
        "$.inputs.weight.dtype",
        "cannot do without",
    ),
    "128 KV heads": (decode(kv_heads=128), "$.axes", "contradict"),
    "another size in the name": (decode(name="gqa_paged_decode_h4_kv8_d16_ps1"), "$.axes", "kv8"),
    "a rank that the reference does not read": (
        _changed(decode(), "inputs/q/shape", ["batch_size", "head_dim"]),
        "$.inputs.q.shape",
        "3 dimensions",
    ),
    "another layout than the reference reads": (
        _changed(
            decode(page_size=8),
            "inputs/k_cache/shape",
            ["num_pages", "num_kv_heads", "page_size", "head_dim"],
        ),
        "$.inputs.k_cache.shape",
        "page_size = 8",
    ),
    "an assertion of another size": (
        decode(
            reference=DECODE.replace("    output", "    assert num_kv_heads == 8\n    output", 1)
        ),
        "$.axes.num_kv_heads.value",
        "asserts",
    ),
    "no reference": (norm(reference=None), "$.reference", "no reference"),
    "a reference that does not parse": (norm(reference="def f(:"), "$.reference", "parse"),
    "helpers that are not there": (
        norm(reference=NORM.replace("x.pow(2)", "_square(x)")),
        "$.reference",
        "_square",
    ),
    "an import of FlashInfer": (
        norm(reference="import flashinfer\n" + NORM.partition("\n")[2]),
        "$.reference line 1",
        "import flashinfer",
    ),
    "two functions": (
        norm(reference=NORM.replace("_rmsnorm_reference", "one") + "\n\ndef two():\n    pass\n"),
        "$.reference",
        "which function",
    ),
    "a parameter that is no input": (
        norm(reference=NORM.replace("weight):", "weight, bias):").replace("* weight", "* bias")),
        "$.reference",
        "the parameter bias is no input",
    ),
    "fewer values than outputs": (
        _changed(norm(), "outputs/second", {"shape": ["batch_size"], "dtype": "float32"}),
        "$.outputs",
        "1 values",
    ),
    "a const axis without a size": (
        _changed(norm(), "axes/hidden_size", {"type": "const"}),
        "$.axes.hidden_size",
        "without a size",
    ),
    "a constraint about nothing": (
        norm(constraints=["batch_sise == 1"]),
        "$.constraints[0]",
        "batch_sise",
    ),
    "a name that is no file name": (norm(name="a b"), "$.name", "file name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_repaired_is_refused_with_its_place(case: str, repaired: Fixed) -> None:
    data, place, words = REFUSED[case]
    with pytest.raises(TraceError) as caught:
        repaired(copy.deepcopy(data))
    assert caught.value.where == f"{data['name']}.json {place}"
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("{", "x.json line 1", "not JSON"),
        ("[]", "x.json $", "an object"),
        ("{}", "x.json", "not a trace"),
        ('{"a": 1, "a": 2}', "x.json", "twice"),
        ('{"a": NaN}', "x.json", "NaN"),
        (json.dumps(_changed(norm(), "axes/hidden_size/value", "64")), "x.json $.axes", "integer"),
        (json.dumps(_changed(norm(), "inputs/weight/shape", "h")), "x.json $.inputs", "strings"),
        (json.dumps(_changed(norm(), "tags", [1])), "x.json $.tags", "strings"),
    ],
)
def test_files_that_are_no_dump_are_named_and_the_others_go_on(
    text: str, where: str, words: str, dump: Dump
) -> None:
    root = dump(norm())
    (root / "x.json").write_text(text)
    trace = read_trace(root)
    assert [file.name for file in trace.files] == ["rmsnorm_h64"]
    (error,) = trace.broken
    assert (error.where or "").startswith(where)
    assert words in str(error)


def test_bytes_that_are_no_text_are_named(dump: Dump) -> None:
    root = dump(norm())
    (root / "x.json").write_bytes(b"\xff\xfe")
    assert len(read_trace(root).broken) == 1


def test_no_dump_at_all(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no such"):
        read_trace(tmp_path / "nowhere")
    with pytest.raises(TraceError, match="no dump"):
        read_trace(tmp_path)


# --- import ----------------------------------------------------------------------------------


def test_kernels_come_in_unverified_with_tag_and_provenance(
    dump: Dump, load: Load, tmp_path: Path
) -> None:
    report = load(dump(norm(), decode(), folder="dump/rank0").parent, model_name="tiny")
    assert report.exit_code == 0
    assert [k.outcome for k in report.kernels] == ["new", "new"]
    assert [k.file for k in report.kernels] == [
        "rank0/gqa_paged_decode_h4_kv2_d16_ps1.json",
        "rank0/rmsnorm_h64.json",
    ]
    store = Dataset(tmp_path / "dataset")
    definition = store.get("rmsnorm_h64")
    assert definition is not None
    assert {"model:tiny", "status:unverified"} <= set(definition.tags)
    record = store.provenance("rmsnorm_h64")
    assert record is not None
    (entry,) = record.imports
    assert (entry.tool, entry.file) == ("flashinfer.trace", "rank0/rmsnorm_h64.json")
    assert entry.model == "tiny"
    assert entry.fi_apis == ("flashinfer.norm.rmsnorm",)
    assert any("run with the inputs" in repair for repair in entry.repairs)
    assert record.entries == ()


def test_importing_again_changes_no_byte(dump: Dump, load: Load, tmp_path: Path) -> None:
    other = norm(
        name="rmsnorm_h64", inputs={**norm()["inputs"], "more": {"shape": None, "dtype": "float32"}}
    )
    other["reference"] = NORM.replace("weight):", "weight, more):")
    first, second = dump(norm(), decode()), dump(other, folder="other")
    load(first)
    assert [k.outcome for k in load(second).kernels] == ["conflict"]
    before = files(tmp_path / "dataset")
    assert "reports/conflicts.md" in before
    report = load(first)
    assert {k.outcome for k in report.kernels} == {"unchanged"}
    assert [k.outcome for k in load(second).kernels] == ["conflict"]
    assert files(tmp_path / "dataset") == before


def test_a_kernel_of_another_name_is_kept_under_the_dataset_s(dump: Dump, load: Load) -> None:
    load(dump(norm()))
    report = load(dump(norm(name="norm_of_flashinfer"), folder="other"))
    (kernel,) = report.kernels
    assert (kernel.outcome, kernel.name) == ("same-kernel-other-name", "rmsnorm_h64")


def test_equal_tensors_are_one_kernel_only_where_a_plugin_says_so(dump: Dump, load: Load) -> None:
    """Two functions can have the same tensors, and here no plugin tells them apart."""
    one, two = norm(name="one", op_type="mixing"), norm(name="two", op_type="mixing")
    assert [k.outcome for k in load(dump(one, two)).kernels] == ["new", "new"]
    assert [k.outcome for k in load(dump(one, two)).kernels] == ["unchanged", "unchanged"]
    notes = load(dump(one)).kernels[0].notes
    assert any("no installed plugin has op type mixing" in note for note in notes)


def test_a_conflict_of_an_op_type_of_no_plugin_is_found_again(dump: Dump, load: Load) -> None:
    gelu = norm(name="gelu", op_type="mixing")
    wide = norm(name="gelu", op_type="mixing")
    wide["axes"]["hidden_size"]["value"] = 128
    load(dump(gelu))
    for _ in range(2):
        (kernel,) = load(dump(wide, folder="other")).kernels
        assert (kernel.outcome, kernel.name) == ("conflict", "gelu_v2")


def test_a_dry_run_writes_nothing(dump: Dump, load: Load, tmp_path: Path) -> None:
    report = load(dump(norm()), dry_run=True)
    assert [k.outcome for k in report.kernels] == ["new"]
    assert not (tmp_path / "dataset").exists()


def test_refused_files_do_not_keep_the_others_out(dump: Dump, load: Load) -> None:
    root = dump(norm(), decode(kv_heads=128))
    (root / "broken.json").write_text("{")
    report = load(root)
    assert [k.name for k in report.kernels] == ["rmsnorm_h64"]
    assert len(report.refused) == 2
    assert report.exit_code == 1
    assert all("json" in line for line in report.failures)


def test_op_types_can_be_chosen(dump: Dump, load: Load) -> None:
    root = dump(norm(), decode())
    report = load(root, op_type="rmsnorm")
    assert [k.op_type for k in report.kernels] == ["rmsnorm"]
    assert report.skipped == 1
    with pytest.raises(UsageError, match="no such op type"):
        load(root, op_type="moe")


def test_a_slug_has_no_blanks(dump: Dump, load: Load) -> None:
    with pytest.raises(UsageError, match="slug"):
        load(dump(norm()), model_name="Llama 3")


def test_nothing_is_run_without_execute(dump: Dump, load: Load, tmp_path: Path) -> None:
    flag = tmp_path / "ran"
    trap = f"open({str(flag)!r}, 'w')\n"
    data = norm(reference=NORM + f"\n\nmarks = [torch.tensor(1).numpy().tofile({str(flag)!r})]\n")
    load(dump(data, norm(name="trap", reference=trap + NORM)))
    assert not flag.exists()


def test_execute_runs_references_and_refuses_those_that_fail(dump: Dump, load: Load) -> None:
    pytest.importorskip("torch", reason="references need torch to run")
    wrong = norm(
        name="rmsnorm_wrong",
        reference=NORM.replace("return y.to(hidden_states.dtype)", "return y.to(torch.float16)"),
    )
    other = norm(name="gelu", op_type="activation")
    report = load(dump(norm(), wrong, other), execute=True)
    assert {k.name: k.executed for k in report.kernels} == {"rmsnorm_h64": 2, "gelu": None}
    (error,) = report.refused
    assert (error.where or "").startswith("rmsnorm_wrong.json $.reference")
    assert "float16" in str(error)
    assert any("not executed" in n for k in report.kernels for n in k.notes if k.name == "gelu")


def test_an_imported_dataset_is_valid(
    dump: Dump, load: Load, tmp_path: Path, op_plugins: Registry
) -> None:
    load(dump(norm(), decode()))
    report = validate(tmp_path / "dataset", registry=op_plugins)
    assert report.ok
    # FlashInfer describes a part of what it writes, and nobody has benchmarked it.
    messages = {p.message for p in report.problems}
    assert messages == {"no description", "no traces", "no baseline solution"}


def test_explain_names_the_file(dump: Dump, load: Load, tmp_path: Path) -> None:
    load(dump(norm()), model_name="tiny")
    found = explain("rmsnorm_h64", dataset=tmp_path / "dataset").to_dict()
    assert found["imports"][0]["file"] == "rmsnorm_h64.json"
    line = ["explain", "rmsnorm_h64", "--dataset", str(tmp_path / "dataset")]
    text = CliRunner().invoke(cli, line, prog_name="fibcore").stdout
    assert "imported for tiny from rmsnorm_h64.json (flashinfer.norm.rmsnorm)" in text
    assert "repaired: $.check" in text


def test_the_command_reports_repairs_one_by_one(
    dump: Dump, tmp_path: Path, op_plugins: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fibcore.workspace.load_plugins", lambda **_: op_plugins)
    root = dump(norm(), decode(kv_heads=128))

    def run(*args: str) -> Any:
        line = ["import-trace", str(root), "--dataset", str(tmp_path / "dataset"), *args]
        return CliRunner().invoke(cli, line, prog_name="fibcore")

    result = run("--dry-run")
    assert result.exit_code == 1
    assert "rmsnorm_h64.json: rmsnorm_h64: new" in result.stdout
    assert result.stdout.count("  repaired: $.") == 4
    assert "refused: gqa_paged_decode_h4_kv128_d16_ps1.json $.axes" in result.stderr
    assert "1 imported: 1 new, 4 repairs; 1 refused (dry run" in result.stdout
    data = json.loads(run("--json").stdout)
    assert data["counts"]["refused"] == 1
    assert data["kernels"][0]["repairs"][0]["place"] == "$.check"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    return " + "1 + " * 900 + "1\n", "nested too deeply"),
        ("    return " + "(" * 150 + "1" + ")" * 150 + "\n", "outputs"),
        ("    return " + "not " * 500 + "1\n", "nested too deeply"),
        ("    a = b\n    b = a\n    return a\n", None),
        ("    a, b = b, a\n    a = c\n    c = b\n    b = c\n    return b\n", None),
        ("    nonlocal weight\n", "does not compile"),
        ("    x: int = 1\n    global x\n", "does not compile"),
    ],
)
def test_references_of_no_sense_are_an_error_of_their_file(
    tmp_path: Path, body: str, message: str | None
) -> None:
    source = PREAMBLE + "def _reference(hidden_states, weight):\n" + body
    (tmp_path / "a.json").write_text(json.dumps(norm(reference=source)))
    report = import_trace(tmp_path, dataset=tmp_path / "ds")
    found = " ".join(str(error) for error in report.refused)
    assert message is None or message in found or not report.refused
    assert not report.errors


@pytest.mark.skipif(os.name != "posix", reason="names of bytes are POSIX's")
def test_a_file_whose_name_is_no_text_is_refused_and_the_others_come_in(tmp_path: Path) -> None:
    folder = tmp_path / "dump"
    folder.mkdir()
    (folder / "good.json").write_text(json.dumps(norm()))
    Path(os.fsdecode(os.fsencode(folder) + b"/a\xe9.json")).write_text(json.dumps(norm()))
    report = import_trace(folder, dataset=tmp_path / "ds")
    (refused,) = report.refused
    assert "not UTF-8" in refused.message
    assert refused.where == "a\\udce9.json"
    assert [kernel.name for kernel in report.kernels] == ["rmsnorm_h64"]


@pytest.mark.skipif(os.name != "posix", reason="FIFOs are POSIX's")
def test_a_fifo_among_dumps_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    (tmp_path / "good.json").write_text(json.dumps(norm()))
    assert len(read_trace(tmp_path).files) == 1
    with pytest.raises(TraceError):
        read_trace(tmp_path / "a.json")
