"""Lines of FlashInfer's benchmark, one a case, as `--testlist` of its script takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from fibcore.ops.exports import Exported, ExportedFile, ExportRequest, ServedKernel

KEYS = (1024, 8192)
"""Keys of a sequence at which attention is wanted."""

DECODE_BATCH = 256
"""The most sequences of a decode batch; more rows than that are a prefill's queries."""


def testlist(file: str, lines: Iterable[str], left_out: Mapping[str, str]) -> Exported:
    """A file of lines, each once; none where there is no line.

    Args:
        file: Its path.
        lines: The lines.
        left_out: Kernels that the benchmark cannot have, by name, with the reason.
    """
    rows = tuple((line,) for line in dict.fromkeys(lines))
    text = "".join(f"{line}\n" for (line,) in rows)
    files = (ExportedFile(file, text),) if rows else ()
    return Exported(files, ("line",), rows, left_out)


def attention_testlist(
    request: ExportRequest, file: str, options: Callable[[ServedKernel], str | None]
) -> Exported:
    """Lines for attention: batches of decodes, and prefills of one sequence.

    Args:
        request: What is asked for.
        file: The path of the file.
        options: The benchmark's name for a kernel and the options that state its sizes; None
            where it has none for what the kernel computes.
    """
    lines: list[str] = []
    left_out: dict[str, str] = {}
    for served in request.kernels:
        name, stated = served.definition.name, options(served)
        if stated is None:
            left_out[name] = "FlashInfer's benchmark has no option for it"
            continue
        lines += (
            f"--routine {stated} {batch} --case_tag {name}" for batch in _batches(served, request)
        )
    return testlist(file, lines, left_out)


def _batches(served: ServedKernel, request: ExportRequest) -> Iterator[str]:
    """Decode: one query for each row. Prefill: as many queries as rows, of one sequence."""
    for rows in request.rows:
        if "stage:decode" in served.kernel.tags:
            if rows <= DECODE_BATCH:
                for keys in KEYS:
                    yield f"--batch_size {rows} --s_qo 1 --s_kv {keys}"
        elif rows > DECODE_BATCH:
            yield f"--batch_size 1 --s_qo {rows} --s_kv {rows} --causal"
