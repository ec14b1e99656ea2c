"""The desk's own books on the pages: they decide with the rest whether everything is accounted for."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from fastapi.testclient import TestClient

from desks.dag_runs import read_dags, run_dag
from desks.desk_databases import HOW_TO, make_arena, sqlite_database
from desks.logins import as_writer
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_recon.cli.main import main
from kraken_recon.desk_books.declared_here import declared_here
from kraken_recon.reports.report_store import ReportStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from desks.airflow import AirflowDesk

PLACE = "/kraken-recon/"
HOSTILE = "<b>arena</b>{{ 7 * 7 }}\u202e"
DECLARATION = """
name: arena
connection: arena_db
accounts: {{{accounts}}}
positions: {{table: positions, account: account_id, asset: symbol, quantity: quantity, holds: crypto}}
"""
ARENA = re.findall(r"```yaml\n(.*?)```", HOW_TO.read_text(), re.DOTALL)[0].replace("gpt-trader", "trader")
# An account whose newest run is a proof, with 2 BTC and 1000 USD on record.
ACCOUNT = """
with account as (
  insert into trading.accounts (name, kraken_conn_id, opened_at) values (%(name)s, 'x', now())
  returning account_id
),
positions as (
  insert into trading.positions (account_id, asset, quantity, available_quantity)
  select account_id, asset, quantity, quantity
  from account, (values ('BTC', 2), ('USD', 1000), ('ETH', 3.000000000000000001)) as p(asset, quantity)
)
insert into trading.reconciliation_runs (
  run_id, account_id, interval_start, interval_end, mode, status, trigger, recorded_as_of, reported_as_of,
  checked, matched, seconds, lock_hold_ms, dag_id, dag_run_id
)
select gen_random_uuid(), account_id, now() - interval '15 minutes', now(), 'repair', 'succeeded',
  'scheduled', now(), now(), 3, 3, 1, 1, 'position_sync', 'scheduled__1'
from account
"""
JUDGED = """
insert into trading.desk_book_runs (
  book, run_id, account_id, status, read_at, as_of, ledger_seq, declaration, rows, position_rows, agreed,
  {counts} problems
)
select %(book)s, run_id, account_id, %(status)s, now() - %(age)s::interval, now() - %(age)s::interval, 0,
  gen_random_uuid(), 3, 3, %(agreed)s, {values} %(problems)s
from trading.reconciliation_runs
join trading.accounts using (account_id)
where name = %(name)s
"""
DIFFERED = """
insert into trading.desk_differences (
  run_id, book, account_id, asset, proven, desk, difference, explanation, ledger_ids, alternatives, action,
  reason, first_seen_at
)
select run_id, %(book)s, account_id, %(asset)s, 2, 2 - %(difference)s::numeric, %(difference)s::numeric,
  %(explanation)s, %(ledger_ids)s, %(alternatives)s, %(action)s, %(reason)s, now()
from trading.reconciliation_runs
join trading.accounts using (account_id)
where name = %(name)s
"""
WRITTEN = """
with plan as (
  insert into trading.repair_plans (plan_id, account_id, kind, status, as_of, row_count)
  select gen_random_uuid(), account_id, 'repair', 'applied', now(), 1
  from trading.accounts
  where name = %(name)s
  returning plan_id
)
insert into trading.desk_writes (
  plan_id, run_id, book, connection, table_name, account_id, asset, kind, key, before, after, change, state,
  ended_at, reason
)
select plan_id, run_id, 'arena', 'arena_db', 'positions', account_id, %(asset)s, 'update', '{}', '{}', '{}',
  1, %(state)s, now(), 'moved'
