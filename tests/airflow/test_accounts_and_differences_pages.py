"""The pages of accounts, differences and statements: filters, paging, values, and where numbers lead."""

from __future__ import annotations

import csv
import html
import io
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from kraken_airflow.dashboard.paging import cursor_of
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_recon.accounts.store import AccountStore
from kraken_recon.maintenance.maintaining import snapshot_assets
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.rules.run import DagRun
from kraken_recon.reconciliation.run import SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.values.intervals import interval_ending_now
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from desks.airflow import AirflowDesk

PLACE = "/kraken-recon/"
# 120 accounts with a run each: every tenth failed, of the others every fourth holds a repair: a bitcoin too
# few or too many, and in desk-004 an asset without a fresh price too.
DESK = """
with accounts as (
  insert into trading.accounts (name, kraken_conn_id, quote_currency)
  select 'desk-' || lpad(n::text, 3, '0'), 'x', case when mod(n, 2) = 0 then 'EUR' else 'USD' end
  from generate_series(1, 120) n
  returning account_id, name, right(name, 3)::int as n
),
runs as (
  insert into trading.reconciliation_runs (
    run_id, account_id, interval_start, interval_end, mode, status, trigger, recorded_as_of,
    reported_as_of, checked, matched, held, seconds, lock_hold_ms, error, dag_id, dag_run_id
  )
  select gen_random_uuid(), account_id, now() - interval '15 minutes', now(), 'repair',
    case when mod(n, 10) = 0 then 'failed' else 'succeeded' end, 'scheduled', now() - n * interval '1 second',
    now() - n * interval '1 second', 3, 2, (mod(n, 10) <> 0 and mod(n, 4) = 0)::int, 1, 1,
    case when mod(n, 10) = 0 then 'wrong key' end, 'position_sync', 'scheduled__' || n
  from accounts
  returning run_id, account_id, held
)
insert into trading.discrepancies (
  run_id, account_id, asset, wallet, db_quantity, exchange_quantity, explained, database_drift, residual,
  action, ledger_ids, found_at
)
select run_id, account_id, asset, 'spot', 5, 5 + drift, 0, 0, drift, 'held', '{}',
  now() - n * interval '1 minute'
from runs
join accounts using (account_id)
cross join lateral (
  values ('BTC', case when mod(n, 8) = 0 then 1 else -1 end), ('ODD', case when n = 4 then 7 end)
) as d(asset, drift)
where held > 0 and drift is not null
"""
PRICES = """
insert into trading.asset_prices (quote_currency, asset, price, taken_at)
values ('EUR', 'BTC', 50000, now()), ('USD', 'BTC', 55000, now()), ('EUR', 'ODD', 1, now() - interval '25 h')
"""
# Another run of every account, some minutes later.
AGAIN = """
insert into trading.reconciliation_runs (
  run_id, account_id, interval_start, interval_end, mode, status, trigger, recorded_as_of, seconds,
  lock_hold_ms, error
)
select gen_random_uuid(), account_id, interval_start, interval_end + %s * interval '1 minute', 'repair', %s,
  'manual', now() + %s * interval '1 minute', 1, 1, %s
from trading.reconciliation_runs
where trigger = 'scheduled'
"""
MORE_ASSETS = """
insert into trading.discrepancies (
  run_id, account_id, asset, wallet, db_quantity, exchange_quantity, explained, database_drift, residual,
  action, ledger_ids, found_at
)
select run_id, account_id, 'X' || n, wallet, db_quantity, exchange_quantity, explained, database_drift,
  residual, action, ledger_ids, found_at
from trading.discrepancies, generate_series(1, 4) n
where asset = 'BTC'
"""
# A long ledger of two wallets, of which a run found three entries missing.
LONG_LEDGER = """
with account as (
  insert into trading.accounts (name, kraken_conn_id) values ('alpha', 'x')
  returning account_id
),
entries as (
  insert into trading.ledger_entries (
    account_id, ledger_id, refid, entry_time, type, subtype, asset, wallet, amount, fee, balance
  )
  select account_id, 'L' || n, 'R', now() - n * interval '1 minute', 'trade', '', 'BTC',
    case when mod(n, 3) = 0 then 'earn' else 'spot' end, n, 0.1, 0
  from account, generate_series(1, 500) n
),
runs as (
  insert into trading.reconciliation_runs (
    run_id, account_id, interval_start, interval_end, mode, status, trigger, recorded_as_of, seconds,
    lock_hold_ms
  )
  select gen_random_uuid(), account_id, now() - interval '1 minute', now(), 'repair', 'succeeded', 'manual',
    now(), 1, 1
  from account
  returning run_id, account_id
)
insert into trading.discrepancies (
  run_id, account_id, asset, wallet, db_quantity, exchange_quantity, explained, database_drift, residual,
  action, ledger_ids
)
select run_id, account_id, 'BTC', 'spot', 0, 645, 645, 0, 0, 'applied', '{L320,L325,L490}'
from runs
"""
# An alert for each account, two of three about a held repair, of which somebody looks after one.
ALERTS = """
insert into trading.alerts (kind, account_id, message, status, acknowledged_by, acknowledged_at)
select case when mod(n, 3) = 2 then 'sync_failure' else 'held_repair' end, account_id, 'alert number ' || n,
  case when n = 1 then 'acknowledged' else 'open' end, case when n = 1 then 'somebody' end,
  case when n = 1 then now() end
from trading.accounts, lateral (select right(name, 3)::int as n)
"""
HELD = [n for n in range(1, 121) if n % 10 and n % 4 == 0]


