"""Counting of what a kernel costs: bytes from shapes, and what attention sees of its sequences."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import attrs

from fibcore.model.cost import Cost
from fibcore.model.definition import Definition
from fibcore.model.shapes import tensor_bytes

Values = Mapping[str, Sequence[int]]
"""Elements of integer inputs, by name."""


def moved(
    definition: Definition,
    axes: Mapping[str, int],
    flops: int,
    dtype: str,
    *,
    instead: Mapping[str, int] | None = None,
) -> Cost:
    """The cost of a kernel that reads its inputs and writes its outputs once.

    Args:
        definition: The definition.
        axes: Sizes of the var axes.
        flops: Operations.
        dtype: Dtype in which they are done.
        instead: Bytes that are read of inputs of which not all is.
    """
    read = {name: tensor_bytes(spec, definition, axes) for name, spec in definition.inputs.items()}
    written = sum(tensor_bytes(spec, definition, axes) for spec in definition.outputs.values())
    return Cost(flops, dtype, sum((read | dict(instead or {})).values()), written)


def whole(definition: Definition, axes: Mapping[str, int]) -> Cost:
    """The cost of a kernel of which nothing but its shapes is known: certain are its outputs."""
    dtype = next((spec.dtype for spec in definition.inputs.values() if spec.shape), "float32")
    cost = moved(definition, axes, 0, dtype)
    least = Cost(0, dtype, 0, cost.bytes_written)
    assumes = "every input is read whole; operations are not counted"
    return attrs.evolve(cost, assumes=assumes, least=least)


@attrs.frozen
class Attended:
    """What the queries of a batch of sequences see of their keys.

    Attributes:
        pairs: Pairs of a query and a key that it sees, in one head.
        keys: Different keys that are seen.
        listed: Entries of the page table that name them, one a page; 0 without pages.
        assumes: As in `Cost`.
        least: As in `Cost`.
    """

    pairs: int
    keys: int
    listed: int
    assumes: str = ""
    least: Attended | None = None


def attended(
    definition: Definition,
    axes: Mapping[str, int],
    values: Values,
    *,
    tokens_per_page: int | None = None,
    window: int | None = None,
    chunk: int | None = None,
    causal: bool = True,
) -> Attended:
    """What is seen in attention whose inputs have FlashInfer's names.

    With `qo_indptr` among the inputs a sequence has any number of queries, the last one aligned
    with its last key; without it, one. With the offsets of all sequences the count is exact; from
    axes alone sequences are taken to be alike, and each query to see its own key at least.

    Args:
        definition: A definition with the axes batch_size or len_indptr, total_q, total_kv,
            num_kv_indices and the inputs qo_indptr, kv_indptr, kv_indices and kv_last_page_len,
            those of them that its form has.
        axes: Sizes of the var axes.
        values: The elements of those inputs, as far as they are known.
        tokens_per_page: Tokens in a page; None where keys stand one after the other.
        window: Keys that a query sees at most, its own included; None for all.
        chunk: Keys of a chunk, counted from a sequence's first: a query sees those of its own
            key's chunk alone. None for no chunks; not beside a window.
        causal: Whether a query sees no key behind its own; without it, a query sees all keys.
    """
    mask = _Mask(window, chunk, causal)
    keys = _lengths(values, tokens_per_page)
    queries = None if keys is None else _queries(definition, values, len(keys))
    if keys is None or queries is None or not _go_together(keys, queries):
        return _alike(definition, axes, tokens_per_page, mask)
    seen = [mask.keys(n, m) for n, m in zip(queries, keys, strict=True)]
    pairs = sum(mask.pairs(n, m) for n, m in zip(queries, keys, strict=True))
    total = sum(seen)
    if tokens_per_page is None:
        return Attended(pairs, total, 0)
    pages = sum(-(-n // tokens_per_page) for n in seen)
    table = values.get("kv_indices")
    if table is not None:
        different = _different(table, values["kv_indptr"], keys, seen, tokens_per_page)
        return Attended(pairs, different, pages)
    least = Attended(pairs, max(seen, default=0), pages)
    return Attended(pairs, total, pages, "no page is shared", least)


def attention_cost(seen: Attended, count: Callable[[Attended], Cost]) -> Cost:
    """The cost of attention that sees this, with what is assumed and what is certain.

    Args:
        seen: What is seen.
        count: The cost where that much is seen.
    """
    cost = count(seen)
    if seen.least is None:
        return cost
    return attrs.evolve(cost, assumes=seen.assumes, least=count(seen.least))


def pairs_seen(queries: int, keys: int, window: int | None = None) -> int:
    """Pairs of a query and a key that it sees: query i sees the keys j <= i + keys - queries."""
    first = keys - queries + 1  # keys that the first query sees; below 1 it sees none
    start = max(first, 1)
    bound = keys if window is None else window
    rising = max(0, min(keys, bound) - start + 1)  # queries that see fewer keys than the bound
    full = max(0, keys - start + 1) - rising
    return (2 * start + rising - 1) * rising // 2 + full * bound


def keys_seen(queries: int, keys: int, window: int | None = None) -> int:
    """Keys of a sequence that a query of it sees."""
    if queries == 0:
        return 0
    first = max(keys - queries + 1, 1)
    return keys - (0 if window is None else max(0, min(first, keys) - window))


def chunk_pairs_seen(queries: int, keys: int, chunk: int) -> int:
    """As `pairs_seen`, of keys of the own key's chunk alone."""

    def up_to(count: int) -> int:
        """Pairs of the first so many keys' own queries."""
        whole, rest = divmod(count, chunk)
        return whole * chunk * (chunk + 1) // 2 + rest * (rest + 1) // 2

    return up_to(keys) - up_to(max(0, keys - queries))


