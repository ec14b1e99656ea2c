"""What Kraken tells otherwise than what is on record, and how a person accepts its telling.

A sync never changes a recorded entry: where Kraken tells it otherwise, it fails and names the fields. Then a
person decides. What is accepted is a plan: positions follow with events, and ``plan undo`` brings the
recorded telling back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.books.events import Cause, Reason, Step
from kraken_recon.books.store import BookStore
from kraken_recon.costs.recomputing import recompute_account
from kraken_recon.costs.store import CostStore
from kraken_recon.errors import PlanRefusedError
from kraken_recon.ledger.entries import WITHDRAWN, HoldingKey, LedgerEntry, differences, withdrawn
from kraken_recon.ledger.plausible import implausible
from kraken_recon.reconciliation.plans.plan import PlanKind, PlanStatus, RepairPlan
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.values.money import ZERO, exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.reconciliation.exchange import Exchange
    from kraken_recon.reconciliation.run import SyncPorts

LOOK_BACK: Final = timedelta(hours=26)
PAGES_MAX: Final = 40
ACCEPTED: Final = "accepted Kraken's telling: "


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One entry as recorded and as Kraken tells it now, and the fields that differ with both values."""

    recorded: LedgerEntry
    told: LedgerEntry
    fields: tuple[tuple[str, str, str], ...]


def find_contradictions(
    account: Account, ports: SyncPorts, ledger_id: str | None = None
) -> list[Contradiction]:
    """Compare the newest recorded entries, or those around one of them, with what Kraken tells of them.

    Raises:
        PlanRefusedError: no such entry is on record.
        ExchangeError: Kraken does not answer.
    """
    with ports.open_unit_of_work() as unit:
        recorded = {e.ledger_id: e for e in BookStore(unit).entries_after(account.account_id, None)}
    if ledger_id is not None and ledger_id not in recorded:
        raise PlanRefusedError(f"no entry of {account.name} has the id {ledger_id}")
    around = [recorded[ledger_id]] if ledger_id else list(recorded.values())
    if not around:
        return []
    start = max(entry.entry_time for entry in around) - LOOK_BACK
    with ports.open_exchange(account) as exchange:
        start = min(start, ports.clock() - LOOK_BACK)
        told = _read(exchange, start)
    newest = max((entry.entry_time for entry in told.values()), default=start)
    found = []
    for name, mine in sorted(recorded.items()):
        if name in told:
            fields = tuple(differences(mine, told[name]))
            if fields:
                found.append(Contradiction(mine, told[name], fields))
        elif start < mine.entry_time < newest and mine.entry_type != WITHDRAWN:
            found.append(Contradiction(mine, withdrawn(mine), (("entry", str(mine.amount), "not shown"),)))
    return found


def _read(exchange: Exchange, after: datetime) -> dict[str, LedgerEntry]:
    """Read all entries later than a moment.

    Raises:
        PlanRefusedError: there are more than are read here; what is not seen is not gone.
    """
    entries: dict[str, LedgerEntry] = {}
    for _ in range(PAGES_MAX):
        page = exchange.ledger_page(after=after, until=None, offset=max(0, len(entries) - 1))
        fresh = {e.ledger_id: e for e in page.entries if e.ledger_id not in entries}
        if not fresh:
            return entries
        entries |= fresh
    raise PlanRefusedError(f"more than {len(entries):,} entries are later than {after.isoformat()}")