@pytest.fixture
def viewer(api_app: Any, token_of: Callable[[str | None], str]) -> TestClient:
    headers = {"Authorization": f"Bearer {token_of('VIEWER')}"}
    return TestClient(api_app, base_url="https://airflow.test", headers=headers)


@pytest.fixture
def full_desk(desk: AirflowDesk) -> AirflowDesk:
    desk.execute(DESK)
    desk.execute(PRICES)
    return desk


def rows_of(page: str) -> list[str]:
    """Name what stands at the head of each line of a page's tables."""
    return [re.sub(r"<[^>]+>", "", row).split()[0] for row in re.findall(r'<th scope="row">(.*?)</th>', page)]


def accounts_of(viewer: TestClient, path: str) -> Iterator[str]:
    """Follow the links from page to page, and name the accounts of each."""
    while True:
        page = viewer.get(PLACE + path)
        assert page.status_code == 200, page.text
        yield from (name for name in rows_of(page.text.partition('id="accounts"')[2].partition("<h2>")[0]))
        link = re.search(r'href="\./(\?[^"]+)" rel="next"', page.text)
        if link is None:
            return
        path = html.unescape(link[1])


def csv_rows(viewer: TestClient, path: str) -> list[dict[str, str]]:
    reply = viewer.get(f"{PLACE}api/{path}")
    assert reply.headers["content-disposition"].startswith("attachment")
    return list(csv.DictReader(io.StringIO(reply.text)))


@pytest.mark.usefixtures("full_desk")
def test_the_worst_accounts_come_first_and_every_account_once(viewer: TestClient) -> None:
    names = list(accounts_of(viewer, ""))
    assert len(names) == len(set(names)) == 120
    failed = [f"desk-{n:03}" for n in range(10, 121, 10)]
    held = [f"desk-{n:03}" for n in HELD]
    assert names[:36] == failed + held
    page = viewer.get(PLACE).text
    named = "desk-010, desk-020, desk-030, desk-040, desk-050 and 31 more."
    assert f"36 of 120 accounts need a look: {named}" in page


@pytest.mark.usefixtures("full_desk")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?state=failed", list(range(10, 121, 10))),
        ("?state=held&name=K-00", [4, 8]),
        ("?order=stalest&name=desk-11", [110, 112, 116, 119, 118, 117, 115, 114, 113, 111]),
        ("?order=name&age=-1", sorted([*range(10, 121, 10), *HELD])),
        ("?state=old", []),
        ("?name=%25", []),
        ("?name=' or ''='", []),
    ],
)
def test_accounts_are_filtered_and_ordered(viewer: TestClient, query: str, expected: list[int]) -> None:
    assert list(accounts_of(viewer, query)) == [f"desk-{n:03}" for n in expected]
    if "stalest" not in query:
        downloaded = [row["account"] for row in csv_rows(viewer, f"latest.csv{query}")]
        assert sorted(downloaded) == [f"desk-{n:03}" for n in expected]


