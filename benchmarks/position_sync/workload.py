"""The desk that every way of syncing gets: accounts, their recorded history, and what Kraken would answer.

Invariants:
1. The same scale and seed give the same desk, to the last digit and id.
2. A drifted position lacks exactly one ledger entry, and the balance reply already contains it.
3. Nothing here is measured: replies and readings are in memory before a clock starts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from kraken_recon.accounts.account import Account
from kraken_recon.ledger.entries import SPOT, Balance, HoldingKey, LedgerEntry
from kraken_recon.reconciliation.reading import Reading
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.rules.run import AccountState
from kraken_recon.reconciliation.run import AccountWork, SyncRequest, run_id_of
from kraken_recon.values.intervals import RUN_INTERVAL, Interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SEED: Final = 20260105
INTERVAL: Final = Interval(datetime(2026, 1, 5, 12, 0, tzinfo=UTC), datetime(2026, 1, 5, 12, 15, tzinfo=UTC))
REQUEST: Final = SyncRequest(INTERVAL, Mode.REPAIR, Policy(), trigger="benchmark")
# One balance reply before and one after the one page of the ledger.
CALLS_OF_A_READING: Final = 3
ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the desk is; ``drift`` is the share of positions that lack an entry."""

    accounts: int = 1_000
    positions: int = 50
    drift: Decimal = Decimal("0.05")


@dataclass(frozen=True, slots=True)
class PreparedAccount:
    """One account as recorded, and what Kraken says of it: ``missed`` are the entries not recorded yet."""

    state: AccountState
    recorded: tuple[LedgerEntry, ...]
    missed: tuple[LedgerEntry, ...]

    @property
    def account_id(self) -> int:
        """The account's id."""
        return self.state.account.account_id

    def balances(self, *, with_missed: bool) -> dict[HoldingKey, Balance]:
        """Answer ``BalanceEx``, with the missed entries contained in it or not yet there."""
        entries = (*self.recorded, *self.missed) if with_missed else self.recorded
        # The entries of a holding come in order, so the last running balance stands.
        return {entry.key: Balance(entry.balance, ZERO, ZERO, ZERO) for entry in entries}

    def reading(self) -> Reading:
        """Answer as the reader does: the newest recorded entry, as overlap, and the missed ones."""
        newest = self.recorded[-1]
        return Reading(
            balances=self.balances(with_missed=True),
            entries=(newest, *self.missed),
            after=newest.entry_time - timedelta(minutes=15),
            as_of=INTERVAL.end,
            coherent=True,
        )


@dataclass(frozen=True, slots=True)
class PreparedWork:
    """One account's work as a sync has it after asking Kraken, and the reading it gets if it differs."""

    work: AccountWork
    balances: Mapping[HoldingKey, Balance]
    reading: Reading


@dataclass(frozen=True, slots=True)
class Desk:
    """The whole desk."""

    accounts: tuple[PreparedAccount, ...]

    @property
    def missed_entries(self) -> int:
        """How many positions have drifted, which is how many entries are missing."""
        return sum(len(account.missed) for account in self.accounts)

    def prepared_works(self) -> list[PreparedWork]:
        """Make the work of a fresh run; values inside are new objects, nothing is cached between runs."""
        works = []
        for account in self.accounts:
            work = AccountWork(account.state, run_id_of(account.state.account, REQUEST))
            work.calls = CALLS_OF_A_READING if account.missed else 1
            works.append(PreparedWork(work, account.balances(with_missed=True), account.reading()))
        return works


def make_desk(scale: Scale) -> Desk:
    """Make the desk of this size, always the same one."""
    dice = random.Random(SEED)  # noqa: S311 - repeatable data, no secret
    drifted = set(
        dice.sample(
            range(scale.accounts * scale.positions), int(scale.accounts * scale.positions * scale.drift)
        )
    )
    return Desk(
        tuple(_make_account(number, scale.positions, drifted, dice) for number in range(scale.accounts))
    )


