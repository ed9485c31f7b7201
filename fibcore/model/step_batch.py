"""What one step of a server is given."""

from __future__ import annotations

import attrs


@attrs.frozen
class StepBatch:
    """What a step is given.

    Attributes:
        stage: "decode" or "prefill".
        sequences: Sequences.
        tokens: Tokens of all sequences that go through the model.
        keys: Keys of each sequence, those of the step among them.
    """

    stage: str
    sequences: int
    tokens: int
    keys: int

    def __str__(self) -> str:
        if self.tokens == self.sequences:
            return f"{self.sequences} sequences with {self.keys} keys each"
        return f"{self.tokens} tokens of {self.sequences} sequences"
