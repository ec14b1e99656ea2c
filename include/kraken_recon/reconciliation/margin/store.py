"""Open margin positions in Postgres; every statement is a named query of ``margin.sql``."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, fields
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.database.arrays import json_rows
from kraken_recon.database.store import Store, named_queries
from kraken_recon.errors import StoreError
from kraken_recon.ledger.entries import LedgerEntry
from kraken_recon.ledger.entry_kinds import MARGIN_TYPES
from kraken_recon.reconciliation.margin.rules import (
    Doubt,
    MarginPosition,
    MarginState,
    MarginStatus,
    RecordedMargin,
)
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from kraken_recon.reconciliation.margin.rules import MarginChange, MarginFinding, MarginLook

#: What a position is compared by, and what its changes are told in.
COMPARED: Final = tuple(f.name for f in fields(MarginPosition) if f.compare and f.name != "position_id")


def _told(position: MarginPosition | None) -> dict[str, str] | None:
    """Write what is compared of a position; amounts as exact text."""
    if position is None:
        return None
    return {name: _plain(getattr(position, name)) for name in COMPARED}


def _seen(look: MarginLook, position: MarginPosition) -> dict[str, Any]:
    """Write all of a position as the row that a look leaves."""
    seen = {"last_seen_run_id": look.run_id, "last_seen_at": look.as_of}
    return {"account_id": look.account_id, **asdict(position), **seen}


def _plain(value: object) -> str:
    match value:
        case Decimal():
            return format_amount(value)
        case datetime():
            return value.isoformat()
        case _:
            return str(value)


def _position(position_id: str, told: Mapping[str, Any]) -> MarginPosition:
    """Read a position from a row, or from what was written of it as JSON."""
    opened_at = told["opened_at"]
    return MarginPosition(
        position_id=position_id,
        order_id=told["order_id"],
        pair=told["pair"],
        side=told["side"],
        order_type=told["order_type"],
        opened_at=opened_at if isinstance(opened_at, datetime) else datetime.fromisoformat(opened_at),
        volume=Decimal(told["volume"]),
        volume_closed=Decimal(told["volume_closed"]),
        cost=Decimal(told["cost"]),
        fee=Decimal(told["fee"]),
        margin=Decimal(told["margin"]),
    )


class MarginStore(Store):
    """Open margin positions."""

    queries = named_queries(__file__, "margin")

    def states(self, account_ids: Collection[int]) -> Mapping[int, MarginState]:
        """Tell when each account was last asked, and how many positions it has on record."""
        rows = self._execute("states", account_ids=list(account_ids))
        return {row.account_id: MarginState(row.checked_at, row.on_record) for row in rows}

    def recorded(
        self, named: Mapping[int, Collection[str]], *, locked: bool
    ) -> Mapping[int, Mapping[str, RecordedMargin]]:
        """Read the positions of accounts that are not closed, and those named, locked in key order or not."""
        places = [(account, position) for account, listed in named.items() for position in listed]
        rows = self._execute(
            "lock" if locked else "read",
            account_ids=list(named),
            named_account_ids=[account for account, _ in places],
            position_ids=[position for _, position in places],
        )
        found: dict[int, dict[str, RecordedMargin]] = {account: {} for account in named}
        for row in rows.mappings():
            since, told = row["doubted_since"], row["doubt"]
            doubt = Doubt(_position(row["position_id"], told) if told else None, since) if since else None
            found[row["account_id"]][row["position_id"]] = RecordedMargin(
                _position(row["position_id"], dict(row)),
                MarginStatus(row["status"]),
                row["ledger_seq"],
                doubt,
            )
        return found

    def entries(self, since: Mapping[int, datetime]) -> Mapping[int, Sequence[tuple[int, LedgerEntry]]]:
        """Read the recorded entries about margin since a time that have explained nothing yet."""
        rows = self._execute(
            "entries",
            account_ids=list(since),
            since=list(since.values()),
            types=sorted(MARGIN_TYPES),
        )
        found: dict[int, list[tuple[int, LedgerEntry]]] = defaultdict(list)
        columns: list[Any]
        for account_id, *columns in rows:
            found[account_id].append((columns[0], LedgerEntry(*columns[1:])))
        return found

    def newest_entries(self, account_ids: Collection[int]) -> Mapping[int, int]:
        """Name the place up to which each account's entries are recorded; none is left out."""
        rows = self._execute("newest_entries", account_ids=list(account_ids))
        return {row.account_id: row.ingest_seq for row in rows}

    def write(self, changes: Sequence[MarginChange]) -> None:
        """Bring locked positions to what was found, or note the doubt about them."""
        if not changes:
            return
        listed = sorted(changes, key=lambda change: (change.look.account_id, change.row.position.position_id))
        rows = (
            {
                **_seen(change.look, change.row.position),
                "status": change.row.status,
                "ledger_seq": change.row.ledger_seq,
                "doubted_since": change.row.doubt.since if change.row.doubt else None,
                "doubt": _told(change.row.doubt.reported) if change.row.doubt else None,
            }
            for change in listed
        )
        written = self._execute("write_positions", positions=json_rows(rows))
        if written.rowcount != len(listed):
            raise StoreError(f"expected to write {len(listed)} margin positions, wrote {written.rowcount}")

    def see(self, looks: Sequence[MarginLook]) -> None:
        """Remember that accounts were asked, and what was last seen of their positions."""
        if not looks:
            return
        seen = [(look, position) for look in looks for position in look.reported.values()]
        if seen:
            self._execute("see", positions=json_rows(_seen(look, position) for look, position in seen))
        self._execute(
            "checked",
            account_ids=[look.account_id for look in looks],
            checked_at=[look.as_of for look in looks],
            run_ids=[look.run_id for look in looks],
        )

    def record(self, findings: Sequence[tuple[MarginLook, MarginFinding]], *, applies: bool) -> None:
        """Append what was found; in a dry run nothing of it is applied."""
        if not findings:
            return
        rows = (
            {
                "account_id": look.account_id,
                "position_id": finding.position_id,
                "action": finding.action,
                "is_applied": applies and finding.is_applied,
                "is_explained": finding.is_explained,
                "before": _told(finding.before),
                "after": _told(finding.after),
                "ledger_ids": finding.ledger_ids,
                "run_id": look.run_id,
                "effective_at": look.as_of,
            }
            for look, finding in findings
        )
        self._execute("write_events", events=json_rows(rows))

    def open_positions(self, names: Collection[str]) -> list[dict[str, Any]]:
        """Read the positions on record of these accounts that are not closed."""
        return [dict(row) for row in self._execute("open_positions", names=sorted(names)).mappings()]

    def changes(self, run_ids: Collection[UUID]) -> list[dict[str, Any]]:
        """Read what runs found of margin positions."""
        return [dict(row) for row in self._execute("changes", run_ids=list(run_ids)).mappings()]