@pytest.mark.usefixtures("full_desk")
def test_counts_lead_to_the_accounts_that_they_count(viewer: TestClient) -> None:
    page = viewer.get(PLACE).text
    line = r'<li><a href="\./(\?(?:state|age)=[^"#]+)#accounts">.*?<span class="number">([\d,]+)<'
    counts = re.findall(line, page)
    assert len(counts) >= 4
    for query, count in counts:
        assert len(list(accounts_of(viewer, html.unescape(query)))) == int(count)


@pytest.mark.usefixtures("full_desk")
def test_unexplained_drift_is_valued_by_currency_and_never_cancels_out(viewer: TestClient) -> None:
    drift = viewer.get(f"{PLACE}api/latest").json()["unexplained_drift"]
    [euros] = drift["values"]
    assert (euros["currency"], euros["value"]) == ("EUR", str(50_000 * len(HELD)))
    # Its price is too old to be trusted.
    assert euros["unpriced"] == ["ODD"]
    odd, bitcoin = drift["assets"]
    assert (odd["asset"], odd["total"], odd["value"]) == ("ODD", "7", None)
    assert (bitcoin["total"], bitcoin["accounts"]) == (str(len(HELD)), len(HELD))
    assert bitcoin["net"] == str(sum(1 if n % 8 == 0 else -1 for n in HELD))
    page = viewer.get(PLACE).text
    assert f"{50_000 * len(HELD):,}.00 EUR" in page
    assert re.search(r"without a price</span> ODD: not in the sum", page)


def test_value_at_risk_says_what_is_unproven_and_never_none_beside_a_no(
    viewer: TestClient, full_desk: AirflowDesk
) -> None:
    """A failed account may have lost anything: its books are at risk, and without books nobody knows."""
    full_desk.execute("update trading.accounts set opened_at = now() where name <> 'desk-010'")
    full_desk.execute(
        "insert into trading.positions (account_id, asset, wallet, quantity, available_quantity)"
        " select account_id, 'BTC', 'spot', 2, 2 from trading.accounts where name in ('desk-020', 'desk-001')"
    )
    risk = viewer.get(f"{PLACE}api/latest").json()
    assert (risk["unproven"]["accounts"], risk["unproven"]["unknown"]) == (12, 1)
    [euros] = risk["unproven"]["values"]
    assert (euros["currency"], euros["value"], euros["unpriced"]) == ("EUR", "100000", [])
    full_desk.execute("update trading.discrepancies set residual = 0, exchange_quantity = db_quantity")
    page = viewer.get(PLACE).text
    card = page.partition("Value at risk</h2>")[2].partition("</section>")[0]
    text = " ".join(re.sub(r"<[^>]+>", "", card).split())
    assert ">No</strong>" in page
    assert "None" not in text
    assert "100,000.00 EUR" in text
    assert "12 accounts without a fresh proof; unknown for 1, which was never opened" in text


def test_what_was_put_right_within_a_day_is_valued(viewer: TestClient, full_desk: AirflowDesk) -> None:
    of_account = (
        "run_id in (select run_id from trading.reconciliation_runs join trading.accounts using (account_id)"
        " where name = %s)"
    )
    for name, hours in (("desk-004", 1), ("desk-008", 25)):
        full_desk.execute(
            "update trading.discrepancies set action = 'update', explained = 3, residual = 1,"
            " exchange_quantity = db_quantity + 4, found_at = now() - %s * interval '1 hour'"
            f" where asset = 'BTC' and {of_account}",
            hours,
            name,
        )
    put_right = viewer.get(f"{PLACE}api/latest").json()["put_right"]
    assert [worth["value"] for worth in put_right["explained"]] == ["150000"]
    assert [worth["value"] for worth in put_right["repaired"]] == ["50000"]
    assert "from ledger entries that were missed: 150,000.00 EUR" in viewer.get(PLACE).text


