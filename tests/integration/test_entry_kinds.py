"""Each kind of ledger entry, through a real sync: stored, applied once as what it is, and costed."""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from desks.entry_kinds import BASE, CASES, Case, Row
from desks.logins import as_writer
from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.kraken.credentials import KrakenCredentials
from kraken_recon.ledger.asset_names import parse_kraken_code
from kraken_recon.ledger.entry_kinds import ANY, KINDS
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.values.intervals import RUN_INTERVAL, Interval
from kraken_recon.wiring import Wiring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import NewDatabase, Simulator

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
HAPPENS_AT = NEW_YEAR + timedelta(hours=1)
LOOKS = (NEW_YEAR + RUN_INTERVAL, NEW_YEAR + timedelta(hours=8), NEW_YEAR + timedelta(hours=8) + RUN_INTERVAL)
SECRET = base64.b64encode(b"every kind").decode()
COLUMNS = ("type", "subtype", "asset", "wallet", "amount", "fee")

Rows = dict[str, list[dict[str, Any]]]


def wire(case: str, rows: tuple[Row, ...], begin: datetime) -> list[dict[str, str]]:
    return [
        {
            "id": f"L-{case}-{begin:%H}-{place}",
            "refid": row.refid,
            "time": str(int(begin.timestamp()) + row.at) + f".{place:04d}",
            "type": row.entry_type,
            "subtype": row.subtype,
            "asset": row.asset,
            "amount": row.amount,
            "fee": row.fee,
        }
        for place, row in enumerate(rows)
    ]


class Desks:
    """One account for each case, each looked at three times: before, after, and when nothing happened."""

    def __init__(self, simulator: Simulator, url: str) -> None:
        self.simulator, self.now = simulator, LOOKS[0]
        self.wiring = Wiring(
            as_writer(url),
            lambda account: KrakenCredentials(f"key {account.name}", SECRET, simulator.base_url, "unlimited"),
            clock=lambda: self.now,
        )
        self.engine = self.wiring.engine()
        for place, case in enumerate(CASES):
            key = {"api_key": f"key {place}", "api_secret": SECRET, "tier": "unlimited"}
            entries = [*wire(str(place), BASE, NEW_YEAR), *wire(str(place), case.rows, HAPPENS_AT)]
            simulator.control.post("accounts", {"name": str(place), "entries": entries, **key})
        with self.engine.begin() as connection:
            connection.execute(
                sa.text("insert into trading.accounts (name, kraken_conn_id) select :name, :name"),
                [{"name": str(place)} for place in range(len(CASES))],
            )
        for look in LOOKS:
            self.look(look)
        self.entries = self.rows("select * from trading.ledger_entries order by ingest_seq")
        self.events = self.rows("select * from trading.position_events where cause <> 'opening'")
        self.positions = self.rows("select * from trading.positions where quantity <> 0")
        self.costs = self.rows("select * from trading.asset_costs")
        self.results = self.rows("select * from trading.realised_results")
        self.runs = self.rows("select * from trading.reconciliation_runs order by interval_start")
        self.alerts = self.rows("select * from trading.alerts")

    def look(self, at: datetime) -> None:
        self.now = at
        self.simulator.control.post("clock", {"mode": "virtual", "now": str(int(at.timestamp()))})
        with UnitOfWork(self.engine) as unit:
            accounts = AccountStore(unit).find_accounts(None)
        request = SyncRequest(Interval(at - RUN_INTERVAL, at), Mode.REPAIR, Policy(), concurrency=8)
        sync_accounts(accounts, request, self.wiring.sync_ports())

    def rows(self, query: str) -> Rows:
        with self.engine.connect() as connection:
            accounts = connection.execute(sa.text("select account_id, name from trading.accounts")).all()
            names = {row.account_id: CASES[int(row.name)].name for row in accounts}
            found: Rows = defaultdict(list)
            for row in connection.execute(sa.text(query)).mappings():
                found[names[row["account_id"]]].append(dict(row))
        return found