from plan, trading.reconciliation_runs
join trading.accounts using (account_id)
where name = %(name)s
"""
LEDGER = """
insert into trading.ledger_entries (
  account_id, ledger_id, refid, entry_time, type, subtype, asset, wallet, amount, fee, balance
)
select account_id, 'L' || n, 'R' || n, now() - n * interval '1 minute', 'trade', '', 'BTC', 'spot', 1, 0, 0
from trading.accounts, generate_series(1, 3) n
where name = %(name)s
"""


class Books:
    """Accounts and what was judged of them."""

    def __init__(self, desk: AirflowDesk, folder: Path) -> None:
        self.desk, self.folder = desk, folder

    def declare(self, *accounts: str) -> None:
        named = ", ".join(f"{name}: {place}" for place, name in enumerate(accounts, 1))
        (self.folder / "arena.yaml").write_text(DECLARATION.format(accounts=named))

    def account(self, name: str) -> None:
        self._execute(ACCOUNT, name=name)

    def judged(self, name: str, status: str = "agreed", **changes: Any) -> None:
        """Judge an account; ``counts`` are columns of the judgement, ``problems`` what is wrong."""
        counts = changes.get("counts", {})
        query = JUDGED.format(
            counts="".join(f"{column}, " for column in counts),
            values="".join(f"{int(count)}, " for count in counts.values()),
        )
        self._execute(
            query,
            name=name,
            book=changes.get("book", "arena"),
            status=status,
            age=changes.get("age", "0 s"),
            agreed=changes.get("agreed", 3),
            problems=json.dumps(changes.get("problems", [])),
        )

    def differed(self, name: str, action: str, explanation: str = "missed", **changes: Any) -> None:
        self._execute(
            DIFFERED,
            name=name,
            action=action,
            explanation=explanation,
            book=changes.get("book", "arena"),
            asset=changes.get("asset", "BTC"),
            difference=changes.get("difference", "0.5"),
            ledger_ids=changes.get("ledger_ids", ["L2"]),
            alternatives=json.dumps(changes.get("alternatives", [])),
            reason=changes.get("reason"),
        )

    def wrote(self, name: str, state: str, asset: str = "BTC") -> None:
        self._execute(WRITTEN, name=name, state=state, asset=asset)

    def ledger(self, name: str) -> None:
        self._execute(LEDGER, name=name)

    def _execute(self, query: str, **values: Any) -> None:
        with psycopg.connect(self.desk.database_url) as session:
            session.execute(query.encode(), values)


@pytest.fixture
def books(desk: AirflowDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Books:
    monkeypatch.setenv("KRAKEN_RECON_DESK_BOOKS", str(tmp_path))
    return Books(desk, tmp_path)


@pytest.fixture
def viewer(api_app: Any, token_of: Callable[[str | None], str]) -> TestClient:
    headers = {"Authorization": f"Bearer {token_of('VIEWER')}"}
    return TestClient(api_app, base_url="https://airflow.test", headers=headers)


def text_of(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def answer_of(viewer: TestClient) -> tuple[str, str]:
    """Read the answer of the first page, and what stands below it."""
    page = viewer.get(PLACE)
    assert page.status_code == 200, page.text
    section = page.text.partition('<section class="answer')[2].partition("</section>")[0]
    strong = re.search(r"<strong[^>]*>(.*?)</strong>", section)
    assert strong
    return strong[1], text_of(section)


def csv_rows(viewer: TestClient, path: str) -> list[dict[str, str]]:
    reply = viewer.get(f"{PLACE}api/{path}")
    assert reply.status_code == 200, reply.text
    return list(csv.DictReader(io.StringIO(reply.text)))


def report_and_difference(books: Books) -> None:
    books.judged("alpha", "differs", counts={"reported": 1}, agreed=2)
    books.differed("alpha", "report")


def held(books: Books) -> None:
    books.judged("alpha", "differs", counts={"held": 1}, agreed=2)
    books.differed("alpha", "held", reason="it is more than one run may write by itself")


def held_and_differing(books: Books) -> None:
    books.judged("alpha", "differs", counts={"held": 1, "reported": 1}, agreed=1)
    books.differed("alpha", "held")
    books.differed("alpha", "report", asset="ETH")


def written(books: Books, state: str) -> None:
    books.judged("alpha", "differs", counts={"updated": 1}, agreed=2)
    books.differed("alpha", "update")
    if state:
        books.wrote("alpha", state)


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        (lambda books: books.judged("alpha"), ("Yes", "accounted for", "agrees")),
        (lambda _: None, ("Almost", "a desk book is not judged by a fresh proof yet", "not judged")),
        (
            lambda books: books.judged("alpha", age="2 h"),
            ("Almost", "a desk book is not judged by a fresh proof yet", "judged too long ago"),
        ),
        (
            lambda books: books.judged("alpha", "unreadable", agreed=0),
            ("No", "a desk book could not be judged", "cannot be judged"),
        ),
        (report_and_difference, ("No", "the desk's own book differs", "1 differs")),
        (held, ("No", "a write-back waits for a person", "1 held")),
        (held_and_differing, ("No", "a write-back waits for a person", "1 held, 1 differs")),
        (lambda books: written(books, "written"), ("Yes", "accounted for", "agrees")),
        (lambda books: written(books, "skipped"), ("No", "the desk's own book differs", "1 differs")),
        (lambda books: written(books, ""), ("No", "the desk's own book differs", "1 differs")),
        (
            lambda books: books.judged("alpha", counts={"waiting": 1, "within_tolerance": 2}),
            ("Yes", "accounted for", "agrees but for 3 small or waiting"),
        ),
    ],
)
def test_yes_only_if_the_desks_books_agree_too(
    viewer: TestClient, books: Books, happened: Callable[[Books], None], expected: tuple[str, str, str]
) -> None:
    answer, verdict, desk = expected
    books.account("alpha")
    books.declare("alpha")
    happened(books)
    assert answer_of(viewer)[0] == answer
    [row] = csv_rows(viewer, "latest.csv")
    assert (row["verdict"], row["desk"]) == (verdict, desk)
    assert f">{desk}<" in viewer.get(PLACE).text
    assert verdict.capitalize() in html.unescape(viewer.get(f"{PLACE}account?name=alpha").text)


def test_what_waits_or_is_small_is_a_note_beside_the_yes(viewer: TestClient, books: Books) -> None:
    books.account("alpha")
    books.declare("alpha")
    books.judged("alpha", counts={"waiting": 1})
    books.differed("alpha", "waiting")
    words, told = answer_of(viewer)
    assert words == "Yes"
    assert "1 difference is small or still on the way into the desk's books" in told
    assert "No table of the desk's own is compared" not in told


def test_accounts_that_no_book_is_about_are_told(viewer: TestClient, books: Books) -> None:
    books.account("alpha")
    books.account("beta")
    assert "No table of the desk's own is compared for 2 of 2 accounts" in answer_of(viewer)[1]
    books.declare("alpha")
    books.judged("alpha")
    words, told = answer_of(viewer)
    assert (words, "is compared for 1 of 2 accounts" in told) == ("Yes", True)
    desk = {row["account"]: row["desk"] for row in csv_rows(viewer, "latest.csv")}
    assert desk == {"alpha": "agrees", "beta": "no book"}
    assert "No table of the desk's own is compared for this account" in text_of(
        viewer.get(f"{PLACE}account?name=beta").text
    )


def test_a_book_that_is_no_longer_declared_is_gone_with_its_last_proof(
    viewer: TestClient, books: Books
) -> None:
    books.account("alpha")
    books.judged("alpha", "differs", counts={"reported": 1}, book="was", age="2 h")
    books.differed("alpha", "report", book="was")
    assert answer_of(viewer)[0] == "Yes"
    # Without the folder nobody can say that it is gone.
    books.folder.rmdir()
    assert answer_of(viewer)[0] == "No"


def test_a_file_that_declares_no_book_does_not_give_yes_and_is_told(viewer: TestClient, books: Books) -> None:
    books.account("alpha")
    (books.folder / "broken.yaml").write_text("name: broken\n")
    assert answer_of(viewer)[0] == "Almost"
    wants = text_of(viewer.get(f"{PLACE}wants").text)
    assert "Problems of desk books" in wants
    assert "connection" in wants
    assert {row["book"] for row in csv_rows(viewer, "book_problems.csv")} == {"broken"}


def test_a_folder_that_cannot_be_read_does_not_give_yes(viewer: TestClient, books: Books) -> None:
    books.account("alpha")
    file = books.folder / "file"
    file.touch()
    books.desk.monkeypatch.setenv("KRAKEN_RECON_DESK_BOOKS", str(file))
    assert answer_of(viewer)[0] == "Almost"
    assert "cannot be listed" in viewer.get(f"{PLACE}wants").text


def test_problems_are_told_once_with_their_remedy(viewer: TestClient, books: Books) -> None:
    problem = {"where": "arena positions", "what": "there is no table <positions>", "remedy": "Create it."}
    for name in ("alpha", "beta", "gamma"):
        books.account(name)
        books.judged(name, "unreadable", problems=[problem], agreed=0)
    books.declare("alpha", "beta", "gamma")
    page = viewer.get(f"{PLACE}wants").text
    assert page.count("there is no table &lt;positions&gt;") == 1
    assert "alpha and 2 more" in text_of(page)
    assert "Create it." in page
    [row] = csv_rows(viewer, "book_problems.csv")
    assert (row["accounts"], row["remedy"]) == ("3", "Create it.")
    assert "Create it." in viewer.get(f"{PLACE}account?name=beta").text


def test_a_held_write_back_is_decided_like_a_held_repair(viewer: TestClient, books: Books) -> None:
    books.account("alpha")
    held(books)
    plan = "00000000-0000-0000-0000-000000000007"
    books.desk.execute(
        "insert into trading.repair_plans (plan_id, account_id, book, kind, status, run_id, as_of,"
        " fingerprint, row_count, why) select %s, account_id, 'arena', 'held', 'held', run_id, now(),"
        " gen_random_uuid(), 1, 'it is more than one run may write by itself'"
        " from trading.reconciliation_runs",
        plan,
    )
    page = viewer.get(f"{PLACE}wants").text
    row = page.partition("write-backs that wait")[2].partition("</table>")[0]
    assert "desk book arena it is more than one run may write by itself" in text_of(row)
    [found] = re.findall(r'href="(differences\?[^"]+)"', row)
    assert "Operations are missing" in text_of(viewer.get(PLACE + html.unescape(found)).text)
    [case] = re.findall(r'href="(repair\?[^"]+)"', row)
    decided = text_of(viewer.get(PLACE + html.unescape(case)).text)
    assert "Held write-back of alpha" in decided
    assert "arena" in decided
    [listed] = csv_rows(viewer, "held.csv")
    assert (listed["plan_id"], listed["book"]) == (plan, "arena")
    assert "1 to answer" in page


def test_a_difference_is_explained_in_words_and_leads_to_its_ledger_rows(
    viewer: TestClient, books: Books
) -> None:
    books.account("alpha")
    books.ledger("alpha")
    books.judged("alpha", "differs", counts={"reported": 1})
    also = [{"explanation": "fee_left_out", "ledger_ids": ["L1", "L3"]}]
    books.differed("alpha", "report", "missed", alternatives=also, difference="0.000000000000000001")
    page = viewer.get(f"{PLACE}differences?book=arena").text
    section = text_of(page.partition('id="desk"')[2])
    assert "told, nothing is written Operations are missing. L2 or fee left out: L1, L3" in section
    assert "0.000000000000000001" in section
    assert "1.999999999999999999" in section
    assert "Recorded here, beside Kraken" not in page
    [link] = set(re.findall(r'href="(statement\?[^"#]+)#L2"', page))
    statement = viewer.get(PLACE + html.unescape(link)).text
    assert re.findall(r'<tr id="(L\d)" class="marked"', statement) == ["L2"]
    assert "in the desk book arena" in text_of(statement)
    assert "1.999999999999999999 instead of 2 , missed" in text_of(statement)


def test_desk_differences_are_paged_filtered_and_handed_out(viewer: TestClient, books: Books) -> None:
    for name in ("alpha", "beta"):
        books.account(name)
        books.judged(name, "differs", counts={"reported": 60})
        for place in range(60):
            word = "unexplained" if place % 2 else "doubled"
            books.differed(name, "report", word, asset=f"X{place}")
    books.judged("beta", "differs", book="other", counts={"held": 1})
    books.differed("beta", "held", book="other", asset="X1")
    [run] = {row["run_id"] for row in csv_rows(viewer, "desk_differences.csv?account=alpha")}
    for query, expected in (
        ("", 121),
        ("book=arena", 120),
        ("book=other", 1),
        ("book=' or ''='", 0),
        ("account=alpha", 60),
        ("account=beta&asset=X1", 2),
        ("action=held", 1),
        ("action=insert", 0),
        ("kind=explained", 61),
        ("kind=unexplained", 60),
        ("kind=now&account=alpha", 30),
        (f"run={run}", 60),
        ("since=2999-01-01T00:00", 0),
    ):
        assert len(csv_rows(viewer, f"desk_differences.csv?{query}")) == expected, query
        assert len(viewer.get(f"{PLACE}api/desk_differences?{query}").json()["desk_differences"]) == expected
        path: str | None = f"differences?{query}"
        seen: list[tuple[str, str, str]] = []
        while path:
            page = viewer.get(PLACE + path).text
            section = page.partition('id="desk"')[2]
            rows = re.findall(
                r'href="account\?name=(\w+)".*?"Book">(\w+)<.*?<td[^>]*"Asset".*?>(X\d+)<', section, re.DOTALL
            )
            assert len(rows) <= 50
            seen += rows
            link = re.search(r'href="(differences\?[^"#]+)#desk" rel="next"', section)
            path = html.unescape(link[1]) if link else None
        assert len(seen) == len(set(seen)) == expected, query


def test_kraken_proven_and_desk_stand_side_by_side(viewer: TestClient, books: Books) -> None:
    books.account("alpha")
    books.declare("alpha")
    books.judged("alpha", "differs", counts={"reported": 1}, agreed=1)
    books.differed("alpha", "report", "behind", reason="two fills are not there")
    books.judged("alpha", "differs", book="other", counts={"reported": 1})
    books.differed("alpha", "report", "unknown_row", book="other", asset="DOGE")
    sides = {(row["asset"], row["book"]): row for row in csv_rows(viewer, "sides.csv?name=alpha")}
    # What the book is not meant to keep, such as dollars, stands in no row.
    assert set(sides) == {("BTC", "arena"), ("ETH", "arena"), ("DOGE", "other")}
    bitcoin = sides["BTC", "arena"]
    assert [bitcoin[name] for name in ("kraken", "proven", "desk", "difference")] == ["2", "2", "1.5", "0.5"]
    ether = sides["ETH", "arena"]
    assert (ether["kraken"], ether["desk"], ether["done"]) == ("3.000000000000000001", "", "agrees")
    page = text_of(viewer.get(f"{PLACE}account?name=alpha").text)
    assert "The newest entries are not there yet: two fills are not there" in page
    assert "the same" in page


def test_what_a_dry_run_left_stands_between_kraken_and_the_record(viewer: TestClient, books: Books) -> None:
    books.account("alpha")
    books.declare("alpha")
    books.judged("alpha")
    books.desk.execute(
        "insert into trading.discrepancies (run_id, account_id, asset, wallet, db_quantity,"
        " exchange_quantity, explained, database_drift, residual, action, ledger_ids)"
        " select run_id, account_id, asset, 'spot', quantity, quantity + 4, 0, 0, 4, action, '{}'"
        " from trading.reconciliation_runs, (values ('BTC', 2, 'within_tolerance'), ('ETH', 3, 'update'),"
        " ('NEW', 0, 'held')) as d(asset, quantity, action)"
    )
    kraken = {
        row["asset"]: (row["kraken"], row["proven"]) for row in csv_rows(viewer, "sides.csv?name=alpha")
    }
    assert kraken == {"BTC": ("6", "2"), "ETH": ("3.000000000000000001",) * 2, "NEW": ("4", "0")}


def test_text_of_the_desks_rows_stays_text(viewer: TestClient, books: Books) -> None:
    books.account("alpha")
    problem = dict.fromkeys(("where", "what", "remedy"), HOSTILE)
    books.judged("alpha", "unreadable", book=HOSTILE, problems=[problem])
    books.differed("alpha", "held", book=HOSTILE, asset=HOSTILE, ledger_ids=[HOSTILE], reason=HOSTILE)
    books.desk.execute(
        "update trading.desk_differences set alternatives = %s",
        json.dumps([{"explanation": HOSTILE, "ledger_ids": [HOSTILE]}]),
    )
    for path in (
        "",
        "differences",
        "wants",
        "account?name=alpha",
        "api/desk_differences.csv",
        "api/sides.csv?name=alpha",
    ):
        page = viewer.get(PLACE + path)
        assert page.status_code == 200, path
        assert "\u202e" not in page.text, path
        if "api" not in path:
            assert "<b>arena" not in page.text, path
            assert "{{ 7 * 7 }}" in page.text or path == "", path


def test_what_a_run_found_in_a_desks_table_is_what_the_pages_say(
    viewer: TestClient, books: Books, tmp_path_factory: pytest.TempPathFactory
) -> None:
    desk, dag = books.desk, read_dags().dags["position_sync"]
    desk.account("trader", USD="1000.25", XXBT="0.5")
    database = sqlite_database(tmp_path_factory.mktemp("desk"))
    make_arena(database, {"BTC": Decimal("0.5")}, Decimal("1000.25"))
    (books.folder / "arena.yaml").write_text(ARENA)
    desk.monkeypatch.setenv("AIRFLOW_CONN_ARENA_DB", database.variable)
    run_dag(dag)
    assert answer_of(viewer)[0] == "Yes"
    sides = {row["asset"]: row["done"] for row in csv_rows(viewer, "sides.csv?name=trader")}
    assert sides == {"BTC": "agrees", "USD": "agrees"}
    deposit = {"kind": "deposit", "asset": "XXBT", "amount": "0.01"}
    desk.simulator.control.post("accounts/trader/events", deposit)
    (books.folder / "arena.yaml").write_text(ARENA.replace("late_by: 300", "late_by: 0"))
    run_dag(dag)
    words, told = answer_of(viewer)
    assert words == "No", told
    [bitcoin] = csv_rows(viewer, "desk_differences.csv?asset=BTC")
    assert (bitcoin["proven"], bitcoin["desk"], bitcoin["explanation"]) == ("0.51", "0.5", "behind")
    assert bitcoin["action"] == "report"
    page = viewer.get(f"{PLACE}account?name=trader").text
    assert "The newest entries are not there yet" in page
    [link] = set(re.findall(r'href="(statement\?[^"#]+book=arena)#', page))
    assert bitcoin["ledger_ids"] in viewer.get(PLACE + html.unescape(link)).text
    database.run("drop table positions")
    run_dag(dag)
    assert answer_of(viewer)[0] == "No"
    assert "a desk book could not be judged" in viewer.get(PLACE).text
    [problem] = csv_rows(viewer, "book_problems.csv")
    assert "positions" in problem["what"]
    assert problem["remedy"]


def test_report_and_explain_show_the_desks_side(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    books.account("alpha")
    books.account("beta")
    books.ledger("alpha")
    books.declare("alpha")
    books.judged("alpha", "differs", counts={"reported": 1}, agreed=2)
    books.differed("alpha", "report", "missed", reason="seen twice")
    books.desk.monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(books.desk.database_url))
    assert main(["report"]) == 0
    told = capsys.readouterr().out
    lines = {line.split()[0]: line for line in told.splitlines() if line.strip()}
    assert lines["alpha"].endswith("1 differs") or "1 differs" in told
    assert "no book" in told
    assert "BTC: operations are missing: L2; told, nothing is written (seen twice)" in told
    assert main(["report", "--json"]) == 0
    accounts = {account["account"]: account for account in json.loads(capsys.readouterr().out)["accounts"]}
    [book] = accounts["alpha"]["desk_books"]
    [difference] = book["differences"]
    assert (difference["proven"], difference["desk"], difference["difference"]) == ("2", "1.5", "0.5")
    assert (book["book"], book["status"], book["agreed"], accounts["beta"]["desk_books"]) == (
        "arena",
        "differs",
        2,
        [],
    )
    assert main(["explain", "--account", "alpha", "--asset", "BTC"]) == 0
    told = capsys.readouterr().out
    assert "desk book arena: judged at" in told
    assert "operations are missing: L2" in told
    assert main(["explain", "--account", "alpha", "--asset", "USD", "--json"]) == 0
    [book] = json.loads(capsys.readouterr().out)["desk_books"]
    assert (book["book"], book["differences"]) == ("arena", [])


def test_each_book_is_counted_for_the_metrics(books: Books) -> None:
    for name in ("alpha", "beta", "gamma", "delta"):
        books.account(name)
    books.declare("alpha", "beta", "gamma", "delta")
    books.judged("alpha", age="10 min")
    books.judged("beta", "differs", counts={"held": 1, "reported": 1}, agreed=1)
    books.differed("beta", "report")
    books.differed("beta", "held", asset="ETH")
    books.judged("gamma", "unreadable", agreed=0)
    with TradingDbHook().unit_of_work() as unit:
        [book] = ReportStore(unit).desk_book_counts(declared_here())
    assert {name: book[name] for name in ("book", "agreed", "differing", "held", "unjudged")} == {
        "book": "arena",
        "agreed": 4,
        "differing": 1,
        "held": 1,
        "unjudged": 2,
    }
    assert 600 <= book["judged_age_seconds"] < 660
