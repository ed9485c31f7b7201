"""How FlashInfer is called, against stand-ins that have its signatures and check what they get.

The stand-ins have the parameters of FlashInfer 0.6.13, in order, or those that 0.7.4 does not
deprecate, and compute from what `plan` was given alone; whether FlashInfer's kernels agree is for a
machine with a GPU to show.
"""
# ruff: noqa: ARG002 - the stand-ins have the signatures of FlashInfer

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from mla_kit import generator, load_run, load_template, small_definitions

from fibcore.plugin import Definition
from fibcore.testing.harness import harness
from fibcore_op_mla import fibcore_ground_truths, ground_truths

torch = pytest.importorskip("torch")

SMALL = small_definitions()
DIVIDING = small_definitions(heads=4)


def dense(q: Any, k: Any, v: Any, scale: float, causal: bool) -> tuple[Any, Any]:
    """One sequence: q [n, heads, d], k [m, heads, d], v [m, heads, e], last aligned with last."""
    logits = torch.einsum("qhd,khd->hqk", q.float(), k.float()) * scale
    if causal:
        seen = torch.ones(logits.shape[1:], dtype=torch.bool).tril(len(k) - len(q))
        logits = logits.masked_fill(~seen, -torch.inf)
    output = torch.einsum("hqk,khe->qhe", logits.softmax(-1), v.float())
    return output.to(q.dtype), logits.logsumexp(-1).T / torch.log(torch.tensor(2.0))


