"""How far an account has come in a run: each stage has what is known at it, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.ledger.entries import Balance, HoldingKey
    from kraken_recon.ledger.transfers import Transfer
    from kraken_recon.reconciliation.reading import Reading
    from kraken_recon.reconciliation.rules.run import Comparison


@dataclass(frozen=True, slots=True)
class Waiting:
    """Kraken has told nothing yet; ``as_of`` is when it was asked, if it was."""

    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class Replied:
    """Kraken has told its balances; nothing was compared with them yet."""

    as_of: datetime
    balances: Mapping[HoldingKey, Balance]


@dataclass(frozen=True, slots=True)
class Compared:
    """The balances were compared with the positions; where they agree that is all there is to do."""

    as_of: datetime
    balances: Mapping[HoldingKey, Balance]
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Read:
    """The ledger was read and proved. ``balances`` are of the first reply, before the ledger was asked for.

    Without ``prices`` nothing of value is repaired: the guard holds what it cannot value. ``transfers`` are
    deposits and withdrawals as Kraken tells them, where a residual may be one.
    """

    balances: Mapping[HoldingKey, Balance]
    comparison: Comparison
    reading: Reading
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    transfers: tuple[Transfer, ...] = ()

    @property
    def as_of(self) -> datetime:
        """As of when the account was read."""
        return self.reading.as_of


Reached = Waiting | Replied | Compared | Read


@dataclass(frozen=True, slots=True)
class _Stopped:
    """It goes no further in this run; ``reached`` is what was known by then."""

    why: str
    reached: Reached


@dataclass(frozen=True, slots=True)
class Moving(_Stopped):
    """Kraken's books are still being written; the next run looks again."""


@dataclass(frozen=True, slots=True)
class Failed(_Stopped):
    """The account could not be reconciled; its run says so, and why it was ``moving``, if it was."""

    moving: str | None = None


@dataclass(frozen=True, slots=True)
class Left(_Stopped):
    """Not even a failed run could be recorded."""


Stage = Reached | Moving | Failed | Left
