"""The pages on orders and on the database's sessions: figures, filters, pages, downloads and links."""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from fastapi.testclient import TestClient

from desks.order_rows import (
    HOSTILE,
    add_account,
    add_finding,
    add_orders,
    add_rates,
    add_samples,
)
from desks.orders import TradingDesk
from kraken_airflow.dashboard.inline_files import PLACE, VENDORED
from kraken_airflow.dashboard.pages.orders import BUCKETS
from kraken_airflow.dashboard.paging import cursor_of
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.verification.run import VerifyingPorts, VerifyingRules
from kraken_recon.verification.verifying import verify_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Simulator

PAGES = "/kraken-recon"


@pytest.fixture
def viewer(api_app: Any, token_of: Callable[[str | None], str]) -> TestClient:
    client = TestClient(api_app, base_url="https://airflow.test")
    client.headers["Authorization"] = f"Bearer {token_of('VIEWER')}"
    return client


@pytest.fixture
def trading(trading_db: str) -> str:
    """Return a database with two accounts that nothing happened on."""
    for name in ("alpha", "beta"):
        add_account(trading_db, name)
    return trading_db


def rows_of(viewer: TestClient, place: str, **filters: str) -> list[dict[str, str]]:
    reply = viewer.get(f"{PAGES}/api/{place}.csv", params=filters)
    assert reply.status_code == 200
    assert reply.headers["content-disposition"].startswith("attachment")
    return list(csv.DictReader(io.StringIO(reply.text)))


def charts_of(page: str) -> list[Any]:
    """Read what the script of a page draws."""
    return [
        json.loads(block)
        for block in re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    ]


def linked(page: str, words: str) -> str:
    found = re.search(rf'href="([^"]+)"[^>]*>{words}', page)
    assert found is not None, words
    return html.unescape(found[1])


def test_mismatches_come_page_by_page_and_whole_in_the_downloads(viewer: TestClient, trading: str) -> None:
    add_orders(trading, "alpha", [str(n) for n in range(120)], verdict="mismatch")
    numbers: list[str] = []
    place = "orders"
    for shown in (50, 50, 20):
        page = viewer.get(f"{PAGES}/{place}").text
        found = re.findall(r'href="order\?id=(\d+)"', page)
        assert len(found) == shown
        numbers += found
        if len(numbers) < 120:
            place = linked(page, "Older")
    assert "Older" not in page
    assert linked(page, "Newest") == "orders"
    rows = rows_of(viewer, "orders")
    assert [row["order_id"] for row in rows] == numbers
    assert len(set(numbers)) == 120
    data = viewer.get(f"{PAGES}/api/orders").json()
    assert [str(row["order_id"]) for row in data["mismatches"]] == numbers
    assert rows[0]["dag_run_id"] == data["mismatches"][0]["dag_run_id"] == "scheduled__1"


def test_mismatches_are_filtered_by_account_level_pair_and_time(viewer: TestClient, trading: str) -> None:
    add_orders(trading, "alpha", ["0"], verdict="mismatch", level="fills")
    add_orders(trading, "alpha", ["0"], verdict="mismatch", level="ledger", pair="ETHUSD")
    add_orders(trading, "beta", ["0"], verdict="mismatch", level="ledger")
    add_orders(trading, "beta", ["0"], side="sell", verdict="mismatch", days_ago=20)
    for filters, shown in (
        ({}, 3),
        ({"account": "alpha"}, 2),
        ({"level": "ledger"}, 2),
        ({"level": "ledger", "account": "alpha"}, 1),
        ({"pair": "ethusd"}, 1),
        ({"days": "30"}, 4),
        ({"days": "30", "account": "beta"}, 2),
        ({"account": "' or ''='"}, 0),
        ({"pair": "%"}, 0),
    ):
        page = viewer.get(f"{PAGES}/orders", params=filters)
        assert len(re.findall(r'href="order\?id=', page.text)) == shown, filters
        assert len(rows_of(viewer, "orders", **filters)) == shown
    assert "None like that in 7 days" in page.text
    filtered = viewer.get(f"{PAGES}/orders?account=alpha&days=30").text
    assert "api/orders.csv?account=alpha&amp;days=30" in filtered


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("before=forged", 400),
        (f"before={cursor_of('2026-01-01', 1)}", 400),
        (f"before={cursor_of(1, 1)}", 400),
        ("days=8", 422),
        ("level=' or ''='", 422),
        ("account=%00", 422),
        ("hours=1", 422),
        ("state=closed", 422),
        ("rule=x", 422),
    ],
)
@pytest.mark.usefixtures("trading_db")
def test_forged_parameters_are_refused(viewer: TestClient, query: str, status: int) -> None:
    names = {"hours": "database", "state": "database", "rule": "database"}
    place = names.get(query.partition("=")[0], "orders")
    assert viewer.get(f"{PAGES}/{place}?{query}").status_code == status
    if query.startswith("before"):
        assert viewer.get(f"{PAGES}/database?{query}").status_code == status


