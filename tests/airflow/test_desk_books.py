"""Desk books in ``position_sync``: one task for each, after the accounts, and no reason for a run to fail."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from desks.dag_runs import read_dags, run_dag
from desks.desk_databases import HOW_TO, DeskDatabase, make_arena, sqlite_database
from desks.logins import as_writer
from kraken_airflow.hooks.desk_book import DeskBookHook
from kraken_airflow.operators.repair_approval import ActOnAnswerOperator
from kraken_recon.cli.main import main
from kraken_recon.desk_books.address import Dialect
from kraken_recon.desk_books.declaring import folder_of
from kraken_recon.errors import ConfigurationError
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk import DAG

    from desks.airflow import AirflowDesk

ARENA = re.findall(r"```yaml\n(.*?)```", HOW_TO.read_text(), re.DOTALL)[0].replace("gpt-trader", "trader")
JUDGED = """
select b.book, a.name, b.status, b.rows, r.dag_run_id
from trading.desk_book_runs b
join trading.accounts a using (account_id)
join trading.reconciliation_runs r using (run_id)
order by b.book, a.name
"""


@pytest.fixture
def dag() -> DAG:
    return read_dags().dags["position_sync"]


@pytest.fixture
def arena(desk: AirflowDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeskDatabase:
    """One account of two that has a book, which is right."""
    desk.account("trader", USD="1000.25", XXBT="0.5")
    desk.account("other", USD="1")
    database = sqlite_database(tmp_path)
    make_arena(database, {"BTC": Decimal("0.5")}, Decimal("1000.25"))
    folder = tmp_path / "books"
    folder.mkdir()
    (folder / "arena.yaml").write_text(ARENA)
    monkeypatch.setenv("KRAKEN_RECON_DESK_BOOKS", str(folder))
    monkeypatch.setenv("AIRFLOW_CONN_ARENA_DB", database.variable)
    return database


def tasks(run: Any) -> Counter[tuple[str, str]]:
    return Counter(
        (ti.task_id, str(ti.state)) for ti in run.get_task_instances() if "desk_book" in ti.task_id
    )


def test_each_book_is_judged_by_what_the_run_proved(dag: DAG, desk: AirflowDesk, arena: DeskDatabase) -> None:
    run = run_dag(dag)
    assert (run.state, tasks(run)["reconcile_desk_books", "success"]) == ("success", 1)
    [judged] = desk.rows(JUDGED)
    assert judged == {
        "book": "arena",
        "name": "trader",
        "status": "agreed",
        "rows": 2,
        "dag_run_id": run.run_id,
    }
    arena.run("update positions set quantity = 0.75 where symbol = 'BTC' and market = 'CRYPTO'")
    run_dag(dag)
    assert [row["status"] for row in desk.rows(JUDGED)] == ["agreed", "agreed"]
    [found] = desk.rows("select asset, explanation, action from trading.desk_differences")
    assert found == {"asset": "BTC", "explanation": "unexplained", "action": "waiting"}


def test_a_run_that_proves_nothing_judges_nothing(dag: DAG, desk: AirflowDesk, arena: DeskDatabase) -> None:
    before = arena.dump()
    run = run_dag(dag, run_conf={"mode": "dry_run"})
    assert (run.state, tasks(run)["reconcile_desk_books", "success"]) == ("success", 1)
    run_dag(dag, run_conf={"accounts": ["other"]})
    assert desk.rows(JUDGED) == []
    assert arena.dump() == before


def test_a_book_that_cannot_be_judged_stops_neither_the_others_nor_the_run(
    dag: DAG, desk: AirflowDesk, arena: DeskDatabase, tmp_path: Path
) -> None:
    books = tmp_path / "books"
    (books / "beta.yaml").write_text(
        ARENA.replace("name: arena", "name: beta").replace("arena_db", "beta_db")
    )
    (books / "broken.yaml").write_text("name: broken\n")
    run = run_dag(dag)
    assert (run.state, tasks(run)["reconcile_desk_books", "success"]) == ("success", 3)
    assert [(row["book"], row["status"]) for row in desk.rows(JUDGED)] == [
        ("arena", "agreed"),
        ("beta", "unreadable"),
    ]
    told = desk.rows(
        "select wallet, message from trading.alerts where kind = 'desk_book_unreadable' order by wallet"
    )
    assert [row["wallet"] for row in told] == ["beta", "broken"]
    assert "AIRFLOW_CONN_BETA_DB" in told[0]["message"]
    assert arena


def test_a_task_that_takes_too_long_fails_alone(dag: DAG, desk: AirflowDesk, arena: DeskDatabase) -> None:
    arguments = dag.task_dict["reconcile_desk_books"].partial_kwargs
    arguments |= {"retries": 0, "execution_timeout": timedelta(milliseconds=1)}
    run = run_dag(dag)
    assert tasks(run) == Counter(
        {
            ("list_desk_books", "success"): 1,
            ("reconcile_desk_books", "failed"): 1,
            ("publish_desk_books", "success"): 1,
        }
    )
    assert run.state == "success"
    assert desk.rows("select count(*) as proved from trading.newest_proofs") == [{"proved": 2}]
    assert arena


def test_a_person_decides_about_what_is_held_of_a_book(
    dag: DAG, desk: AirflowDesk, arena: DeskDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = ARENA.replace("late_by: 300", "late_by: 0").replace(
        "  holds: crypto", "  write_back: update\n  holds: crypto"
    )
    (tmp_path / "books" / "arena.yaml").write_text(late)
    arena.run("update positions set quantity = 0.1 where symbol = 'BTC' and market = 'CRYPTO'")
    run_dag(dag)
    run = run_dag(dag)  # what nothing explains has to be seen twice
    asked = [str(ti.state) for ti in run.get_task_instances() if ti.task_id == "ask_for_approval"]
    assert asked == ["success"]
    [plan] = desk.rows("select plan_id::text, book, status from trading.repair_plans where kind = 'held'")
    assert (plan["book"], plan["status"]) == ("arena", "held")
    answer = {"choice": "Approve", "by": "ada", "at": "2026-01-05T12:00:00+00:00", "is_timeout": False}
    task = ActOnAnswerOperator(task_id="act_on_answer", plan_id=plan["plan_id"], answer=answer)
    assert task.execute.__wrapped__(task, {"run_id": "plan__1"}) == "applied"  # type: ignore[attr-defined]
    held = "select quantity from positions where symbol = 'BTC' and market = 'CRYPTO'"
    with arena.engine.connect() as session:
        assert session.exec_driver_sql(held).scalar_one() == 0.5
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(desk.database_url))
    assert main(["plan", "undo", plan["plan_id"], "--by", "bob"]) == 0
    with arena.engine.connect() as session:
        assert session.exec_driver_sql(held).scalar_one() == 0.1


@pytest.mark.parametrize(
    ("connection", "dialect", "place"),
    [
        ("sqlite:////srv/desk.db", Dialect.SQLITE, "/srv/desk.db"),
        ("postgres://reader:se%2Fcret@db.example:5433/arena", Dialect.POSTGRESQL, "db.example"),
        (json.dumps({"conn_type": "mysql", "host": "h", "schema": "arena"}), Dialect.MYSQL, "h"),
    ],
)
def test_the_connection_of_a_desk_is_airflow_s(
    monkeypatch: pytest.MonkeyPatch, connection: str, dialect: Dialect, place: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DESK_DB", connection)
    address = DeskBookHook("desk_db").address()
    assert (address.dialect, address.file or address.host) == (dialect, place)
    assert "cret" not in repr(address)


def test_a_connection_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_NO_SUCH_DB"):
        DeskBookHook("no_such_db").address()


def test_the_desks_own_orders_are_looked_for_and_told(
    dag: DAG,
    desk: AirflowDesk,
    arena: DeskDatabase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    declared = (
        "orders: {table: orders, account: account_id, id: order_no, kraken_id: order_no, pair: symbol,"
        " side: side, volume: quantity, executed: filled_quantity,"
        " status: {column: status, ended: [FILLED]}, changed_at: updated_at}\n"
    )
    (folder_of(os.environ) / "arena.yaml").write_text(ARENA + declared)
    arena.run(
        "insert into orders values ('OAAAAA-BBBBB-CCCCCC', 1, 'BTC', 'BUY', 1, 1, null, 'FILLED', :at)",
        at=(utc_now() - timedelta(hours=1)).replace(tzinfo=None).isoformat(" "),
    )
    run_dag(dag)
    [order] = desk.rows("select desk_order_id, state from trading.desk_orders")
    assert order == {"desk_order_id": "OAAAAA-BBBBB-CCCCCC", "state": "unmatched"}
    [told] = desk.rows("select message from trading.alerts where kind = 'desk_order_unmatched'")
    assert told["message"].startswith("trader, desk book arena: 1 order of the desk's: OAAAAA-BBBBB-CCCCCC")
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(desk.database_url))
    capsys.readouterr()
    assert main(["book", "diff", "--account", "trader", "--json"]) == 0
    [book] = json.loads(capsys.readouterr().out)["books"]
    assert (book["orders"], book["problems"]) == (
        [
            {
                "id": "OAAAAA-BBBBB-CCCCCC",
                "problem": "unmatched",
                "detail": "was filled for the desk, and Kraken does not know it",
            }
        ],
        [],
    )
    assert main(["book", "diff", "--account", "trader"]) == 0
    assert "order OAAAAA-BBBBB-CCCCCC: unmatched: was filled" in capsys.readouterr().out


def synced(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert main(["sync", "--account", "trader", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_judges_books_and_a_dry_run_only_says_what_they_are(
    desk: AirflowDesk,
    arena: DeskDatabase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(desk.database_url))
    [account] = synced(capsys)["accounts"]
    [book] = account["desk_books"]
    assert (book["book"], book["status"], book["agreed"]) == ("arena", "agreed", 2)
    arena.run("update positions set quantity = 0.75 where symbol = 'BTC' and market = 'CRYPTO'")
    before = arena.dump()
    [told] = synced(capsys, "--dry-run")["desk_books"]
    assert told["account"] == "trader"
    [found] = told["books"][0]["differences"]
    assert (found["asset"], found["desk"], found["action"]) == ("BTC", "0.75", "waiting")
    assert len(desk.rows(JUDGED)) == 1
    assert (main(["sync", "--account", "trader"]), len(desk.rows(JUDGED))) == (0, 2)
    assert "BTC" in capsys.readouterr().out
    past = synced(capsys, "--interval", "2026-01-31T12:00Z", "2026-01-31T12:15Z")
    assert "desk_books" not in past["accounts"][0]
    assert arena.dump() == before
