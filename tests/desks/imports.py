"""Kraken's exports brought to a desk, and all that a history leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from desks.exports import ledgers_csv
from desks.histories import unconnected_events
from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.history.importing import ImportedHistory, import_exports
from kraken_recon.kraken.export_files import parse_export

if TYPE_CHECKING:
    from collections.abc import Sequence

    from desks.fake_exchange import Desk
    from kraken_recon.history.rules.export_rows import LedgerExport, TradesExport
    from kraken_recon.ledger.entries import LedgerEntry


def bring_file(
    desk: Desk, entries: Sequence[LedgerEntry], columns: int = 12, name: str = "desk"
) -> ImportedHistory:
    """Import entries, written as an export of a generation."""
    return bring_exports(desk, [parse_export("ledgers.csv", ledgers_csv(entries, columns))], name)


def bring_exports(
    desk: Desk, exports: Sequence[LedgerExport | TradesExport], name: str = "desk"
) -> ImportedHistory:
    """Import exports into an account."""
    with UnitOfWork(desk.engine) as unit:
        account = AccountStore(unit).find_accounts([name])[0]
    return import_exports(account, exports, lambda: UnitOfWork(desk.engine))


def books_on_record(desk: Desk, name: str = "desk") -> dict[str, Any]:
    """Read all that a history leads to, without our own numbering and without fractions of seconds."""
    account = desk.account_id(name)
    return {
        "positions": desk.positions(name),
        "entries": desk.rows(
            "select ledger_id, refid, date_trunc('second', entry_time) as t, type, subtype, asset, wallet,"
            " amount, fee, balance from trading.ledger_entries where account_id = :a order by 1",
            a=account,
        ),
        "events": desk.rows(
            "select ledger_id, asset, wallet, quantity_after - quantity_before as change,"
            " date_trunc('second', effective_at) as t from trading.position_events"
            " where account_id = :a and cause = 'ledger' order by 1",
            a=account,
        ),
        "openings": desk.rows(
            "select asset, wallet, sum(quantity_after - quantity_before) as q from trading.position_events"
            " where account_id = :a and cause = 'opening' group by 1, 2"
            " having sum(quantity_after - quantity_before) <> 0 order by 1, 2",
            a=account,
        ),
        "account": desk.rows(
            "select opened_at is not null as is_open, opening_source, ledger_floor from trading.accounts"
            " where account_id = :a",
            a=account,
        ),
    }


def is_sound(desk: Desk, name: str = "desk") -> bool:
    """Say whether positions are what their events come to, and each event starts where the last one ended."""
    return desk.positions(name) == desk.event_totals(name) and not unconnected_events(desk, name)