@pytest.mark.parametrize(("number", "status"), [("0", 422), ("x", 422), (str(2**63), 422), ("7", 404)])
@pytest.mark.usefixtures("trading_db")
def test_forged_numbers_lead_to_no_order(viewer: TestClient, number: str, status: int) -> None:
    assert viewer.get(f"{PAGES}/order?id={number}").status_code == status
    assert viewer.get(f"{PAGES}/api/order?id={number}").status_code == status


def add_decision(url: str, status: str, payload: dict[str, str], **columns: object) -> None:
    """Write a decision that became no order."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into trading.order_decisions"
            " (payload, status, refusal, decision_key, first_decision_id, received_at)"
            " values (%s, %s, %s, %s, %s, now() - make_interval(mins => %s))",
            [
                json.dumps(payload),
                status,
                columns.get("refusal"),
                columns.get("key"),
                columns.get("first"),
                columns.get("minutes_ago", 0),
            ],
        )


def test_orders_of_the_desks_own_that_kraken_does_not_tell_like_that_are_shown(
    viewer: TestClient, trading: str
) -> None:
    assert 'id="desk"' not in viewer.get(f"{PAGES}/orders").text
    add_orders(trading, "alpha", ["0"], verdict="mismatch", level="desk", message="the desk says 2")
    with psycopg.connect(trading) as connection:
        connection.execute(
            "insert into trading.desk_orders"
            " (book, account_id, desk_order_id, said, changed_at, state, candidates, order_id, first_seen_at)"
            " select 'arena', account_id, n, '{}', now(), state, '{OA,OB}', order_id, now()"
            " from (values (%(hostile)s, 'ambiguous', null), ('18', 'matched', (select order_id"
            " from trading.orders))) as v(n, state, order_id), trading.accounts where name = 'alpha'",
            {"hostile": HOSTILE},
        )
    page = viewer.get(f"{PAGES}/orders").text
    assert "Not all" in page
    assert HOSTILE not in page
    assert "may be any of several at Kraken: OA, OB" in page
    shown = rows_of(viewer, "desk_orders", account="alpha")
    assert [(row["problem"], row["detail"]) for row in shown] == [
        ("mismatch", "the desk says 2"),
        ("ambiguous", "may be any of several at Kraken: OA, OB"),
    ]
    assert rows_of(viewer, "desk_orders", account="beta") == []
    assert 'id="desk"' not in viewer.get(f"{PAGES}/orders?account=beta").text


def test_decisions_and_orders_are_listed_newest_first_with_filters(viewer: TestClient, trading: str) -> None:
    add_orders(trading, "alpha", ["0", "1"], verdict="verified")
    add_orders(trading, "beta", ["0"], side="sell", verdict="mismatch", message="the fee differs")
    with psycopg.connect(trading) as connection:
        connection.execute(
            "update trading.orders set decided_at = now() - make_interval(mins => 10 * order_id::int)"
        )
        connection.execute(
            "update trading.orders set status = 'refused', status_reason = 'needs 7 BTC' where order_id = 2"
        )
    named = {"account": "alpha", "pair": "BTC/USD", "side": "buy", "volume": "1"}
    add_decision(trading, "refused", {"acount": "alpha"}, refusal="account: is missing", minutes_ago=15)
    add_decision(trading, "new", {**named, "source": "ai"}, key="signal <1>")
    rows = rows_of(viewer, "decisions")
    assert [(row["state"], row["order_id"]) for row in rows] == [
        ("new", ""),
        ("closed", "1"),
        ("refused", ""),
        ("refused", "2"),
        ("closed", "3"),
    ]
    reasons = ["account: is missing", "needs 7 BTC", "the fee differs"]
    assert [row["reason"] for row in rows] == ["", "", *reasons]
    page = viewer.get(f"{PAGES}/orders").text
    assert "Refused: 2" in page
    assert "signal &lt;1&gt;" in page
    assert re.findall("|".join(reasons), page)[:3] == reasons
    for filters, shown in (
        ({"account": "alpha"}, 3),
        ({"state": "refused"}, 2),
        ({"state": "new"}, 1),
        ({"source": "ai"}, 1),
        ({"source": "external"}, 0),
        ({"verdict": "mismatch"}, 1),
        ({"verdict": "none"}, 2),
        ({"verdict": "verified", "state": "closed", "account": "alpha", "days": "1"}, 1),
    ):
        assert len(rows_of(viewer, "decisions", **filters)) == shown, filters
        listed = viewer.get(f"{PAGES}/orders", params=filters).text
        assert len(re.findall(r'href="\./order\?id=|no order', listed)) == shown, filters
    assert viewer.get(f"{PAGES}/api/orders?account=beta").json()["refused_counted"] == 0
    assert viewer.get(f"{PAGES}/orders?state=nonsense").status_code == 422


def test_decisions_and_orders_come_page_by_page(viewer: TestClient, trading: str) -> None:
    add_orders(trading, "alpha", [str(n) for n in range(60)])
    for n in range(45):
        add_decision(trading, "refused", {"account": "alpha"}, refusal=f"reason {n}", minutes_ago=n)
    seen: list[str] = []
    place = "orders?account=alpha"
    for shown in (50, 50, 5):
        page = viewer.get(f"{PAGES}/{place}").text
        found = re.findall(r'href="./order\?id=(\d+)"|(reason \d+)<', page)
        assert len(found) == shown
        seen += ["".join(row) for row in found]
        if len(seen) < 105:
            place = linked(page, "Earlier decisions").partition("#")[0]
    assert len(set(seen)) == 105
    assert "Earlier decisions" not in page
    assert len(rows_of(viewer, "decisions", account="alpha")) == 105


def test_a_key_says_what_came_of_its_decision(
    viewer: TestClient, simulator: Simulator, trading_db: str
) -> None:
    place = f"{PAGES}/api/decision"
    assert viewer.get(place, params={"key": "signal-1"}).status_code == 404
    assert viewer.get(place).status_code == viewer.get(place, params={"key": ""}).status_code == 422
    desk = TradingDesk(simulator, trading_db)
    try:
        desk.account()
        desk.prices(XBTUSD="50000")
        for volume in ("0.5", "0.50", "0.6"):
            desk.execute(
                "insert into trading.order_decisions (decision_key, payload) values ('signal-1', %s)",
                json.dumps({"account": "desk", "pair": "BTC/USD", "side": "buy", "volume": volume}),
            )
        assert viewer.get(place, params={"key": "signal-1"}).json()["decision"] == "new"
        desk.execute_orders()
    finally:
        desk.close()
    found = viewer.get(place, params={"key": "signal-1"}).json()
    assert (found["decision"], found["state"], found["volume_executed"]) == ("accepted", "closed", "0.5")


def test_slippage_is_positive_where_it_is_worse_by_account_and_side(viewer: TestClient, trading: str) -> None:
    # Of 50,000 each: 10, 10, -10 and 120 basis points; a sale a little better than expected.
    add_orders(trading, "alpha", ["50", "50.0", "-50", "600"])
    add_orders(trading, "beta", ["-0.01"], side="sell")
    add_orders(trading, "beta", ["5000"], side="sell", days_ago=8)
    page = viewer.get(f"{PAGES}/orders").text
    [drawn] = charts_of(page)
    assert drawn["labels"] == list(BUCKETS)
    counted = {
        name: dict(zip(BUCKETS, values, strict=True))
        for name, values in zip(drawn["names"], drawn["values"], strict=True)
    }
    assert {bucket: n for bucket, n in counted["buy"].items() if n} == {
        "-10 to -5": 1,
        "10 to 20": 2,
        "100 and more": 1,
    }
    assert {bucket: n for bucket, n in counted["sell"].items() if n} == {"-5 to 0": 1}
    buys, sells = rows_of(viewer, "slippage")
    assert buys == {
        "account": "alpha",
        "side": "buy",
        "orders": "4",
        "best": "-10",
        "median": "10",
        "worst_of_95_percent": "120",
        "worst": "120",
    }
    assert (sells["account"], sells["side"], sells["orders"], sells["worst"]) == ("beta", "sell", "1", "0")
    assert viewer.get(f"{PAGES}/api/slippage?account=beta&days=30").json()["slippage"][0]["worst"] == "1000"
    assert viewer.get(f"{PAGES}/api/slippage?account=beta").json()["slippage"] == [{**sells, "orders": 1}]


def test_verdicts_are_drawn_by_the_hour_with_their_values_beside(viewer: TestClient, trading: str) -> None:
    empty = viewer.get(f"{PAGES}/orders").text
    assert "Nothing to say yet" in empty
    assert charts_of(empty) == []
    add_rates(trading, "alpha", 24)
    add_rates(trading, "beta", 24)
    page = viewer.get(f"{PAGES}/orders").text
    data = viewer.get(f"{PAGES}/api/orders?account=alpha").json()
    assert data["level"] == "bad"
    [drawn] = charts_of(page)
    assert drawn["names"] == ["verified", "mismatched", "inconclusive"]
    of_alpha = [row["verified"] for row in data["rates"]]
    assert drawn["values"][0] == [2 * count for count in of_alpha]
    table = re.search(r'aria-label="Values of Orders judged">(.*?)</table>', page, re.DOTALL)
    assert table is not None
    assert table[1].count("<tr>") == 25
    verdicts = rows_of(viewer, "verdicts", account="alpha")
    assert [int(row["verified"]) for row in verdicts] == of_alpha
    judged = data["totals"]["verified"] + data["totals"]["mismatched"]
    assert data["verified_percent"] == f"{100 * data['totals']['verified'] / judged:.2f}"


def test_a_mismatch_leads_to_its_trace_and_to_the_run_that_judged_it(
    viewer: TestClient, simulator: Simulator, trading_db: str
) -> None:
    desk = TradingDesk(simulator, trading_db)
    try:
        desk.account()
        desk.prices(XBTUSD="50000")
        desk.sync()
        desk.decide(volume="0.5", expected_price="49000", reason="a <b>hunch</b>")
        desk.execute_orders()
        ports = VerifyingPorts(lambda: UnitOfWork(desk.engine), desk.open_exchange, desk.now)
        [number] = [row["order_id"] for row in desk.rows("select order_id from trading.orders")]
        assert verify_order(ports, VerifyingRules(), number)
    finally:
        desk.close()
    page = viewer.get(f"{PAGES}/order?id={number}").text
    assert "a &lt;b&gt;hunch&lt;/b&gt;" in page
    assert "by command line." in page
    assert "slippage" in page
    data = viewer.get(f"{PAGES}/api/order?id={number}").json()
    assert data["verification"]["verdict"] in {"verified", "mismatch"}
    assert len(data["fills"]) >= 1
    entries = [entry["ledger_id"] for entry in data["ledger_entries"]]
    assert entries
    assert all(f"entry={entry}#{entry}" in page for entry in entries)
    worst = viewer.get(f"{PAGES}/api/slippage?days=30").json()["slippage"]
    [level] = [level for level in data["verification"]["levels"] if level["level"] == "slippage"]
    points = 10_000 * float(level["observed"]["worse_by"]) / float(level["expected"]["cost"])
    assert points > 0
    # The desk's clock stands in the past, beyond every window of the page.
    assert worst == []


def test_a_run_in_airflow_is_linked_from_what_it_judged(viewer: TestClient, trading: str) -> None:
    token = "order_verification|manual__2026-01-01T00:00:00+00:00/a|b|verify_orders|2"
    add_orders(trading, "alpha", ["0"], verdict="mismatch", judged_by=token)
    run = "../dags/order_verification/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00%2Fa%7Cb"
    page = viewer.get(f"{PAGES}/orders").text
    assert linked(page, "order_verification<span") == run
    trace = viewer.get(f"{PAGES}/{linked(page, '[0-9]')}").text
    assert f'href="{run}"' in trace
    add_orders(trading, "alpha", ["0"], side="sell", verdict="mismatch", judged_by=None)
    assert viewer.get(f"{PAGES}/orders").text.count("../dags/order_verification/runs/") == 1


def test_sessions_pools_and_lock_waits_are_drawn_over_time(viewer: TestClient, trading_db: str) -> None:
    assert "Not known" in viewer.get(f"{PAGES}/database").text
    add_samples(trading_db, 12, audited_by="session_leak_audit scheduled__2026-01-01T00:00:00+00:00")
    page = viewer.get(f"{PAGES}/database").text
    assert "Yes" in page
    connections, pools, waits = charts_of(page)
    assert connections["values"][0] == list(range(11, 23))
    assert pools["names"] == ["in use", "allowed by their processes"]
    assert set(pools["values"][1]) == {12}
    assert set(waits["values"][1]) == {0, 7, 14}
    assert linked(page, "session_leak_audit<span").endswith("scheduled__2026-01-01T00%3A00%3A00%2B00%3A00")
    samples = rows_of(viewer, "samples")
    assert [int(row["connections"]) for row in samples] == list(range(22, 10, -1))
    assert samples[0]["dag_run_id"] == "scheduled__2026-01-01T00:00:00+00:00"
    assert len(viewer.get(f"{PAGES}/api/samples").json()["samples"]) == 12
    # A week is drawn in stretches of an hour, each with its largest counts.
    week = charts_of(viewer.get(f"{PAGES}/database?hours=168").text)
    assert not week or max(week[0]["values"][0]) == 22


def test_samples_of_before_pools_were_counted_leave_a_gap(viewer: TestClient, trading_db: str) -> None:
    add_samples(trading_db, 6)
    with psycopg.connect(trading_db) as connection:
        connection.execute(
            "update trading.session_samples set pool_sessions = null, pool_limit = null,"
            " longest_wait_seconds = null where sample_id > 3"
        )
    _, pools, waits = charts_of(viewer.get(f"{PAGES}/database").text)
    assert pools["values"][1] == [None, None, None, 12, 12, 12]
    assert None in waits["values"][1]


def test_findings_are_filtered_and_name_their_task_and_their_audit(
    viewer: TestClient, trading_db: str
) -> None:
    add_finding(trading_db)
    add_finding(trading_db, outcome="done", seen_minutes_ago=5, returned=True)
    add_finding(
        trading_db, rule="lock_kept", severity="warning", dag_id=None, task_id=None, seen_minutes_ago=30
    )
    page = viewer.get(f"{PAGES}/database").text
    assert "2 findings</a> not returned" in page
    assert linked(page, "position_sync.<wbr>reconcile") == "../dags/position_sync/runs/manual__1%2Fa"
    for filters, shown in (
        ({}, 2),
        ({"state": "returned"}, 1),
        ({"state": "acted"}, 1),
        ({"state": "all"}, 3),
        ({"state": "all", "rule": "lock_kept"}, 1),
        ({"rule": "over_pool"}, 0),
    ):
        assert len(rows_of(viewer, "database", **filters)) == shown, filters
    [acted] = viewer.get(f"{PAGES}/api/database?state=acted").json()["findings"]
    assert acted["audit_dag_run_id"] == "scheduled__1"
    [action] = acted["actions"]
    assert (action["action"], action["outcome"]) == ("terminate", "done")
    assert (action["dag_id"], action["dag_run_id"]) == ("session_leak_audit", "manual__2/b")
    shown_page = viewer.get(f"{PAGES}/database?state=acted").text
    assert "terminate: done" in shown_page
    assert 'href="../dags/session_leak_audit/runs/manual__2%2Fb"' in shown_page


def test_findings_come_page_by_page(viewer: TestClient, trading_db: str) -> None:
    for n in range(53):
        add_finding(trading_db, f"finding {n}", severity="warning", seen_minutes_ago=n)
    first = viewer.get(f"{PAGES}/database").text
    assert "Almost" in first
    second = viewer.get(f"{PAGES}/{linked(first, 'Older')}").text
    seen = [re.findall(r"finding \d+(?=\n)", page) for page in (first, second)]
    assert [len(found) for found in seen] == [50, 3]
    assert [row["message"] for row in rows_of(viewer, "database")] == [f"finding {n}" for n in range(53)]


class Scripts(HTMLParser):
    """Collects the scripts of a page as a browser sees them, and all its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.text = ""
        self._is_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        self._is_script = tag == "script"
        if self._is_script:
            self.scripts.append(dict(attrs).get("type") or "")

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        self._is_script = self._is_script and tag != "script"

    def handle_data(self, data: str) -> None:
        """Keep what people read."""
        self.text += "" if self._is_script else data


