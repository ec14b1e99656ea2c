"""Things that happen to an account without its API key: deposits, rewards, conversions, margin, dust.

Invariant: every event is nothing but ledger rows (and, for trades, orders and trades) written now.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from kraken_sim.account.ledger import Posting
from kraken_sim.amounts import ZERO
from kraken_sim.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kraken_sim.account.account import Account

#: Between the legs of one event.
LEG_GAP_SECONDS: Final = Decimal("0.0031")


def write(  # noqa: PLR0913 - the parts of one event
    account: Account,
    *,
    refid: str,
    entry_type: str,
    postings: Sequence[Posting],
    subtype: str = "",
    at: Decimal | None = None,
) -> list[str]:
    """Write the rows of one event now, or at a past moment after everything on file."""
    ids = account.ledger.post(
        moment=account.next_moment(at), refid=refid, entry_type=entry_type, subtype=subtype, postings=postings
    )
    if at is None:
        account.clock.reach(account.ledger.last_time)
    return ids


def deposit(
    account: Account, asset: str, amount: Decimal, fee: Decimal = ZERO, at: Decimal | None = None
) -> list[str]:
    """Credit a deposit."""
    return write(
        account,
        refid=account.identifiers.funding(),
        entry_type="deposit",
        postings=[Posting(asset, amount, fee)],
        at=at,
    )


def withdrawal(
    account: Account, asset: str, amount: Decimal, fee: Decimal = ZERO, at: Decimal | None = None
) -> list[str]:
    """Debit a withdrawal; its fee comes on top."""
    return write(
        account,
        refid=account.identifiers.funding(),
        entry_type="withdrawal",
        postings=[Posting(asset, -amount, fee)],
        at=at,
    )


def withdrawal_reversed(
    account: Account, asset: str, amount: Decimal, fee: Decimal = ZERO, at: Decimal | None = None
) -> list[str]:
    """Debit a withdrawal and give it back: same refid, positive amount, negative fee."""
    gone = withdrawal(account, asset, amount, fee, at)
    refid = account.ledger.entries[account.ledger.positions[gone[0]]].refid
    return gone + reverse(account, refid, at)


def reverse(account: Account, refid: str, at: Decimal | None = None) -> list[str]:
    """Give back an earlier withdrawal.

    Raises:
        ControlError: when no withdrawal has this refid, or it was given back already.
    """
    rows = [row for row in account.ledger.entries if row.refid == refid and row.entry_type == "withdrawal"]
    if len(rows) != 1:
        raise ControlError(f"expected the refid of a withdrawal that is not reversed, was {refid!r}")
    entry = rows[0]
    posting = Posting(entry.asset, -Decimal(entry.amount), -Decimal(entry.fee))
    return write(account, refid=refid, entry_type="withdrawal", postings=[posting], at=at)


def instant_buy(
    account: Account,
    *,
    spend: tuple[str, Decimal],
    receive: tuple[str, Decimal],
    fee: Decimal = ZERO,
    at: Decimal | None = None,
) -> list[str]:
    """Convert in the app: spend and receive under one refid, and no trade anywhere."""
    refid = account.identifiers.reference("T")
    spent = write(
        account, refid=refid, entry_type="spend", postings=[Posting(spend[0], -spend[1], fee)], at=at
    )
    received = write(account, refid=refid, entry_type="receive", postings=[Posting(*receive)], at=at)
    return spent + received


def dust_sweep(
    account: Account, assets: Sequence[str], receive: tuple[str, Decimal], at: Decimal | None = None
) -> list[str]:
    """Sweep whole small balances into one asset: more than two legs under one refid."""
    refid = account.identifiers.reference("T")
    gone = [Posting(asset, -account.ledger.balance(asset)) for asset in assets]
    swept = write(account, refid=refid, entry_type="spend", subtype="dustsweeping", postings=gone, at=at)
    got = write(
        account,
        refid=refid,
        entry_type="receive",
        subtype="dustsweeping",
        postings=[Posting(*receive)],
        at=at,
    )
    return swept + got


def staking_reward(
    account: Account, asset: str, amount: Decimal, fee: Decimal = ZERO, at: Decimal | None = None
) -> list[str]:
    """Credit a reward of the older staking, on the staked balance."""
    return write(
        account,
        refid=account.identifiers.reference("S"),
        entry_type="staking",
        postings=[Posting(asset, amount, fee)],
        at=at,
    )


def earn_reward(
    account: Account, asset: str, amount: Decimal, fee: Decimal = ZERO, at: Decimal | None = None
) -> list[str]:
    """Credit a reward of Earn; Kraken's commission is the fee."""
    return write(
        account,
        refid=account.identifiers.reference("E"),
        entry_type="earn",
        subtype="reward",
        postings=[Posting(asset, amount, fee)],
        at=at,
    )


def earn_move(  # noqa: PLR0913 - the parts of one move
    account: Account, *, source: str, target: str, amount: Decimal, subtype: str, at: Decimal | None = None
) -> list[str]:
    """Move between the plain balance and an earning one, either way."""
    return write(
        account,
        refid=account.identifiers.reference("E"),
        entry_type="earn",
        subtype=subtype,
        postings=[Posting(source, -amount), Posting(target, amount, delay_seconds=LEG_GAP_SECONDS)],
        at=at,
    )


def legacy_stake(
    account: Account, *, source: str, target: str, amount: Decimal, at: Decimal | None = None
) -> list[str]:
    """Stake the old way: two transfer rows, some seconds apart, each with a refid of its own."""
    gone = write(
        account,
        refid=account.identifiers.reference("B"),
        entry_type="transfer",
        subtype="spottostaking",
        postings=[Posting(source, -amount)],
        at=at,
    )
    came = write(
        account,
        refid=account.identifiers.reference("R"),
        entry_type="transfer",
        subtype="stakingfromspot",
        postings=[Posting(target, amount)],
        at=at,
    )
    return gone + came


def airdrop(account: Account, asset: str, amount: Decimal, at: Decimal | None = None) -> list[str]:
    """Credit an airdrop or fork."""
    return write(
        account,
        refid=account.identifiers.reference("L"),
        entry_type="transfer",
        subtype="airdrop",
        postings=[Posting(asset, amount)],
        at=at,
    )


def adjustment(account: Account, postings: Sequence[Posting], at: Decimal | None = None) -> list[str]:
    """Convert outside trading: every leg has a refid of its own."""
    ids: list[str] = []
    for posting in postings:
        refid = account.identifiers.reference("L")
        ids += write(account, refid=refid, entry_type="adjustment", postings=[posting], at=at)
    return ids


def margin(  # noqa: PLR0913 - the parts of one margin row
    account: Account,
    *,
    kind: str,
    asset: str,
    amount: Decimal,
    fee: Decimal,
    refid: str | None,
    at: Decimal | None = None,
) -> list[str]:
    """Write one margin or rollover row: opening and rollover move nothing but the fee, closing the result."""
    return write(
        account,
        refid=refid or account.identifiers.trade(),
        entry_type="rollover" if kind == "rollover" else "margin",
        postings=[Posting(asset, amount, fee)],
        at=at,
    )
