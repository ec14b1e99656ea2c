"""The exit statuses of ``python -m kraken_recon``, declared once; the reference reads them here."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """How a command ended, for scripts."""

    DONE = 0
    FAILED = 1
    CALLED_WRONGLY = 2
    FOLLOWED = 3
    REFUSED = 4


MEANINGS = {
    ExitStatus.DONE: "it did its work, whatever it found; an order is known to be where the output says",
    ExitStatus.FAILED: (
        "it could not do its work; of an order nothing was sent, and nothing will be; of `doctor`, "
        "`seals verify` and `verify-certificate`, that something is wrong"
    ),
    ExitStatus.CALLED_WRONGLY: "it was called wrongly; nothing was done",
    ExitStatus.FOLLOWED: (
        "an order, cancellation or amendment was sent or is kept to be sent, and what came of it is not "
        "known yet: the output names the order, *order_execution* follows it. **Never give it again**"
    ),
    ExitStatus.REFUSED: (
        "an order, cancellation or amendment was refused, here or by Kraken, or is proved not to have been "
        "placed; the output says why, and nothing of it will be done"
    ),
}