def pages_with_hostile_rows(viewer: TestClient, url: str) -> Iterator[str]:
    for name in (HOSTILE, "calm"):
        add_account(url, name)
    token = f"{HOSTILE}|{HOSTILE}|{HOSTILE}|1"
    add_orders(url, HOSTILE, ["1"], pair=HOSTILE, verdict="mismatch", message=HOSTILE, judged_by=token)
    with psycopg.connect(url) as connection:
        connection.execute(
            "update trading.orders set reason = %(h)s, status_reason = %(h)s, base = %(h)s, quote = %(h)s",
            {"h": HOSTILE},
        )
        connection.execute(
            "insert into trading.order_events (order_id, status_after, what, recorded_by)"
            " select order_id, 'closed', %(h)s, %(h)s from trading.orders",
            {"h": HOSTILE},
        )
    add_samples(url, 3, source=HOSTILE, audited_by=f"{HOSTILE} {HOSTILE}")
    by = f"{HOSTILE} {HOSTILE}"
    add_finding(url, HOSTILE, dag_id=HOSTILE, task_id=HOSTILE, source=HOSTILE, outcome="done", seen_by=by)
    with psycopg.connect(url) as connection:
        connection.execute("update trading.session_actions set acted_by = %s", (f"{HOSTILE} {HOSTILE}",))
    orders = viewer.get(f"{PAGES}/orders").text
    yield orders
    yield viewer.get(f"{PAGES}/orders", params={"account": HOSTILE, "pair": HOSTILE}).text
    yield viewer.get(f"{PAGES}/{linked(orders, '[0-9]')}").text
    yield viewer.get(f"{PAGES}/database?state=all").text