def chunk_keys_seen(queries: int, keys: int, chunk: int) -> int:
    """As `keys_seen`, of keys of the own key's chunk alone."""
    if min(queries, keys) == 0:
        return 0
    return keys - max(keys - queries, 0) // chunk * chunk


@attrs.frozen
class _Mask:
    """Which keys a query sees: see `attended`."""

    window: int | None
    chunk: int | None
    causal: bool

    @property
    def local(self) -> bool:
        return self.window is not None or self.chunk is not None

    def pairs(self, queries: int, keys: int) -> int:
        """Pairs of a query and a key that it sees, in one sequence."""
        if not self.causal:
            return queries * keys
        if self.chunk is not None:
            return chunk_pairs_seen(queries, keys, self.chunk)
        return pairs_seen(queries, keys, self.window)

    def keys(self, queries: int, keys: int) -> int:
        """Keys that a query sees, in one sequence."""
        if not self.causal:
            return keys if queries else 0
        if self.chunk is not None:
            return chunk_keys_seen(queries, keys, self.chunk)
        return keys_seen(queries, keys, self.window)


def _lengths(values: Values, tokens_per_page: int | None) -> Sequence[int] | None:
    """Keys of each sequence; None where they are not known."""
    starts = values.get("kv_indptr")
    if starts is None:
        return None
    counts = [stop - start for start, stop in itertools.pairwise(starts)]
    if tokens_per_page in (None, 1):
        return counts
    last = values.get("kv_last_page_len")
    if last is None or tokens_per_page is None or len(last) != len(counts):
        return None
    return [
        (pages - 1) * tokens_per_page + end if pages else 0
        for pages, end in zip(counts, last, strict=True)
    ]


def _go_together(keys: Sequence[int], queries: Sequence[int]) -> bool:
    """Whether these are lengths of the same sequences; offsets from anywhere may be anything."""
    return len(keys) == len(queries) and min((*keys, *queries), default=0) >= 0


def _queries(definition: Definition, values: Values, sequences: int) -> Sequence[int] | None:
    """Queries of each sequence; None where they are not known."""
    if "qo_indptr" not in definition.inputs:
        return [1] * sequences
    starts = values.get("qo_indptr")
    return None if starts is None else [b - a for a, b in itertools.pairwise(starts)]


