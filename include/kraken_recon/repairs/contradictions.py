"""What Kraken tells otherwise than what is on record, or does not tell at all.

A sync never changes a recorded entry, and never books what lies in a gap: it fails and names both values.
Then a person decides (``accepting.py``). Four things are found: an entry that is told otherwise or is gone, a
gap that Kraken does not fill, entries that are counted and not shown, and an asset that Kraken's balance
leaves out although its ledger still holds some.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.books.events import RecordedPosition
from kraken_recon.books.store import BookStore
from kraken_recon.errors import PlanRefusedError
from kraken_recon.ledger.entries import (
    OURS,
    TOKENIZED,
    HoldingKey,
    LedgerEntry,
    differences,
    ending,
    filling,
    withdrawn,
)
from kraken_recon.reconciliation.ledger_pages import LAG_MAX, KnownBooks, LedgerPages, connected, read_pages
from kraken_recon.reconciliation.rules.evidence import Evidence
from kraken_recon.reconciliation.rules.families import missing_holdings
from kraken_recon.reconciliation.rules.run import AcceptedMissing
from kraken_recon.reconciliation.store import ReconciliationStore
from kraken_recon.values.money import ZERO, exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.accounts.account import Account
    from kraken_recon.ledger.entries import Balance
    from kraken_recon.reconciliation.exchange import Exchange
    from kraken_recon.reconciliation.rules.run import AccountState
    from kraken_recon.reconciliation.run import SyncPorts

LOOK_BACKS: Final = (timedelta(hours=26), timedelta(days=30), None)
"""How far back is read: on, while the oldest entry that was read is one that is told otherwise."""
COUNTED: Final = "counted-and-not-shown"


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One thing as recorded and as Kraken tells it now, and the fields that differ with both values.

    ``told`` is what would be on record: Kraken's entry, or ours in place of what Kraken does not show;
    ``recorded`` is None where nothing is. ``missing`` alone is about entries that are counted and not shown.
    """

    name: str
    fields: tuple[tuple[str, str, str], ...]
    recorded: LedgerEntry | None = None
    told: LedgerEntry | None = None
    missing: AcceptedMissing | None = None


@exact_arithmetic()
def find_contradictions(account: Account, ports: SyncPorts, name: str | None = None) -> list[Contradiction]:
    """Compare the newest recorded entries, or those around one of them, with what Kraken tells of them.

    Raises:
        PlanRefusedError: no such entry is on record.
        ExchangeError: Kraken does not answer.
    """
    with ports.open_unit_of_work() as unit:
        recorded = {e.ledger_id: e for e in BookStore(unit).entries_after(account.account_id, None)}
        [state] = ReconciliationStore(unit).load_states([account])
    around = _moments(recorded, state, name, account)
    with ports.open_exchange(account) as exchange:
        balances = exchange.balances()
        reads_tokenized = state.has_tokenized or any(key.wallet == TOKENIZED for key in balances)
        for look_back in LOOK_BACKS:
            start = None if look_back is None or not around else min(around) - look_back
            if state.ledger_floor and (start is None or start < state.ledger_floor):
                start = state.ledger_floor
            pages = _read(exchange, start, reads_tokenized=reads_tokenized)
            known = _known(ports, account, recorded, start)
            found = [*_told_otherwise(known, pages), *_gaps(known, pages, recorded, ports.clock(), state)]
            if not _begins_earlier(found, known) or start in {None, state.ledger_floor}:
                break
    with ports.open_unit_of_work() as unit:
        totals = BookStore(unit).balances_at(account.account_id, ports.clock())
    to_come = {e.asset for e in pages.entries.values() if e.ledger_id not in recorded}
    to_come |= {one.told.asset for one in found if one.told}
    left_out = [key for key in _left_out(totals, balances, ports.clock()) if key.asset not in to_come]
    return [
        *found,
        *_counted(pages, state),
        *(_ended(key, totals[key], recorded, ports.clock()) for key in left_out),
    ]


def _moments(
    recorded: Mapping[str, LedgerEntry], state: AccountState, name: str | None, account: Account
) -> list[datetime]:
    """Name the moments before which to begin: of one entry, or of the newest and of the last proof."""
    if name is not None:
        entry = recorded.get(name) or recorded.get(name.partition("-before-")[2])
        if entry is None and not name.startswith(("gap-", COUNTED)):
            raise PlanRefusedError(f"no entry of {account.name} has the id {name}")
        if entry is not None:
            return [entry.entry_time]
    newest = max((entry.entry_time for entry in recorded.values()), default=None)
    return [moment for moment in (newest, state.ledger_read_until) if newest and moment]


def _read(exchange: Exchange, start: datetime | None, *, reads_tokenized: bool) -> LedgerPages:
    pages = read_pages(exchange.ledger_page, start, entries_max=None)
    if reads_tokenized:
        pages = pages.joined(read_pages(exchange.tokenized_ledger_page, start, entries_max=None))
    return pages


def _known(
    ports: SyncPorts, account: Account, recorded: Mapping[str, LedgerEntry], start: datetime | None
) -> KnownBooks:
    with ports.open_unit_of_work() as unit:
        before = BookStore(unit).balances_at(account.account_id, start)
    return KnownBooks([e for e in recorded.values() if start is None or e.entry_time > start], before)


