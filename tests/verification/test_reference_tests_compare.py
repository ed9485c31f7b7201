"""The generated conftest's own parts: comparison, tolerances, SGLang's functions, evidence."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibcore.verification import evidence

torch = pytest.importorskip("torch", reason="torch is not installed")


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


TEMPLATE = Path(evidence.__file__).with_name("emitted") / "conftest_template.py"
conftest = _load(TEMPLATE)
toy = _load(Path(__file__).with_name("reference_tests_toy.py"))
NAN, INF = float("nan"), float("inf")


def compare(a: list[float], e: list[float], ratio: float = 1.0, atol: float = 0.1) -> Any:
    return conftest.compare_tensors(torch.tensor(a), torch.tensor(e), 0.0, atol, ratio)


# --- comparison ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actual", "expected", "inside"),
    [
        ([1.0, 2.0], [1.0, 2.05], True),
        ([1.0, 2.0], [1.0, 2.2], False),
        ([NAN, 1.0], [NAN, 1.0], True),
        ([NAN, 1.0], [1.0, 1.0], False),
        ([1.0, 1.0], [NAN, 1.0], False),
        ([-INF, 1.0], [-INF, 1.0], True),
        ([INF, 1.0], [-INF, 1.0], False),
        ([INF, 1.0], [1.0, 1.0], False),
        ([-INF], [-INF], True),
        ([NAN, NAN], [NAN, NAN], False),  # nothing was compared
        ([], [], True),
    ],
)
def test_inside(actual: list[float], expected: list[float], inside: bool) -> None:
    assert compare(actual, expected).inside is inside


def test_tolerance_is_relative_to_the_expected_value() -> None:
    one, other = torch.tensor([100.0]), torch.tensor([110.5])
    assert conftest.compare_tensors(one, other, 0.1, 0.0, 1.0).inside
    assert not conftest.compare_tensors(other, one, 0.1, 0.0, 1.0).inside


def test_ratio_forgives_a_share_but_no_nan() -> None:
    expected = [0.0] * 20
    assert compare([1.0] * 3 + [0.0] * 17, expected, ratio=0.85).inside
    assert not compare([1.0] * 4 + [0.0] * 16, expected, ratio=0.85).inside
    assert not compare([NAN] + [0.0] * 19, expected, ratio=0.85).inside
    assert compare([1.0] + [0.0] * 9, [0.0] * 10, ratio=0.9).inside


def test_figures_and_text_name_the_worst() -> None:
    actual = torch.zeros(2, 4)
    expected = torch.zeros(2, 4)
    expected[0] = 1.0
    actual[0] = 1.0
    actual[1, 2], actual[0, 3] = 7.0, 1.5
    found = conftest.compare_tensors(actual, expected, 1e-5, 1e-5, 1.0)
    assert found.figures["outside"] == 2
    assert found.figures["max_abs_error"] == 7.0
    assert found.figures["mean_abs_error"] == pytest.approx(7.5 / 8, rel=1e-2)
    assert found.figures["max_rel_error"] == 0.5
    assert found.figures["mean_rel_error"] == pytest.approx(0.5 / 4)
    assert found.figures["cosine_similarity"] == pytest.approx(0.3, abs=0.1)
    worst = found.text.partition("worst elements:")[2].split("\n")[1:]
    assert worst[0].strip() == "[1, 2]: got 7, expected 0"
    assert worst[1].strip() == "[0, 3]: got 1.5, expected 1"
    assert "2 of 8 elements (25.000%)" in found.text
    json.dumps(found.figures, allow_nan=False)


def test_nan_on_one_side_is_the_worst() -> None:
    text = compare([5.0, NAN], [0.0, 1.0]).text
    assert "NaN or infinite on one side only, or of other sign: 1 elements" in text
    assert text.partition("worst elements:")[2].split("\n")[1].strip().startswith("[1]: got nan")


# --- tolerances ----------------------------------------------------------------------------------


def tolerance(
    dtype: str, inputs: str = "bfloat16", override: float | None = None, **own: Any
) -> Any:
    definition = {"inputs": {"x": {"dtype": inputs}}, "outputs": {"y": {"dtype": dtype}}}
    return conftest.tolerance_of(definition, "y", SimpleNamespace(**own), override)


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [
        ("float32", (1e-5, 1e-5, 1.0)),
        ("float16", (1e-3, 1e-3, 1.0)),
        ("bfloat16", (1e-2, 8e-3, 1.0)),
        ("float8_e4m3fn", (2e-1, 1e-1, 0.85)),
        ("int32", (0.0, 0.0, 1.0)),
        ("bool", (0.0, 0.0, 1.0)),
    ],
)
def test_default_tolerances(dtype: str, wanted: tuple[float, float, float]) -> None:
    assert tolerance(dtype) == wanted


def test_fp8_inputs_make_every_floating_output_coarse() -> None:
    assert tolerance("bfloat16", "float8_e4m3fn") == (2e-1, 1e-1, 0.85)
    assert tolerance("int32", "float8_e4m3fn") == (0.0, 0.0, 1.0)


def test_template_and_option_override() -> None:
    own = {"TOLERANCES": {"float32": (1.0, 2.0)}, "MATCHED_RATIO": {"y": 0.5}}
    assert tolerance("float32", **own) == (1.0, 2.0, 0.5)
    assert tolerance("float32", TOLERANCES={"y": (3.0, 4.0), "float32": (1.0, 2.0)}) == (3, 4, 1)
    assert tolerance("float32", override=0.25, **own) == (0.25, 0.25, 0.5)
    assert tolerance("int32", override=0.25) == (0.0, 0.0, 1.0)


# --- SGLang's functions --------------------------------------------------------------------------

SOURCE = """\ufeff
from sglang.nowhere import decorate, THERE
raise RuntimeError("imported")