def _sequences(axes: Mapping[str, int]) -> int:
    return axes["batch_size"] if "batch_size" in axes else max(0, axes["len_indptr"] - 1)


def _different(
    table: Sequence[int],
    starts: Sequence[int],
    keys: Sequence[int],
    seen: Sequence[int],
    tokens_per_page: int,
) -> int:
    """Different keys among those seen; sequences with a common prefix share its pages."""
    if len(set(table)) == len(table):
        return sum(seen)
    held: dict[int, int] = {}
    for start, stop, length, left in zip(starts, starts[1:], keys, seen, strict=False):
        here = (length - 1) % tokens_per_page + 1  # in the last page
        for page in reversed(table[start:stop]):  # a window sees the last ones
            taken = min(left, here)
            held[page] = max(held.get(page, 0), taken)
            left, here = left - taken, tokens_per_page
    return sum(held.values())


def _alike(
    definition: Definition,
    axes: Mapping[str, int],
    tokens_per_page: int | None,
    mask: _Mask,
) -> Attended:
    """The count from axes alone."""
    sequences = _sequences(axes)
    total_q = axes.get("total_q", sequences)
    pages = axes["total_kv"] if tokens_per_page is None else axes["num_kv_indices"]
    size = tokens_per_page or 1
    fewest = max(pages - sequences, 0) * size + min(pages, sequences)
    middle = (fewest + pages * size + 1) // 2  # last pages are half full
    pairs = keys = listed = 0
    for count, n, m in _split(sequences, total_q, middle):
        seen = mask.keys(n, m)
        pairs += count * mask.pairs(n, m)
        keys += count * seen
        listed += count * -(-seen // size) if tokens_per_page else 0
    if sequences == 1 and fewest == middle:
        return Attended(pairs, keys, listed)
    certain = _certainly(definition, sequences, total_q, fewest, tokens_per_page, mask)
    certain = Attended(
        min(certain.pairs, pairs), min(certain.keys, keys), min(certain.listed, listed)
    )
    words = "sequences are alike" + (" and share no page" if tokens_per_page else "")
    return Attended(pairs, keys, listed, words, certain)


def _certainly(
    definition: Definition,
    sequences: int,
    queries: int,
    keys: int,
    tokens_per_page: int | None,
    mask: _Mask,
) -> Attended:
    """What any sequences with this many queries and keys in all see at least."""
    window = mask.window
    # Sequences share pages at most until all are the same but for their own last key.
    seen = keys if tokens_per_page is None else -(-keys // max(1, sequences))
    if "qo_indptr" in definition.inputs:
        # The sum over queries that see their own key grows faster than their number: least where
        # sequences are alike. A query of a sequence with more keys sees those besides.
        own = min(queries, keys)
        pairs = sum(n * mask.pairs(m, m) for n, m, _ in _split(sequences, own, 0))
        if mask.chunk is not None:  # a query may be the first of its chunk
            pairs = own
        seen = min(seen, -(-own // max(1, sequences))) if mask.local else seen
    elif mask.chunk is not None:  # its own key, the first of its chunk
        pairs = min(sequences, keys)
        seen = min(seen, 1)
    elif window is None:
        pairs = keys
    else:
        # It grows slower with the keys: least where one sequence has nearly all of them.
        others = max(0, min(sequences, keys) - 1)
        pairs = others + min(max(0, keys - others), window)
        seen = min(seen, window)
    return Attended(pairs, seen, -(-seen // tokens_per_page) if tokens_per_page else 0)


def _split(parts: int, first: int, second: int) -> list[tuple[int, int, int]]:
    """Two numbers as sums of equal ones, as nearly as there are: how many, and of what size."""
    if parts < 1:
        return []
    (a, more_a), (b, more_b) = divmod(first, parts), divmod(second, parts)
    bounds = sorted({0, more_a, more_b, parts})
    return [
        (stop - start, a + (start < more_a), b + (start < more_b))
        for start, stop in itertools.pairwise(bounds)
    ]
