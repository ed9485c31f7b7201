"""Right and wrong implementations, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_attn_residual.definitions import is_known

_SCORES = "torch.matmul(streams, score_weight) * root"


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for a definition with other inputs."""
    if not is_known(definition):
        return ()
    return (
        *wrapped(definition, "streams in another order", right=True, blocks="blocks.flip(1)"),
        *rewritten(
            definition,
            "sums of products, one by one",
            "torch.bmm(weights[:, None], streams)[:, 0]",
            "(weights[..., None] * streams).sum(1)",
            right=True,
        ),
        *rewritten(definition, "a mean", _SCORES, f"0 * {_SCORES}"),
        *rewritten(
            definition, "streams are not normalised", _SCORES, _SCORES.replace(" * root", "")
        ),
        *rewritten(definition, "twice the scores", _SCORES, f"2 * {_SCORES}"),
        *rewritten(
            definition,
            "normalised streams are weighed",
            "torch.bmm(weights[:, None], streams)",
            "torch.bmm(weights[:, None], streams * root[..., None] * 0.9)",
        ),
        *wrapped(definition, "the stream of now is left out", prefix_sum="blocks[:, 0]"),
        *wrapped(definition, "streams of the token before", blocks="blocks.roll(1, 0)"),
        *wrapped(definition, "the stream of now goes through", result="prefix_sum.clone()"),
        *wrapped(definition, "the result is 2 % too large", result="result * 1.02"),
    )