@exact_arithmetic()
def accept(account: Account, ledger_id: str, by: str, note: str, ports: SyncPorts) -> UUID:
    """Take one entry over as Kraken tells it, and let the positions follow; return the plan's id.

    Raises:
        PlanRefusedError: Kraken tells nothing else of it, or something that cannot be.
    """
    found = {c.recorded.ledger_id: c for c in find_contradictions(account, ports, ledger_id)}
    if ledger_id not in found:
        raise PlanRefusedError(f"Kraken tells nothing else of entry {ledger_id} than what is on record")
    one, now = found[ledger_id], ports.clock()
    if wrong := implausible(one.told, now):
        raise PlanRefusedError(f"what Kraken tells of entry {ledger_id} cannot be: {wrong}")
    with ports.open_unit_of_work() as unit:
        steps = _steps(unit, account.account_id, one.recorded, one.told, now)
        why = f"{ACCEPTED}{by}: {note}\n{json.dumps([_fields(one.recorded), _fields(one.told)])}"
        plan = RepairPlan(PlanKind.REPAIR, account.account_id, now, steps, why=why)
        ids = {account.account_id: plan.plan_id}
        PlanStore(unit).insert([plan], PlanStatus.APPLIED, ids)
        BookStore(unit).write_steps({account.account_id: steps}, ids, ids)
        if not BookStore(unit).correct_entry(account.account_id, one.recorded, one.told):
            raise PlanRefusedError(f"entry {ledger_id} was changed meanwhile; look again")
        recompute_account(CostStore(unit), account.name)
        unit.commit()
    return plan.plan_id


def restore(unit: UnitOfWork, plan: Mapping[str, Any]) -> bool:
    """Bring back the recorded telling that a plan replaced, if it is such a plan; positions are not moved."""
    why = plan["why"] or ""
    if not why.startswith(ACCEPTED):
        return False
    recorded, told = (_entry(fields) for fields in json.loads(why.rsplit("\n", 1)[1]))
    if not BookStore(unit).correct_entry(plan["account_id"], told, recorded):
        raise PlanRefusedError(f"entry {recorded.ledger_id} was changed since; nothing was undone")
    recompute_account(CostStore(unit), plan["account"])
    return True


def _steps(
    unit: UnitOfWork, account_id: int, recorded: LedgerEntry, told: LedgerEntry, now: datetime
) -> tuple[Step, ...]:
    changes: dict[HoldingKey, Decimal] = {recorded.key: -recorded.change}
    changes[told.key] = changes.get(told.key, ZERO) + told.change
    keys = sorted(key for key, change in changes.items() if change)
    if not keys:
        return ()
    BookStore(unit).lock_positions([(account_id, key) for key in keys])
    rows = BookStore(unit).recorded([(account_id, key) for key in keys])
    steps: list[Step] = []
    for key in keys:
        row = rows[account_id, key]
        if row.quantity != row.event_total:
            raise PlanRefusedError(f"{key} was changed in the database without an event; run a sync first")
        after = row.quantity + changes[key]
        steps.append(Step(key, row.quantity, after, Cause.ADJUSTMENT, now, Reason.ENTRY_CORRECTED))
    return tuple(steps)


def _fields(entry: LedgerEntry) -> list[str]:
    return [
        entry.ledger_id, entry.refid, entry.entry_time.isoformat(), entry.entry_type, entry.subtype,
        entry.asset, entry.wallet, *(format_amount(a) for a in (entry.amount, entry.fee, entry.balance)),
    ]  # fmt: skip


def _entry(fields: Sequence[str]) -> LedgerEntry:
    ledger_id, refid, moment, *words, amount, fee, balance = fields
    kind, subtype, asset, wallet = words
    return LedgerEntry(
        ledger_id, refid, datetime.fromisoformat(moment), kind, subtype, asset, wallet,
        Decimal(amount), Decimal(fee), Decimal(balance),
    )  # fmt: skip


def contradictions_view(account: str, found: Sequence[Contradiction]) -> dict[str, Any]:
    """Show contradictions as plain values."""
    return {
        "account": account,
        "contradictions": [
            {
                "ledger_id": c.recorded.ledger_id,
                "fields": [{"field": f, "recorded": ours, "kraken": theirs} for f, ours, theirs in c.fields],
            }
            for c in found
        ],
    }


def render_contradictions(view: Mapping[str, Any]) -> list[str]:
    """Write one line per field that differs."""
    lines = [
        f"{entry['ledger_id']}  {field['field']}: recorded {field['recorded']}, Kraken {field['kraken']}"
        for entry in view["contradictions"]
        for field in entry["fields"]
    ]
    if not lines:
        return [f"{view['account']}: Kraken tells every entry as it is on record"]
    return [*lines, "to accept what Kraken says of one: --accept ID --by NAME --note WHY"]
