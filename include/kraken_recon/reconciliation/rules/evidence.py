"""What is known of an account's holdings before anything is judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.books.events import RecordedPosition
    from kraken_recon.ledger.entries import Balance, HoldingKey, LedgerEntry
    from kraken_recon.ledger.transfers import Transfer


@dataclass(frozen=True, slots=True)
class Observation:
    """A residual seen by coherent readings, and since when it has been the same."""

    residual: Decimal
    first_seen_at: datetime
    confirmations: int = 1


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that one account is judged on.

    ``recorded`` names the holdings to judge and must include every holding in ``ingested``.
    ``ingested`` are the entries that this run adds, in chain order per holding. ``all_positions`` counts
    the account's positions that are not zero. ``prices`` are in the account's quote currency; empty where
    nothing needed them. ``last_repairs`` are the changes that the last repair of a holding made, where no run
    has found the holding in agreement since. ``approved`` is the change per holding that a person approved.
    ``transfers`` are deposits and withdrawals, of which ``booked`` names those that the ledger has.
    """

    recorded: Mapping[HoldingKey, RecordedPosition]
    ingested: Mapping[HoldingKey, Sequence[LedgerEntry]]
    balances: Mapping[HoldingKey, Balance]
    coherent: bool
    as_of: datetime
    observations: Mapping[HoldingKey, Observation]
    all_positions: int
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    last_repairs: Mapping[HoldingKey, frozenset[Decimal]] = field(default_factory=dict)
    approved: Mapping[HoldingKey, Decimal] = field(default_factory=dict)
    transfers: Sequence[Transfer] = ()
    booked: frozenset[str] = frozenset()