@pytest.mark.usefixtures("full_desk")
def test_a_difference_is_shown_with_its_value_and_the_age_of_the_price(viewer: TestClient) -> None:
    rows = {(row["account"], row["asset"]): row for row in csv_rows(viewer, "differences.csv")}
    bitcoin, odd = rows["desk-004", "BTC"], rows["desk-004", "ODD"]
    assert (bitcoin["drift_value"], bitcoin["unexplained_value"]) == ("50000", "50000")
    assert (bitcoin["quote_currency"], bitcoin["price"], bool(bitcoin["priced_at"])) == ("EUR", "50000", True)
    assert (odd["drift_value"], odd["price"], odd["priced_at"]) == ("", "", "")
    page = viewer.get(f"{PLACE}differences?account=desk-004").text
    assert "50,000.00 EUR" in page
    assert "price of 20" in page
    assert "no price in EUR" in page


def test_drift_counts_as_of_the_last_run_that_succeeded_until_something_is_written(
    viewer: TestClient, full_desk: AirflowDesk
) -> None:
    def values() -> list[Any]:
        return list(viewer.get(f"{PLACE}api/latest").json()["unexplained_drift"]["values"])

    full_desk.execute(AGAIN, 1, "failed", 1, "down")
    assert values()[0]["value"] == str(50_000 * len(HELD))
    full_desk.execute("update trading.discrepancies set action = 'update' where asset = 'ODD'")
    assert values()[0]["unpriced"] == []
    full_desk.execute(AGAIN, 2, "succeeded", 2, None)
    assert values() == []


@pytest.mark.usefixtures("full_desk")
def test_differences_are_paged_filtered_and_handed_out(viewer: TestClient) -> None:
    every = csv_rows(viewer, "differences.csv")
    assert len(every) == len(HELD) + 1
    assert [row["found_at"] for row in every] == sorted((row["found_at"] for row in every), reverse=True)
    assert len(viewer.get(f"{PLACE}api/differences").json()["differences"]) == len(every)
    moment = every[5]["found_at"]
    for query, expected in (
        ("account=desk-004", 2),
        ("account=desk-004&asset=ODD", 1),
        ("action=held", len(every)),
        ("action=applied", 0),
        ("kind=explained", 0),
        ("kind=unexplained", len(every)),
        ("kind=now", len(every)),
        (f"run={every[-1]['run_id']}", 1),
        (f"since={quote(moment)}", 6),
        (f"until={quote(moment)}", len(every) - 6),
        ("since=2999-01-01T00:00", 0),
    ):
        assert len(csv_rows(viewer, f"differences.csv?{query}")) == expected, query
        page = viewer.get(f"{PLACE}differences?{query}").text
        assert len(rows_of(page)) == expected, query
    assert "7 that no ledger entry explains: not written; a person decides" in page or expected == 0


def test_many_differences_are_joined_from_their_pages(viewer: TestClient, full_desk: AirflowDesk) -> None:
    full_desk.execute(MORE_ASSETS)
    seen: list[tuple[str, ...]] = []
    path: str | None = "differences?kind=now"
    while path:
        page = viewer.get(PLACE + path).text
        rows = re.findall(r'href="(statement\?[^"#]+)">([A-Z0-9]+)<span', page)
        assert len(rows) <= 50
        seen += rows
        link = re.search(r'href="(differences\?[^"]+)" rel="next"', page)
        path = html.unescape(link[1]) if link else None
    assert len(seen) == len(set(seen)) == len(HELD) * 5 + 1


def test_alerts_are_paged_filtered_and_handed_out(viewer: TestClient, full_desk: AirflowDesk) -> None:
    full_desk.execute(ALERTS)
    page = viewer.get(f"{PLACE}wants").text
    assert "119 to answer" in page
    assert 'href="wants?kind=held_repair&amp;status=open#alerts">held repair 79<' in page
    for query, expected in (
        ("", 120),
        ("kind=held_repair", 80),
        ("kind=held_repair&status=open", 79),
        ("status=acknowledged", 1),
        ("account=desk-003", 1),
        ("account=desk-003&kind=sync_failure", 0),
        ("kind=' or ''='", 0),
    ):
        path: str | None = f"wants?{query}"
        seen: list[str] = []
        while path:
            page = viewer.get(PLACE + path).text
            seen += re.findall(r"alert number (\d+)", page)
            link = re.search(r'href="(wants\?[^"]+)" rel="next"', page)
            path = html.unescape(link[1]) if link else None
        assert len(seen) == len(set(seen)) == expected, query
        assert len(csv_rows(viewer, f"wants.csv?{query}")) == expected
        assert len(viewer.get(f"{PLACE}api/wants?{query}").json()["alerts"]) == expected