@decorate
def helper(x: Missing) -> Missing:
    return x + 1

def outer(x):
    return helper(x) * scale

def defaulted(x, size=THERE):
    return x

if THERE:
    def branch(x):
        return 1
else:
    def branch(x):
        return 2

try:
    def tried(x):
        return 3
except ImportError:
    pass

def twice(x):
    return 1

def twice(x):
    return 2

class Layer(decorate.Base):
    size: Missing = THERE

    @decorate
    def forward(self, x: Optional[torch.Tensor] = None, y: Missing = 1):
        total: Missing = x
        return F.relu(total) * math.pi + self.bias
"""


@pytest.fixture
def source(tmp_path: Path) -> Any:
    package = tmp_path / "sglang"
    (package / "srt" / "layers").mkdir(parents=True)
    (package / "srt" / "layers" / "layer.py").write_text(SOURCE, encoding="utf-8")
    (package / "_version.py").write_text('__version__ = version = "1.2.3"\n')
    return conftest.SGLangSource(package)


FILE = "srt/layers/layer.py"


def test_method_alone(source: Any) -> None:
    forward = source(FILE, "Layer.forward")
    assert forward(SimpleNamespace(bias=1.0), torch.tensor(-1.0)).item() == 1.0
    assert source.version == "1.2.3"
    assert list(source.files) == [FILE]


def test_functions_together_and_namespace(source: Any) -> None:
    outer, _ = source.several(FILE, "outer", "helper", scale=10)
    assert outer(1) == 20
    helper = source(FILE, "helper")
    assert source(FILE, "outer", helper=helper, scale=2)(1) == 4


def test_definition_that_holds_is_the_last(source: Any) -> None:
    assert source(FILE, "twice")(0) == 2
    assert source(FILE, "tried")(0) == 3


@pytest.mark.parametrize(
    ("file", "qualname", "said"),
    [
        ("srt/layers/gone.py", "f", "no such file"),
        (FILE, "gone", "0 functions gone"),
        (FILE, "Gone.forward", "0 classes Gone"),
        (FILE, "Layer.gone", "0 functions Layer.gone"),
        (FILE, "branch", "2 functions branch"),
        (FILE, "defaulted", "need 'THERE'"),
    ],
)
def test_missing_function_is_unavailable(source: Any, file: str, qualname: str, said: str) -> None:
    with pytest.raises(conftest.GroundTruthUnavailableError, match=said) as caught:
        source(file, qualname)
    assert "SGLang 1.2.3" in str(caught.value)


def test_has(source: Any) -> None:
    assert source.has(FILE, "Layer.forward")
    assert not source.has(FILE, "Layer.backward")


def test_layouts(tmp_path: Path) -> None:
    toy.write_sglang(tmp_path / "repo")
    package = tmp_path / "repo" / "python" / "sglang"
    for place in (tmp_path / "repo", package.parent, package):
        assert conftest._sglang_package(place) == package
    assert conftest._sglang_package(tmp_path) is None


def test_version_of_a_clone(tmp_path: Path) -> None:
    package = tmp_path / "python" / "sglang"
    (package / "srt").mkdir(parents=True)
    (tmp_path / ".git" / "refs").mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/main\n")
    (tmp_path / ".git" / "refs" / "main").write_text("0123456789abcdef\n")
    assert conftest.sglang_version(package) == "git 0123456789ab"


# --- ground truths -------------------------------------------------------------------------------


def _raise(error: BaseException) -> Any:
    def entry(**_: object) -> None:
        raise error

    return SimpleNamespace(entry=entry)


TRUTH = {"name": "t", "kind": "torch", "entry": "entry", "packages": ()}


@pytest.mark.parametrize(
    "error",
    [
        NotImplementedError("not here"),
        ImportError("no kernel"),
        FileNotFoundError("ninja"),
        RuntimeError("Ninja build failed. Ninja output:"),
        torch.cuda.OutOfMemoryError("more memory than this GPU has"),
    ],
)
def test_ground_truth_may_decline(error: Exception) -> None:
    with pytest.raises(conftest.GroundTruthUnavailableError, match=str(error)):
        conftest.run_ground_truth(_raise(error), TRUTH, {}, None)


@pytest.mark.parametrize("error", [RuntimeError("boom"), NameError("typo"), KeyError("x")])
def test_ground_truth_that_raises_is_a_failure(error: Exception) -> None:
    with pytest.raises(AssertionError, match="nothing was compared"):
        conftest.run_ground_truth(_raise(error), TRUTH, {}, None)


def test_name_that_sglang_lacks_is_unavailable(source: Any) -> None:
    outer = source(FILE, "outer")
    module = SimpleNamespace(entry=lambda x: outer(x))
    with pytest.raises(conftest.GroundTruthUnavailableError, match="helper"):
        conftest.run_ground_truth(module, TRUTH, {"x": 1}, None)


@pytest.mark.parametrize(
    ("capability", "reason"),
    [((8, 0), "sm90 to any, GPU has sm80"), ((9, 0), ""), ((10, 3), "")],
)
def test_capability(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], reason: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GPU")
    truth = {**TRUTH, "device": "cuda", "min_capability": (9, 0), "max_capability": None}
    found = conftest.why_unavailable(truth, torch.device("cuda"), None)
    assert reason in found
    assert bool(found) is bool(reason)


def test_missing_package_has_its_name() -> None:
    truth = {**TRUTH, "device": "any", "packages": ("no_such_package_at_all",)}
    found = conftest.why_unavailable(truth, torch.device("cpu"), None)
    assert found == "the package no_such_package_at_all is not installed"


# --- tensors -------------------------------------------------------------------------------------

DEFINITION = {
    "axes": {"n": {"type": "var"}, "k": {"type": "const", "value": 4}},
    "inputs": {},
    "outputs": {"y": {"shape": ["n", "k"], "dtype": "float32"}, "s": {"dtype": "int32"}},
}


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (torch.zeros(2, 5), "k = 4"),
        (torch.zeros(4), r"\[n, k\]"),
        (torch.zeros(2, 4, dtype=torch.float16), "expected float32"),
        ([1.0], "not a tensor"),
    ],
)
def test_wrong_shapes_and_dtypes(y: Any, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        conftest.check_tensors(
            DEFINITION, "outputs", {"y": y, "s": 1}, {}, torch.device("cpu"), "it"
        )


def test_var_axes_are_bound_once() -> None:
    sizes: dict[str, int] = {}
    values = {"y": torch.zeros(2, 4), "s": torch.tensor(1, dtype=torch.int32)}
    conftest.check_tensors(DEFINITION, "outputs", values, sizes, torch.device("cpu"), "it")
    assert sizes == {"n": 2, "k": 4}
    with pytest.raises(AssertionError, match="n = 3"):
        conftest.check_tensors(DEFINITION, "outputs", values, {"n": 3}, torch.device("cpu"), "it")


def test_outputs_by_order_and_name() -> None:
    assert conftest.named_outputs(DEFINITION, (1, 2), "it") == {"y": 1, "s": 2}
    assert conftest.named_outputs(DEFINITION, {"s": 2, "y": 1}, "it") == {"y": 1, "s": 2}
    for wrong in (1, (1,), (1, 2, 3), {"y": 1}):
        with pytest.raises(AssertionError, match="it returned"):
            conftest.named_outputs(DEFINITION, wrong, "it")


def test_same_bits() -> None:
    x = torch.tensor([NAN, 1.0])
    assert conftest.same_bits(x, x.clone())
    assert not conftest.same_bits(x, torch.tensor([NAN, 2.0]))
    assert not conftest.same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert conftest.same_bits(x.to(torch.float8_e4m3fn), x.to(torch.float8_e4m3fn))
    assert conftest.same_bits(torch.tensor(1.0), torch.tensor(1.0))
    assert conftest.same_bits(NAN, NAN)
    assert not conftest.same_bits(1, 2)
    gaps = torch.arange(12.0).reshape(3, 4)[:, ::2]
    assert conftest.same_bits(gaps, conftest.clone_inputs({"x": gaps})["x"])


def test_overlapping_inputs_are_copied_as_they_are() -> None:
    buffer = torch.arange(12.0)
    windows = buffer.as_strided((1000, 8), (0, 1), 4)
    copy = conftest.clone_inputs({"x": windows})["x"]
    assert copy.untyped_storage().nbytes() == 48
    assert torch.equal(copy, windows)
    assert conftest.same_bits(windows, copy)
    copy[0, 0] = 7.0
    assert windows[0, 0] == 4.0
    assert not conftest.same_bits(windows, copy)


# --- evidence ------------------------------------------------------------------------------------

RUNS = st.fixed_dictionaries(
    {
        "reference_sha256": st.sampled_from(["a", "b"]),
        "result": st.sampled_from(evidence.RESULTS),
        "device": st.fixed_dictionaries(
            {"type": st.sampled_from(["cpu", "cuda"]), "name": st.sampled_from(["x", "y"])}
        ),
        "ground_truths": st.lists(
            st.fixed_dictionaries(
                {"name": st.just("n"), "kind": st.sampled_from(evidence.STRENGTH)}
            ),
            max_size=2,
        ),
    }
)


@given(st.lists(RUNS, max_size=6))
def test_conftest_and_fibcore_merge_alike(runs: list[dict[str, Any]]) -> None:
    ours: tuple[Any, ...] = ()
    theirs: list[dict[str, Any]] = []
    for run in runs:
        ours, theirs = evidence.merge_run(ours, run), conftest.merge_run(theirs, run)
        assert list(ours) == theirs
    assert {run["reference_sha256"] for run in ours} == {r["reference_sha256"] for r in runs[-1:]}


def test_constants_agree() -> None:
    assert conftest.STRENGTH == evidence.STRENGTH
