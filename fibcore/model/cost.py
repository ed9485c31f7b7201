"""What one call of a kernel costs: floating-point operations, and bytes that memory moves."""

from __future__ import annotations

import attrs


@attrs.frozen
class Cost:
    """The least work that an implementation has to do, whatever its algorithm.

    Every input byte that the result depends on is read once and every output byte is written once;
    what lies between stays on the chip. A product and its sum count as two operations.

    Attributes:
        flops: Operations of the products, and of what else is counted.
        dtype: The dtype in which these can be multiplied without losing what the inputs hold; it
            decides at which rate a GPU does them.
        bytes_read: Bytes of inputs.
        bytes_written: Bytes of outputs.
        assumes: What the numbers take for granted, where axes and known inputs do not tell it, as
            a sentence without a full stop: "sequences are of equal length". "" where they are
            counted.
        least: What is certain without that assumption, a cost that assumes nothing; None where
            `assumes` is "".
    """

    flops: int
    dtype: str
    bytes_read: int
    bytes_written: int
    assumes: str = ""
    least: Cost | None = None

    @property
    def bytes_moved(self) -> int:
        """Bytes read and written."""
        return self.bytes_read + self.bytes_written

    @property
    def certain(self) -> Cost:
        """What no implementation can do without: `least`, or the cost itself."""
        return self if self.least is None else self.least

    @property
    def intensity(self) -> float:
        """Operations for each byte moved; 0 where nothing is moved."""
        return self.flops / self.bytes_moved if self.bytes_moved else 0.0