def _make_account(number: int, positions: int, drifted: set[int], dice: random.Random) -> PreparedAccount:
    recorded: list[LedgerEntry] = []
    missed: list[LedgerEntry] = []
    for place in range(positions):
        deposit = Decimal(dice.randint(10**8, 10**13)).scaleb(-8)
        at = INTERVAL.start - timedelta(hours=positions - place + 1)
        recorded.append(
            _entry(f"L{number:05d}-{place:03d}-A", f"A{place:03d}", at, "deposit", deposit, deposit)
        )
        if number * positions + place in drifted:
            bought = Decimal(dice.randint(1, 10**9)).scaleb(-10)
            at = INTERVAL.start + timedelta(seconds=place + 1)
            entry_id = f"L{number:05d}-{place:03d}-B"
            missed.append(_entry(entry_id, f"A{place:03d}", at, "trade", bought, deposit + bought))
    account = Account(number + 1, f"desk{number:05d}", f"desk{number:05d}", "USD")
    state = AccountState(account, is_open=True, newest_entry_at=recorded[-1].entry_time, ledger_floor=None)
    return PreparedAccount(state, tuple(recorded), tuple(missed))


def _entry(  # noqa: PLR0913, PLR0917 - each is one column of a ledger entry
    ledger_id: str, asset: str, at: datetime, entry_type: str, amount: Decimal, balance: Decimal
) -> LedgerEntry:
    return LedgerEntry(ledger_id, f"R{ledger_id}", at, entry_type, "", asset, SPOT, amount, ZERO, balance)


# What the recorded history leads to: events, positions, four earlier runs, and how far the ledger is booked.
CONSEQUENCES: Final = """
insert into trading.position_events (
  account_id, asset, wallet, quantity_before, quantity_after, cause, ledger_id, effective_at
)
select account_id, asset, wallet, 0, balance, 'ledger', ledger_id, entry_time
from trading.ledger_entries
order by ingest_seq;

insert into trading.positions (account_id, asset, wallet, quantity, available_quantity, available_as_of)
select account_id, asset, wallet, balance, balance, {at} - {step}
from trading.ledger_entries
order by account_id, asset, wallet;

insert into trading.reconciliation_runs (
  run_id, account_id, interval_start, interval_end, mode, status, trigger, recorded_as_of, seconds,
  lock_hold_ms
)
select
  gen_random_uuid(), account_id, {start} - n * {step} - {step}, {start} - n * {step}, 'repair', 'succeeded',
  'schedule', {start} - n * {step}, 1, 1
from trading.accounts
cross join generate_series(0, 3) as n;

update trading.accounts a
set ledger_watermark = newest.ingest_seq
from (select account_id, max(ingest_seq) as ingest_seq from trading.ledger_entries group by account_id) newest
where newest.account_id = a.account_id
"""


def load_desk(url: str, desk: Desk) -> None:
    """Write the recorded history into a migrated, empty database, and leave it as an old database is.

    Vacuumed, so that no hint bit is left to set: with checksums, setting one for the first time is a write.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        # Here, so that no page of the catalogues is left to tidy up while the log is watched.
        connection.execute("create extension pg_walinspect")
        with connection.transaction(), connection.cursor() as cursor:
            with cursor.copy(
                "copy trading.accounts (account_id, name, kraken_conn_id, opened_at, opening_source, "
                "ledger_read_until) from stdin"
            ) as copy:
                for row in _account_rows(desk):
                    copy.write_row(row)
            with cursor.copy(
                "copy trading.ledger_entries (account_id, ledger_id, refid, entry_time, type, subtype, "
                "asset, wallet, amount, fee, balance) from stdin"
            ) as copy:
                for row in _recorded_rows(desk):
                    copy.write_row(row)
            start, end, step = map(sql.Literal, (INTERVAL.start, INTERVAL.end, RUN_INTERVAL))
            cursor.execute(sql.SQL(CONSEQUENCES).format(start=start, at=end, step=step))
        connection.execute("vacuum (freeze, analyze)")
        connection.execute("vacuum (freeze)")  # the statistics' own table, which the line above left untidy


def _account_rows(desk: Desk) -> Iterator[tuple[object, ...]]:
    for prepared in desk.accounts:
        account = prepared.state.account
        opened_at = prepared.recorded[0].entry_time
        yield (
            *(account.account_id, account.name, account.kraken_conn_id, opened_at, "ledger"),
            INTERVAL.start,
        )


def _recorded_rows(desk: Desk) -> Iterator[tuple[object, ...]]:
    for prepared in desk.accounts:
        for e in prepared.recorded:
            yield (
                *(prepared.account_id, e.ledger_id, e.refid, e.entry_time, e.entry_type, e.subtype),
                *(e.asset, e.wallet, e.amount, e.fee, e.balance),
            )