@pytest.fixture(scope="module")
def desks(shared_simulator: Simulator, new_database: NewDatabase) -> Iterator[Desks]:
    shared_simulator.control.post("reset")
    with new_database() as url:
        yield Desks(shared_simulator, url)


each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@each_case
def test_every_look_at_it_succeeded_and_explained_everything(desks: Desks, case: Case) -> None:
    runs = desks.runs[case.name]
    assert [(run["status"], run["error"]) for run in runs] == [("succeeded", None)] * 3
    assert [run["entries_ingested"] for run in runs] == [len(BASE), len(case.rows), 0]
    assert [run["updated"] + run["added"] + run["removed"] + run["held"] for run in runs] == [0, 0, 0]


@each_case
def test_it_is_stored_as_what_it_is(desks: Desks, case: Case) -> None:
    expected = Counter(
        (row.entry_type, row.subtype, *parse_kraken_code(row.asset), Decimal(row.amount), Decimal(row.fee))
        for row in (*BASE, *case.rows)
    )
    assert Counter(tuple(entry[name] for name in COLUMNS) for entry in desks.entries[case.name]) == expected


@each_case
def test_it_is_applied_exactly_once(desks: Desks, case: Case) -> None:
    moved = {
        event["ledger_id"]: event["quantity_after"] - event["quantity_before"]
        for event in desks.events[case.name]
    }
    assert len(moved) == len(desks.events[case.name])
    assert moved == {e["ledger_id"]: e["amount"] - e["fee"] for e in desks.entries[case.name]}


@each_case
def test_the_positions_are_the_balances_at_the_exchange(desks: Desks, case: Case) -> None:
    statement = desks.simulator.control.get(f"accounts/{CASES.index(case)}/statement")
    balances = {parse_kraken_code(code): Decimal(amount) for code, amount in statement["balances"].items()}
    held = {(row["asset"], row["wallet"]): row["quantity"] for row in desks.positions[case.name]}
    assert held == {key: amount for key, amount in balances.items() if amount}


@each_case
def test_it_is_costed_rightly(desks: Desks, case: Case) -> None:
    costs = {
        row["asset"]: (row["quantity_known"], row["quantity_unknown"], row["cost"])
        for row in desks.costs[case.name]
    }
    assert {asset: costs[asset] for asset in case.costs} == {
        asset: tuple(map(Decimal, figures)) for asset, figures in case.costs.items()
    }
    results = {row["asset"]: row["result"] for row in desks.results[case.name]}
    assert results == {asset: Decimal(result) for asset, result in case.realised.items()}
    held: dict[str, Decimal] = defaultdict(Decimal)
    for position in desks.positions[case.name]:
        held[position["asset"]] += position["quantity"]
    counted = {
        row["asset"]: row["quantity_known"] + row["quantity_unknown"] + row["quantity_moving"]
        for row in desks.costs[case.name]
    }
    assert {asset: quantity for asset, quantity in counted.items() if quantity} == held


@each_case
def test_what_is_not_known_is_told(desks: Desks, case: Case) -> None:
    notes = [run["note"] or "" for run in desks.runs[case.name]]
    told = [alert for alert in desks.alerts[case.name] if alert["kind"] == "unknown_entry_kind"]
    unpaired = [alert for alert in desks.alerts[case.name] if alert["kind"] == "conversion_unpaired"]
    assert len(desks.alerts[case.name]) == len(told) + len(unpaired)
    open_still = [alert for alert in unpaired if alert["status"] != "resolved"]
    assert len(open_still) == case.is_unpaired
    if case.strange is None:
        assert told == []
        assert "not known" not in "".join(notes)
    else:
        assert [case.strange in note for note in notes] == [False, True, False]
        assert told
        assert all(case.strange in alert["message"] for alert in told)
        assert {alert["occurrences"] for alert in told} == {1}


def test_the_cases_cover_every_kind_that_is_known() -> None:
    seen = {(row.entry_type, row.subtype) for case in CASES for row in (*BASE, *case.rows)}
    known = {
        (entry_type, "" if subtype == ANY else subtype)
        for listed in KINDS.values()
        for row in listed
        for entry_type, subtype in row.kinds
    }
    assert known <= seen
