"""Deposits and withdrawals that take their time: asked for, then done or reversed.

Invariants:
1. A withdrawal is out of the balance from its request on, whether or not the ledger shows it.
2. A deposit is nowhere until it is done.
3. A reversal gives back a debit that is in the ledger: same refid, positive amount, negative fee.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraken_sim.account import events
from kraken_sim.account.account import Transfer
from kraken_sim.account.ledger import Posting
from kraken_sim.amounts import half_up
from kraken_sim.errors import ControlError

if TYPE_CHECKING:
    from decimal import Decimal
    from typing import Literal

    from kraken_sim.account.account import Account


def request(  # noqa: PLR0913 - the parts of one transfer
    account: Account,
    *,
    kind: Literal["deposit", "withdrawal"],
    asset: str,
    amount: Decimal,
    fee: Decimal,
    at: Decimal | None = None,
) -> Transfer:
    """Start a transfer; nothing is in the ledger yet."""
    decimals = account.reference.decimals(asset)
    transfer = Transfer(
        refid=account.identifiers.funding(),
        kind=kind,
        asset=asset,
        amount=half_up(amount, decimals),
        fee=half_up(fee, decimals),
        requested=account.next_moment(at),
    )
    account.transfers[transfer.refid] = transfer
    if at is None:
        account.clock.reach(transfer.requested)
    return transfer


def book(account: Account, transfer: Transfer, at: Decimal | None = None) -> list[str]:
    """Write the ledger row of a transfer, unless it is there."""
    if transfer.booked is not None:
        return []
    amount = transfer.amount if transfer.kind == "deposit" else -transfer.amount
    ids = events.write(
        account,
        refid=transfer.refid,
        entry_type=transfer.kind,
        postings=[Posting(transfer.asset, amount, transfer.fee)],
        at=at,
    )
    transfer.booked = account.ledger.last_time
    return ids


def hold(account: Account, refid: str) -> list[str]:
    """Put a pending transfer on hold, until it is done or fails; no row tells of it.

    Raises:
        ControlError: when none of this refid is pending.
    """
    transfer = account.transfers.get(refid)
    if transfer is None or transfer.state != "pending":
        raise ControlError(f"expected the refid of a pending transfer, was {refid!r}")
    transfer.is_held = True
    return []


def finish(
    account: Account, kind: Literal["deposit", "withdrawal"], refid: str, at: Decimal | None = None
) -> list[str]:
    """Let a pending transfer come through.

    Raises:
        ControlError: when none of this kind and refid is pending.
    """
    transfer = account.transfers.get(refid)
    if transfer is None or (transfer.kind, transfer.state) != (kind, "pending"):
        raise ControlError(f"expected the refid of a pending {kind}, was {refid!r}")
    transfer.state = "done"
    return book(account, transfer, at)


def reverse(account: Account, refid: str, at: Decimal | None = None) -> list[str]:
    """Give back a withdrawal, pending or done; one that the ledger does not show yet is written first.

    Raises:
        ControlError: when no withdrawal has this refid, or it was given back already.
    """
    transfer = account.transfers.get(refid)
    if transfer is None:
        return events.reverse(account, refid, at)
    ids = book(account, transfer, at) if transfer.kind == "withdrawal" else []
    ids += events.reverse(account, refid, at)
    transfer.state = "reversed"
    return ids


def fail(account: Account, refid: str, at: Decimal | None = None) -> list[str]:
    """Let a pending withdrawal fail: its ledger row is taken back; without one there never will be.

    Raises:
        ControlError: when no withdrawal of this refid is pending.
    """
    transfer = account.transfers.get(refid)
    if transfer is None or (transfer.kind, transfer.state) != ("withdrawal", "pending"):
        raise ControlError(f"expected the refid of a pending withdrawal, was {refid!r}")
    ids = events.reverse(account, refid, at) if transfer.booked is not None else []
    transfer.state = "failed"
    return ids
