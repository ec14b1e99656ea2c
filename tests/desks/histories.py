"""What can happen to an account, for hypothesis to choose from."""

from __future__ import annotations

from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st

from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from desks.fake_exchange import Desk
    from desks.fakes import FakeBooks
    from kraken_recon.ledger.entries import LedgerEntry

HOLDINGS = tuple(
    HoldingKey(asset, wallet)
    for asset, wallet in (("BTC", "spot"), ("USD", "spot"), ("ETH", "spot"), ("ETH", "F"), ("SHIB", "spot"))
)
PRICES = {"BTC": Decimal(40000), "USD": Decimal(1), "ETH": Decimal(3000), "SHIB": Decimal("0.00001")}
_numbers = count(1)

# An example on the database costs ten times one in memory.
on_database = settings(max_examples=settings.default.max_examples // 3)

holdings = st.sampled_from(HOLDINGS)
amounts = st.builds(
    lambda units, scale: Decimal(units).scaleb(-scale),
    st.integers(-(10**9), 10**9).filter(bool),
    st.sampled_from((0, 2, 8, 10)),
)
fees = st.sampled_from(tuple(map(Decimal, ("0", "0", "0.01", "0.0000000001"))))


class Movement(NamedTuple):
    """One ledger line to come; with ``together`` it carries the time of the one before it."""

    key: HoldingKey
    amount: Decimal
    fee: Decimal
    together: bool


movements = st.builds(Movement, holdings, amounts, fees, st.booleans())


def happen(books: FakeBooks, movement: Movement) -> LedgerEntry:
    """Let a movement happen at the exchange."""
    at = books.entries[-1].entry_time if movement.together and books.entries else None
    return books.add(
        movement.key.asset,
        format_amount(movement.amount),
        fee=format_amount(movement.fee),
        wallet=movement.key.wallet,
        at=at,
    )


def fresh_account(desk: Desk) -> tuple[str, FakeBooks]:
    """Add an account that no other example has seen."""
    name = f"account {next(_numbers)}"
    books = desk.account(name)
    desk.exchanges[name].price_list = PRICES
    return name, books


def opened_account(desk: Desk) -> tuple[str, FakeBooks]:
    """Add an account with something of everything, opened by its first sync."""
    name, books = fresh_account(desk)
    for key in HOLDINGS:
        books.add(key.asset, "1000", wallet=key.wallet, entry_type="deposit")
    desk.sync(name)
    assert desk.run(name)["status"] == "succeeded"
    return name, books


def at_exchange(books: FakeBooks) -> dict[HoldingKey, Decimal]:
    """Say what the exchange holds, without what is zero."""
    return {key: b.balance for key, b in books.balances().items() if b.balance}


def unconnected_events(desk: Desk, name: str) -> list[dict[str, object]]:
    """Find events that do not start where the last one of their holding ended (the first one at zero)."""
    return desk.rows(
        "select * from (select v.*, coalesce(lag(quantity_after) over ("
        "    partition by account_id, asset, wallet order by event_id), 0) as expected"
        "  from trading.position_events v where account_id = :account) as chained"
        " where quantity_before <> expected",
        account=desk.account_id(name),
    )


def adjustments(desk: Desk, name: str) -> list[dict[str, object]]:
    """Read the events that no ledger entry and no opening accounts for."""
    return desk.rows(
        "select * from trading.position_events where cause = 'adjustment' and account_id = :account",
        account=desk.account_id(name),
    )


TABLES = (
    "accounts",
    "positions",
    "ledger_entries",
    "position_events",
    "reconciliation_runs",
    "discrepancies",
    "residuals",
    "alerts",
    "repair_plans",
    "asset_costs",
    "realised_results",
)


def all_rows(desk: Desk, name: str) -> dict[str, list[str]]:
    """Read every row of one account, whole."""
    account = desk.account_id(name)
    return {
        table: [
            row["line"]
            for row in desk.rows(
                f"select t::text as line from trading.{table} t where account_id = :account order by 1",
                account=account,
            )
        ]
        for table in TABLES
    }