CURSORS = [
    *("x", "%00", "bm9wZQ", "W10", "e" * 999, "e" * 1_001),
    *(cursor_of("a"), cursor_of(1, 2, 3, 4, 5), cursor_of(2**64, "a"), cursor_of("\0", "\0")),
]
UNANSWERABLE = [
    *(("?state=worse", 422), ("?age=9", 422), ("?order=random()", 422), ("?name=a%00b", 422)),
    *(("differences?since=yesterday", 422), ("differences?action=steal", 422), ("differences?kind=1", 422)),
    *(("differences?run=1", 422), ("differences?account=nobody", 404), ("differences?account=%00", 422)),
    *(("account?name=", 422), ("account?name=nobody", 404), ("account?name=%00", 422)),
    *(("statement?account=desk-001&asset=%00", 422), ("statement?account=nobody&asset=BTC", 404)),
    *(("wants?status=x", 422), ("wants?account=nobody", 404)),
    *(("statement?account=desk-001&asset=NEVER", 404), ("differences?acount=desk-001", 400)),
    *(("?foo=1", 400), ("account?name=desk-001&Name=x", 400), ("wants?kind=a&kind=b", 400)),
    *(("differences?since=2026-01-02&until=2026-01-01", 400), ("differences?since=2026-01&until=x", 422)),
]


@pytest.mark.usefixtures("full_desk")
@pytest.mark.parametrize(
    "path", ["?", "differences?", "account?name=desk-001&", "statement?account=desk-001&asset=BTC&", "wants?"]
)
def test_a_forged_cursor_is_refused_in_plain_words(viewer: TestClient, path: str) -> None:
    for forged in CURSORS:
        reply = viewer.get(f"{PLACE}{path}before={forged}")
        assert reply.status_code in {400, 422}, forged
        assert "This link leads nowhere" in reply.text
        assert reply.status_code == 422 or "begin at the first page" in reply.text


@pytest.mark.usefixtures("full_desk")
def test_what_cannot_be_answered_is_told_and_never_an_error(viewer: TestClient) -> None:
    for path, status in UNANSWERABLE:
        page = viewer.get(PLACE + path)
        assert page.status_code == status, path
        assert "This link leads nowhere" in page.text
        data = viewer.get(f"{PLACE}api/{path if path[0] != '?' else f'latest{path}'}")
        assert data.status_code == status, path
        assert data.json()["detail"]


@pytest.mark.usefixtures("full_desk")
def test_a_misspelt_parameter_is_told_with_the_name_that_is_meant(viewer: TestClient) -> None:
    refused = viewer.get(f"{PLACE}differences?acount=desk-001")
    assert refused.status_code == 400
    assert "no parameter is named acount here; did you mean account?" in refused.text
    reversed_range = viewer.get(f"{PLACE}api/differences.csv?since=2026-01-02&until=2026-01-01")
    assert reversed_range.status_code == 400
    assert "is not before until" in reversed_range.json()["detail"]


@pytest.mark.usefixtures("full_desk")
def test_an_asset_that_was_never_held_has_no_statement(viewer: TestClient) -> None:
    for path in ("statement", "api/statement", "api/statement.csv"):
        reply = viewer.get(f"{PLACE}{path}?account=desk-004&asset=NEVER")
        assert (reply.status_code, "never held NEVER" in reply.text) == (404, True), path
        assert viewer.get(f"{PLACE}{path}?account=desk-004&asset=BTC").status_code == 200, path


