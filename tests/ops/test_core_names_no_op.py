"""The core names no op type: what an op needs goes through hooks.

Strings, identifiers, keywords and keys of every module of fibcore are looked at; comments and
docstrings are not, which may give examples.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import fibcore

ROOT = Path(fibcore.__file__).parent
OPS = re.compile(
    r"gqa|mla|moe|gemm(?!a)|rms_?norm|page_?size|fibcore_op_(?!types)\w", re.IGNORECASE
)

# What else has such a name: where (below fibcore/), the whole text, and what it is.
ALLOWED = (
    ("configs/", r"(use_|:)?m(la|oe)\.?|moe_\w+|rms_norm_eps", "keys of config.json, params.json"),
    ("configs/", r"(qwen\d|glm\d)_moe|_QWEN_MOE|_MLA", "model types of transformers, their keys"),
    ("elaborate/", r"RMSNorm", "a class of torch"),
    ("elaborate/", r"deep_gemm", "a package that SGLang imports"),
    ("elaborate/", r"moe", "a word in keys of config.json"),
    ("elaborate/", r"FusedMoE|\.srt\.layers\.moe\..*", "names in SGLang's source"),
    (
        "elaborate/sglang/",
        r"try_get_optimal_moe_config|srt\.layers\.moe\.\w+",
        "names in its source",
    ),
    ("elaborate/sglang/kernels/", r"(sglang|deep_gemm)\..*", "names of functions in the source"),
    ("elaborate/sglang/", r"\w+_moe_kernel|\w+_mla_\w+|MLATokenToKVPool", "names in the source"),
    ("elaborate/", r"fbgemm_fp8|moe_wna16", "quantisation methods of SGLang"),
    (
        "elaborate/",
        r"page_size|moe_[td]p|moe_dp_size|moe_dense_tp_size",
        "server arguments of SGLang",
    ),
    (
        "elaborate/sglang/launch/",
        r"moe_kernel_config|a2a_moe|initialize_\w+_config",
        "names of functions in the source",
    ),
    ("elaborate/sglang/", r"MLA", "a method of SGLang's attention backends"),
    ("extraction/drafts.py", r"moe_(runner|a2a)_backend", "server arguments of SGLang"),
    ("ops/authoring/", r"BailingMoELinearAttention", "a class of SGLang"),
    ("ops/authoring/", r"flashmla", "a value of a server argument of SGLang"),
    ("reports/sizes/", r"FusedMoE", "a class of SGLang"),
    ("validation/", r"flashinfer\.norm\.rmsnorm", "an example of a qualified name in a message"),
    ("", r"SC_PAGE_SIZE", "a setting of the operating system"),
)


def words(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every identifier and string of a module but its docstrings."""
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and id(node) not in docstrings:
                yield line, node.value
            continue
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            text = getattr(node, field, None)
            if isinstance(text, str):
                yield line, text


def named(file: Path) -> Iterator[str]:
    where = file.relative_to(ROOT).as_posix()
    for line, text in words(ast.parse(file.read_text(encoding="utf-8"))):
        for match in OPS.finditer(text):
            if not any(where.startswith(w) and re.fullmatch(p, text) for w, p, _ in ALLOWED):
                yield f"{where}:{line}: {match[0]} in {text!r}"


def test_the_core_names_no_op_type() -> None:
    found = {str(file.relative_to(ROOT)): list(named(file)) for file in sorted(ROOT.rglob("*.py"))}
    assert {file: words for file, words in found.items() if words} == {}