def test_what_rows_hold_is_text_on_every_page(viewer: TestClient, trading_db: str) -> None:
    for page in pages_with_hostile_rows(viewer, trading_db):
        read = Scripts(page)
        assert HOSTILE in read.text or HOSTILE.upper() in read.text
        assert set(read.scripts) <= {"", "application/json"}
        assert read.scripts.count("") in {1, 3}
        assert "<script>alert" not in page
        assert "<!--" not in page
        assert charts_of(page) or "order_id" not in page
    for place in ("orders", "database", "slippage"):
        for row in rows_of(viewer, place, **({"state": "all"} if place == "database" else {})):
            assert not any(value.startswith(("=", "+", "@")) for value in row.values())


def test_the_library_is_byte_for_byte_what_was_published() -> None:
    files = {path.name for path in (PLACE / "static").iterdir()}
    assert files == {vendored.file for vendored in VENDORED}
    for vendored in VENDORED:
        content = (PLACE / "static" / vendored.file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == vendored.sha256, vendored.file
    script = (PLACE / "static" / "uPlot.iife.min.js").read_text()
    assert f"(v{VENDORED[0].version})" in script[:100]
    assert "MIT License" in (PLACE / "static" / "uPlot.LICENSE").read_text()
    for own in (script, (PLACE / "charts.js").read_text()):
        assert "</script" not in own.lower()
        assert "\r" not in own
        assert not re.search(r"\beval\(|new Function|innerHTML|document\.write", own)