def test_nobody_in_a_browser_is_led_to_the_login_and_back(api_app: Any) -> None:
    stranger = TestClient(api_app, base_url="https://airflow.test", follow_redirects=False)
    asked = f"{PLACE}differences?account=desk-004&kind=now"
    led = stranger.get(asked, headers={"Accept": "text/html,*/*"})
    assert led.status_code == 303
    assert led.headers["location"] == f"/api/v2/auth/login?next={quote(asked, safe='')}"
    for path, accept in ((asked, "*/*"), (f"{PLACE}api/latest", "text/html"), (f"{PLACE}docs", "*/*")):
        assert stranger.get(path, headers={"Accept": accept}).status_code == 401, path


def test_characters_that_turn_the_direction_of_writing_are_shown(
    viewer: TestClient, desk: AirflowDesk
) -> None:
    r"""``\u202e`` makes what follows read backwards: *tnuocca* instead of *account*."""
    desk.execute(DESK)
    turned = "desk\u202eevil\u2066\u200f"
    desk.execute("update trading.accounts set name = %s where name = 'desk-004'", turned)
    desk.execute("update trading.reconciliation_runs set note = %s", turned)
    desk.execute("update trading.discrepancies set ledger_ids = %s", [turned])
    desk.execute("insert into trading.alerts (kind, message) values ('session_leak', %s)", turned)
    name = quote(turned, safe="")
    paths = ("", "differences", "wants", f"account?name={name}", f"statement?account={name}&asset=BTC")
    for path in (*paths, "api/latest.csv", "api/differences.csv", "api/wants.csv"):
        text = viewer.get(PLACE + path).text
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f]", text), path
        assert r"desk\u202eevil\u2066\u200f" in text, path


def test_an_account_shows_what_it_holds_is_worth_and_which_airflow_run_looked(
    viewer: TestClient, desk: AirflowDesk
) -> None:
    desk.account("alpha", ZUSD="1000", XXBT="2")
    hook = TradingDbHook()
    wiring = hook.wiring()
    with hook.unit_of_work() as unit:
        accounts = AccountStore(unit).find_accounts(None)
    dag_run = DagRun("position_sync", "manual__2026-11-22T10:00:00+00:00")
    request = SyncRequest(interval_ending_now(utc_now()), Mode.REPAIR, Policy(), dag_run=dag_run)
    sync_accounts(accounts, request, wiring.sync_ports())
    sync_accounts(
        accounts,
        SyncRequest(interval_ending_now(utc_now()), Mode.REPAIR, Policy(), trigger="command line"),
        wiring.sync_ports(),
    )
    assert snapshot_assets(wiring.maintaining_ports())["failed"] == []
    desk.execute(
        "insert into trading.asset_snapshots select account_id, hour - interval '1 hour', taken_at -"
        " interval '1 hour', quote_currency, value + 1, assets, unpriced from trading.asset_snapshots"
    )
    data = viewer.get(f"{PLACE}api/account?name=alpha").json()
    worth = {row["asset"]: row["value"] for row in data["positions"]}
    assert worth["USD"] == "1000"
    assert len(data["curve"]) == 2
    assert [run["dag_run_id"] for run in data["runs"]] == [None, dag_run.run_id]
    page = viewer.get(f"{PLACE}account?name=alpha").text
    assert "Accounted for" in page
    assert 'href="../dags/position_sync/runs/manual__2026-11-22T10%3A00%3A00%2B00%3A00"' in page
    assert "command line" in page
    assert 'href="statement?account=alpha&amp;asset=BTC"' in page
    for place, expected in (("runs", 2), ("positions", 2), ("curve", 2)):
        assert len(csv_rows(viewer, f"{place}.csv?name=alpha")) == expected
        assert len(viewer.get(f"{PLACE}api/{place}?name=alpha").json()[place]) == expected