class Paged:
    """`flashinfer.mla.BatchMLAPagedAttentionWrapper`."""

    made: list[str] = []  # noqa: RUF012 - the backends asked for, over all instances

    def __init__(
        self,
        float_workspace_buffer: Any,
        use_cuda_graph: bool = False,
        qo_indptr: Any = None,
        kv_indptr: Any = None,
        kv_indices: Any = None,
        kv_len_arr: Any = None,
        backend: str = "auto",
    ) -> None:
        assert float_workspace_buffer.numel() >= 128 * 1024 * 1024
        self.made.append(backend)

    def plan(
        self,
        qo_indptr: Any,
        kv_indptr: Any,
        kv_indices: Any,
        kv_len_arr: Any,
        num_heads: int,
        head_dim_ckv: int,
        head_dim_kpe: int,
        page_size: int,
        causal: bool,
        sm_scale: float,
        q_data_type: Any,
        kv_data_type: Any,
        use_profiler: bool = False,
    ) -> None:
        for indices in (qo_indptr, kv_indptr, kv_indices, kv_len_arr):
            assert indices.dtype == torch.int32
        assert bool((kv_len_arr > 0).all())
        assert torch.equal(kv_indptr.diff(), (kv_len_arr + page_size - 1) // page_size)
        assert len(kv_indices) == kv_indptr[-1]
        assert q_data_type == kv_data_type == torch.bfloat16
        assert isinstance(causal, bool)
        self.given = dict(locals())

    def run(
        self,
        q_nope: Any,
        q_pe: Any,
        ckv_cache: Any,
        kpe_cache: Any,
        out: Any = None,
        lse: Any = None,
        return_lse: bool = False,
    ) -> tuple[Any, Any]:
        assert return_lse
        given = self.given
        heads = given["num_heads"]
        assert q_nope.shape[1:] == (heads, given["head_dim_ckv"])
        assert q_pe.shape[1:] == (heads, given["head_dim_kpe"])
        assert bool(ckv_cache.isfinite().all())
        outputs, sums = [], []
        for i, length in enumerate(given["kv_len_arr"].tolist()):
            pages = given["kv_indices"][given["kv_indptr"][i] : given["kv_indptr"][i + 1]].long()
            rows = slice(given["qo_indptr"][i], given["qo_indptr"][i + 1])
            ckv = ckv_cache[pages].flatten(0, 1)[:length, None].expand(-1, heads, -1)
            kpe = kpe_cache[pages].flatten(0, 1)[:length, None].expand(-1, heads, -1)
            q = torch.cat((q_nope[rows], q_pe[rows]), -1)
            keys = torch.cat((ckv, kpe), -1)
            output, lse = dense(q, keys, ckv, given["sm_scale"], given["causal"])
            outputs.append(output)
            sums.append(lse)
        return torch.cat(outputs), torch.cat(sums)


class Metadata:
    """`flashinfer.mla.MLAPlanMetadata` of 0.7."""

    @staticmethod
    def csr(*, qo_indptr: Any, kv_indptr: Any, kv_indices: Any, kv_len_arr: Any) -> dict[str, Any]:
        return dict(locals())


class Paged07(Paged):
    """The wrapper as 0.7 wants to be called."""

    def plan(  # type: ignore[override]
        self,
        *,
        metadata: Any,
        query_layout: str = "packed",
        kv_cache_layout: str = "packed",
        lse_mode: str = "none",
        **sizes: Any,
    ) -> None:
        assert (query_layout, kv_cache_layout, lse_mode) == ("split", "split", "base2")
        super().plan(**metadata, **sizes)

    def run(  # type: ignore[override]
        self, *, query: Any, kv_cache: Any, return_lse: bool = False
    ) -> tuple[Any, Any]:
        return super().run(*query, *kv_cache, return_lse=return_lse)


class Ragged:
    """`flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper`."""

    def __init__(
        self,
        float_workspace_buffer: Any,
        kv_layout: str = "NHD",
        use_cuda_graph: bool = False,
        qo_indptr_buf: Any = None,
        kv_indptr_buf: Any = None,
        custom_mask_buf: Any = None,
        mask_indptr_buf: Any = None,
        backend: str = "auto",
    ) -> None:
        assert kv_layout == "NHD"
        Paged.made.append(backend)

    def plan(
        self,
        qo_indptr: Any,
        kv_indptr: Any,
        num_qo_heads: int,
        num_kv_heads: int,
        head_dim_qk: int,
        head_dim_vo: int | None = None,
        causal: bool = False,
        sm_scale: float | None = None,
        q_data_type: Any = "float16",
        kv_data_type: Any = None,
    ) -> None:
        assert q_data_type == kv_data_type == torch.bfloat16
        assert qo_indptr.dtype == kv_indptr.dtype == torch.int32
        assert bool((qo_indptr.diff() > 0).all())
        assert bool((kv_indptr.diff() > 0).all())
        assert isinstance(sm_scale, float)
        self.given = dict(locals())

    def run(self, q: Any, k: Any, v: Any, *, return_lse: bool = False) -> tuple[Any, Any]:
        assert return_lse
        given = self.given
        assert q.shape[1:] == (given["num_qo_heads"], given["head_dim_qk"])
        assert k.shape[1:] == (given["num_kv_heads"], given["head_dim_qk"])
        assert v.shape[1:] == (given["num_kv_heads"], given["head_dim_vo"])
        outputs, sums = [], []
        for i in range(len(given["qo_indptr"]) - 1):
            rows = slice(given["qo_indptr"][i], given["qo_indptr"][i + 1])
            keys = slice(given["kv_indptr"][i], given["kv_indptr"][i + 1])
            output, lse = dense(q[rows], k[keys], v[keys], given["sm_scale"], given["causal"])
            outputs.append(output)
            sums.append(lse)
        return torch.cat(outputs), torch.cat(sums)


@pytest.fixture(params=["0.6.13", "0.7.4"])
def flashinfer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    mla: dict[str, Any] = {"BatchMLAPagedAttentionWrapper": Paged}
    if request.param == "0.7.4":
        mla = {"BatchMLAPagedAttentionWrapper": Paged07, "MLAPlanMetadata": Metadata}
    module = SimpleNamespace(
        mla=SimpleNamespace(**mla),
        prefill=SimpleNamespace(BatchPrefillWithRaggedKVCacheWrapper=Ragged),
    )
    monkeypatch.setitem(sys.modules, "flashinfer", module)
    # The small head sizes of these tests are none that FlashInfer has.
    monkeypatch.setattr(ground_truths, "flashinfer_has", lambda *_: True)
    Paged.made.clear()
    return module


def compare(definition: Definition, outputs: Any, expected: Any) -> None:
    tolerances = load_template(definition.op_type)["TOLERANCES"]
    names = dict(zip(definition.outputs, ((1e-2, 8e-3), tolerances["lse"]), strict=True))
    for (name, (rtol, atol)), actual, wanted in zip(names.items(), outputs, expected, strict=True):
        compared = harness().compare_tensors(actual, wanted, rtol, atol, 1.0)
        assert compared.inside, f"{name}: {compared}"


@pytest.mark.usefixtures("flashinfer")
def test_flashinfer_is_not_asked_where_its_tiles_end_within_a_query() -> None:
    for name, definition in SMALL.items():  # of three heads
        template, data = load_template(definition.op_type), definition.to_dict()
        truth = (fibcore_ground_truths(definition) or ())[0]
        namespace: dict[str, Any] = {"__name__": "truth"}
        exec(truth.source, namespace)  # noqa: S102 - our own file
        inputs = template["make_inputs"](data, template["cases"](data)[0], "cpu", generator())
        if "paged_prefill" in name and "causal" in name:
            with pytest.raises(NotImplementedError, match="heads that divides 128, not 3"):
                namespace[truth.entry](**inputs)
        else:
            namespace[truth.entry](**inputs)


@pytest.mark.parametrize("name", DIVIDING)
@pytest.mark.parametrize("backend", ["fa3", "fa2"])
@pytest.mark.usefixtures("flashinfer")
def test_flashinfer_is_called_as_it_wants_to_be(name: str, backend: str) -> None:
    definition = DIVIDING[name]
    template, data = load_template(definition.op_type), definition.to_dict()
    truths = {t.entry.rpartition("_")[2]: t for t in fibcore_ground_truths(definition) or ()}
    truth = truths[backend]
    namespace: dict[str, Any] = {"__name__": "truth"}
    exec(truth.source, namespace)  # noqa: S102 - our own file
    for case in template["cases"](data):
        inputs = template["make_inputs"](data, case, "cpu", generator())
        expected = namespace[truth.entry](**inputs)
        compare(definition, load_run(definition.reference)(*inputs.values()), expected)
    assert set(Paged.made) == {backend}