def _told_otherwise(known: KnownBooks, pages: LedgerPages) -> Iterator[Contradiction]:
    newest = max((entry.entry_time for entry in pages.entries.values()), default=None)
    for mine in sorted(known.entries, key=lambda entry: entry.ledger_id):
        told = pages.entries.get(mine.ledger_id)
        if told is not None:
            if fields := tuple(differences(mine, told)):
                yield Contradiction(mine.ledger_id, fields, mine, told)
        elif newest and mine.entry_time < newest and mine.entry_type not in OURS:
            gone = (("entry", format_amount(mine.amount), "not shown"),)
            yield Contradiction(mine.ledger_id, gone, mine, withdrawn(mine))


def _gaps(
    known: KnownBooks,
    pages: LedgerPages,
    recorded: Mapping[str, LedgerEntry],
    now: datetime,
    state: AccountState,
) -> Iterator[Contradiction]:
    """Find the gaps that are left once Kraken's telling is taken over; the newest may still be closed."""
    _, gaps = connected(pages, known if state.is_open else None, known.accepted)
    for gap in gaps:
        if gap.before is None or now - gap.noticed_at <= LAG_MAX:
            continue
        entry = filling(gap.key, gap.before, gap.missing)
        after = gap.after.ledger_id if gap.after else "what is on record"
        field = f"{gap.key} between {after} and {gap.before.ledger_id}"
        theirs = gap.before.balance_before
        values = (field, format_amount(theirs - gap.missing), format_amount(theirs))
        yield Contradiction(entry.ledger_id, (values,), recorded.get(entry.ledger_id), entry)


def _begins_earlier(found: Sequence[Contradiction], known: KnownBooks) -> bool:
    """Say whether the oldest entry that was read is told otherwise, so that older ones may be, too."""
    oldest = min((entry.entry_time for entry in known.entries), default=None)
    return any(one.recorded and one.recorded.entry_time == oldest for one in found)


def _counted(pages: LedgerPages, state: AccountState) -> Iterator[Contradiction]:
    accepted = state.accepted_missing.entries if state.accepted_missing else 0
    if pages.missing > accepted and pages.entries:
        until = max(entry.entry_time for entry in pages.entries.values())
        fields = (("entries", f"{pages.shown} shown", f"{pages.counted} counted"),)
        yield Contradiction(COUNTED, fields, missing=AcceptedMissing(pages.missing, until))


def _left_out(
    totals: Mapping[HoldingKey, Decimal], balances: Mapping[HoldingKey, Balance], now: datetime
) -> list[HoldingKey]:
    """List the holdings that Kraken's ledger still holds, and of whose assets its balance shows nothing."""
    recorded = {key: RecordedPosition(ledger_total=total) for key, total in totals.items()}
    evidence = Evidence(recorded, {}, balances, coherent=True, as_of=now, observations={}, all_positions=0)
    missing = missing_holdings(evidence)
    return sorted(key for key, total in totals.items() if total and key.asset in missing)


def _ended(
    key: HoldingKey, total: Decimal, recorded: Mapping[str, LedgerEntry], now: datetime
) -> Contradiction:
    """Say that a holding ends with nothing after its last entry."""
    last = max(
        (entry for entry in recorded.values() if entry.key == key and entry.entry_type not in OURS),
        key=lambda entry: (entry.entry_time, entry.ledger_id),
        default=None,
    )
    entry = ending(key, last.ledger_id if last else "opening", last.entry_time if last else now, total)
    values = (f"{key} in Kraken's balance", format_amount(total), "left out")
    return Contradiction(entry.ledger_id, (values,), recorded.get(entry.ledger_id), entry)


def contradictions_view(account: str, found: Sequence[Contradiction]) -> dict[str, Any]:
    """Show contradictions as plain values; ``change`` is what accepting one does to a position."""
    return {
        "account": account,
        "contradictions": [
            {
                "ledger_id": one.name,
                "fields": [
                    {"field": f, "recorded": ours, "kraken": theirs} for f, ours, theirs in one.fields
                ],
                "changes": {str(key): format_amount(change) for key, change in changes_by(one).items()},
            }
            for one in found
        ],
    }


@exact_arithmetic()
def changes_by(one: Contradiction) -> dict[HoldingKey, Decimal]:
    """Say what accepting a contradiction changes, per holding."""
    changes: dict[HoldingKey, Decimal] = {}
    for entry, sign in ((one.recorded, -1), (one.told, 1)):
        if entry is not None:
            changes[entry.key] = changes.get(entry.key, ZERO) + sign * entry.change
    return {key: change for key, change in sorted(changes.items()) if change}


def render_contradictions(view: Mapping[str, Any]) -> list[str]:
    """Write one line per field that differs, with what accepting it changes."""
    lines = [
        f"{entry['ledger_id']}  {field['field']}: recorded {field['recorded']}, Kraken {field['kraken']}"
        + "".join(f"; accepted, {key} changes by {change}" for key, change in entry["changes"].items())
        for entry in view["contradictions"]
        for field in entry["fields"]
    ]
    if not lines:
        return [f"{view['account']}: Kraken tells every entry as it is on record, and nothing is left out"]
    return [
        *lines,
        "to accept what Kraken says: --accept ID ... --by NAME --note WHY (all of it: --accept all)",
    ]