def test_an_average_is_rounded_for_people_and_says_what_it_covers(
    viewer: TestClient, desk: AirflowDesk
) -> None:
    """The page rounds; documents keep every digit. Only what covers less than all says of how much it is."""
    costs = {
        "ALL": ("181.818181818181818171", "2", "0"),
        "NONE": (None, "0", "3"),
        "PART": ("0.000012345678912345", "10", "1"),
        "MOST": ("99.999999999999999999", "9999999", "1"),
    }
    desk.execute("insert into trading.accounts (name, kraken_conn_id) values ('alpha', 'x')")
    for asset, (average, known, unknown) in costs.items():
        desk.execute(
            "insert into trading.positions (account_id, asset, quantity, avg_cost)"
            " select account_id, %s, 1, %s::numeric from trading.accounts",
            asset,
            average,
        )
        desk.execute(
            "insert into trading.asset_costs (account_id, asset, quantity_known, quantity_unknown, avg_cost,"
            " quantity_moving, cost, realised)"
            " select account_id, %s, %s::numeric, %s::numeric, %s::numeric, 0, 0, 0 from trading.accounts",
            asset,
            known,
            unknown,
            average,
        )
    page = viewer.get(f"{PLACE}account?name=alpha").text
    cells = re.findall(r'<td data-label="Average cost"[^>]*>(.*?)</td>', page)
    shown = dict(zip(sorted(costs), (re.sub(r"<[^>]+>", "", cell).strip() for cell in cells), strict=True))
    assert shown == {
        "ALL": "181.81818",
        "MOST": "100 for 99.9 %",
        "NONE": "",
        "PART": "0.000012345679 for 90.9 %",
    }
    data = viewer.get(f"{PLACE}api/positions?name=alpha").json()["positions"]
    assert {row["asset"]: row["avg_cost"] for row in data} == {a: cost[0] for a, cost in costs.items()}
    covered = {row["asset"]: row["avg_cost_covers"] for row in csv_rows(viewer, "positions.csv?name=alpha")}
    assert covered == {"ALL": "all", "MOST": "99.9 %", "NONE": "", "PART": "90.9 %"}


def test_hostile_text_stays_text_on_every_page(viewer: TestClient, desk: AirflowDesk) -> None:
    hostile = "<script>alert('x')</script>\"{{ 7 * 7 }}"
    desk.execute(DESK)
    desk.execute("update trading.accounts set name = %s where name = 'desk-004'", hostile)
    desk.execute(
        "update trading.reconciliation_runs set note = %s, trigger = %s, dag_id = %s, dag_run_id = %s",
        *[hostile] * 4,
    )
    desk.execute("delete from trading.discrepancies where asset = 'ODD'")
    desk.execute("update trading.discrepancies set asset = %s, ledger_ids = %s", hostile, [hostile])
    desk.execute("insert into trading.alerts (kind, message) values ('session_leak', %s)", hostile)
    name = quote(hostile, safe="")
    for path in (
        "",
        "differences",
        f"differences?account={name}&asset={name}",
        "wants",
        f"account?name={name}",
        f"statement?account={name}&asset={name}&entry={name}",
        f"?name={name}",
        f"account?name={name}nobody",
    ):
        page = viewer.get(PLACE + path).text
        assert "<script>alert" not in page, path
        assert "alert(&#39;x&#39;)" in page, path
        assert "{{ 7 * 7 }}" in page, path
        assert f'href="{hostile}' not in page


def test_a_difference_is_marked_however_deep_it_lies(viewer: TestClient, desk: AirflowDesk) -> None:
    desk.execute(LONG_LEDGER)
    [link] = set(re.findall(r'href="(statement\?[^"#]+)"', viewer.get(f"{PLACE}differences").text))
    page = viewer.get(PLACE + html.unescape(link)).text
    shown = re.findall(r'<tr id="(L\d+)"', page)
    assert shown == [f"L{n}" for n in range(320, 420)]
    assert re.findall(r'<tr id="(L\d+)" class="marked"', page) == ["L320", "L325"]
    assert "3 entries are marked" in page
    assert "1 of them not on this page" in page
    data = viewer.get(f"{PLACE}api/statement?account=alpha&asset=BTC").json()
    whole = {entry["ledger_id"]: entry["running"] for entry in data["entries"]}
    assert len(whole) == 500
    cells = re.findall(r'<td data-label="Running"[^>]*>([^<]+)<', page)
    assert cells == [whole[ledger_id] for ledger_id in shown]
    alone = viewer.get(f"{PLACE}statement?account=alpha&asset=BTC&entry=L7").text
    assert re.findall(r'<tr id="(L\d+)" class="marked"', alone) == ["L7"]
