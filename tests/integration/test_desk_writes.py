"""A desk's rows are written only while they are what was judged, and it is always known what became of it."""

from __future__ import annotations

import secrets
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from desks.desk_writing import WrittenDesk
from desks.fake_exchange import Desk
from kraken_recon.desk_books.rules.judged import WriteState
from kraken_recon.desk_books.writing import settle_unfinished, write_back

if TYPE_CHECKING:
    from desks.desk_databases import DeskDatabase

PROVEN = {"BTC": Decimal("1.5"), "ETH": Decimal(2), "USD": Decimal("900.25")}
STATES = [WriteState.WRITTEN] * 4


@pytest.fixture
def written(database_url: str, database: DeskDatabase) -> WrittenDesk:
    """A desk whose book lacks a fill of BTC, all ETH and a fee, and has SOL that nobody ever held."""
    desk = WrittenDesk(Desk(database_url), database)
    desk.fill(BTC=Decimal(1), SOL=Decimal(7), XRP=Decimal(3))
    return desk


PROVEN_ALL = PROVEN | {"XRP": Decimal(3)}


def test_what_was_decided_is_written_and_nothing_else(written: WrittenDesk) -> None:
    others = "select * from positions where id in (3, 900)"
    with written.database.engine.connect() as session:
        before = [session.exec_driver_sql(others).all()]
    done = write_back(
        written.judge(proven=PROVEN_ALL, costs={"BTC": Decimal("100.123456785")}), written.ports
    )
    assert {one.asset: one.reason or one.state for one in done.outcomes} == dict.fromkeys(
        ("BTC", "ETH", "SOL", "USD"), WriteState.WRITTEN
    )
    assert written.positions() == {
        "BTC": ("1.50000000", "0.00000000", "100.12345678"),
        "XRP": ("3.00000000", "0.00000000", None),
        "ETH": ("2.00000000", "2.00000000", None),
    }
    with written.database.engine.connect() as session:
        assert [session.exec_driver_sql(others).all()] == before
        assert session.exec_driver_sql("select id, current_cash from accounts order by id").all() == [
            (1, Decimal("900.25")),
            (9, 5),
        ]
        moments = session.exec_driver_sql("select updated_at from positions where symbol in ('BTC', 'ETH')")
        assert len([one for (one,) in moments if one is not None]) == 3 - 1
    [plan] = written.plans()
    assert (plan["kind"], plan["status"], plan["book"], plan["row_count"]) == (
        "repair",
        "applied",
        "arena",
        4,
    )
    assert {(w["asset"], w["kind"], w["state"], w["change"]) for w in written.writes()} == {
        ("BTC", "update", "written", Decimal("0.5")),
        ("ETH", "insert", "written", Decimal(2)),
        ("SOL", "remove", "written", Decimal(-7)),
        ("USD", "update", "written", Decimal("-99.75")),
    }
    assert written.judge(proven=PROVEN_ALL).differences == ()


def test_a_row_that_is_no_longer_what_was_judged_is_left(written: WrittenDesk) -> None:
    judged = written.judge(proven=PROVEN_ALL)
    written.database.run(
        "update positions set quantity = 1.25 where id = 1; delete from positions where id = 2;"
        "insert into positions values (77, 1, 'XBT', 'n', 'STOCK', 'v1', 9, 0, null, 'true', null);"
        "insert into positions values (78, 1, 'ETH', 'n', 'CRYPTO', 'v1', 2, 0, null, 'true', null)"
    )
    rows = written.positions()
    done = write_back(judged, written.ports)
    reasons = {one.asset: one.reason for one in done.outcomes if one.state is WriteState.SKIPPED}
    assert reasons.keys() == {"BTC", "ETH", "SOL"}
    assert "quantity" in reasons["BTC"]
    assert "added meanwhile" in reasons["ETH"]
    assert "gone" in reasons["SOL"]
    assert written.positions() == rows
    [plan] = written.plans()
    assert plan["status"] == "applied"  # the cash was written
    assert {w["asset"]: w["state"] for w in written.writes()}["BTC"] == "skipped"


def everything(written: WrittenDesk) -> dict[str, list[dict[str, Any]]]:
    """Read every row of every table of the desk's database."""
    engine = written.database.engine
    with engine.connect() as session:
        return {
            table: [dict(row) for row in session.exec_driver_sql(f"select * from {table}").mappings()]
            for table in sa.inspect(engine).get_table_names()
        }


def test_only_named_columns_of_the_rows_that_differ_change(written: WrittenDesk) -> None:
    before = everything(written)
    write_back(written.judge(PROVEN_ALL), written.ports)
    after = everything(written)
    changed = [
        (table, sorted(name for name in new if new[name] != old[name]))
        for table, rows in before.items()
        for old in rows
        for new in after[table]
        if next(iter(old.values())) == next(iter(new.values())) and new != old
    ]
    assert sorted(changed) == [("accounts", ["current_cash"]), ("positions", ["quantity", "updated_at"])]
    keys = {table: {next(iter(row.values())) for row in rows} for table, rows in before.items()}
    now = {table: {next(iter(row.values())) for row in rows} for table, rows in after.items()}
    assert now == keys | {"positions": (keys["positions"] - {2}) | {500}}


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_a_role_needs_no_more_than_what_it_may_write(written: WrittenDesk) -> None:
    role = f"writer_{secrets.token_hex(4)}"
    at, engine = "", written.database.engine
    if engine.dialect.name != "postgresql":
        at = "@'127.0.0.1'"
    login = (
        f"create user {role}{at} identified by 'p-1'" if at else f"create role {role} login password 'p-1'"
    )
    with engine.begin() as session:
        session.exec_driver_sql(login)
        session.exec_driver_sql(f"grant select on accounts to {role}{at}")
        session.exec_driver_sql(f"grant select on positions to {role}{at}")
        columns = "quantity, available_quantity, avg_cost, updated_at"
        session.exec_driver_sql(f"grant update ({columns}) on positions to {role}{at}")
    owner = written.database.connection
    written.database.connection = {**owner, "login": role, "password": "p-1"}
    outcomes = {one.asset: one for one in write_back(written.judge(PROVEN_ALL), written.ports).outcomes}
    assert {asset: one.state for asset, one in outcomes.items()} == {
        "BTC": WriteState.WRITTEN,
        "ETH": WriteState.SKIPPED,
        "SOL": WriteState.SKIPPED,
        "USD": WriteState.SKIPPED,
    }
    assert "denied" in outcomes["ETH"].reason
    with engine.begin() as session:
        session.exec_driver_sql(f"grant insert, delete on positions to {role}{at}")
        session.exec_driver_sql(f"grant update (current_cash) on accounts to {role}{at}")
    done = write_back(written.judge(PROVEN_ALL), written.ports)
    assert {one.state for one in done.outcomes} == {WriteState.WRITTEN}
    with engine.begin() as session:
        session.exec_driver_sql(f"drop owned by {role}" if not at else "select 1")
        session.exec_driver_sql(f"drop {'role' if not at else 'user'} {role}{at}")


def test_nothing_is_asked_of_a_desk_twice_about_what_is_known(written: WrittenDesk) -> None:
    write_back(written.judge(proven=PROVEN_ALL), written.ports)
    assert settle_unfinished(written.ports, lambda _: True) == []
    assert [w["state"] for w in written.writes()] == ["written"] * 4


def test_what_is_locked_is_left_for_the_next_run(written: WrittenDesk) -> None:
    judged = written.judge(proven=PROVEN_ALL)
    is_file = written.database.file is not None
    with written.database.engine.connect() as bot:
        # A file of SQLite's has one lock for all of its rows.
        bot.exec_driver_sql(
            "begin immediate" if is_file else "select * from positions where id = 1 for update"
        )
        outcomes = {one.asset: one for one in write_back(judged, written.ports).outcomes}
    assert outcomes["BTC"].state is WriteState.SKIPPED
    assert "lock" in outcomes["BTC"].reason.lower()
    others = {one.state for asset, one in outcomes.items() if asset != "BTC"}
    assert others == {WriteState.SKIPPED if is_file else WriteState.WRITTEN}
    done = write_back(written.judge(proven=PROVEN_ALL), written.ports)
    assert {one.state for one in done.outcomes} == {WriteState.WRITTEN}
    assert written.judge(proven=PROVEN_ALL).differences == ()


def test_a_desk_that_is_gone_leaves_everything_told(written: WrittenDesk) -> None:
    judged = written.judge(proven=PROVEN_ALL)
    written.database.run("drop table positions")
    done = write_back(judged, written.ports)
    assert {one.state for one in done.outcomes} == {WriteState.SKIPPED}
    assert "positions" in done.outcomes[0].reason
    assert written.writes() == []


@pytest.mark.parametrize("is_known_to_desk", [True, False])
def test_after_an_outage_of_ours_the_rows_say_what_was_written(
    written: WrittenDesk, *, is_known_to_desk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = written.judge(proven=PROVEN_ALL)
    rows = written.positions()

    class OutageError(Exception):
        pass

    def conclude(*_: object) -> None:
        raise OutageError

    place = "kraken_recon.desk_books.write_store.WriteStore.conclude"
    if not is_known_to_desk:
        place = "kraken_recon.desk_books.writing.change_rows"
    with monkeypatch.context() as patch:
        patch.setattr(place, conclude if is_known_to_desk else lambda *_: conclude())
        with pytest.raises(OutageError):
            write_back(judged, written.ports)
    assert [w["state"] for w in written.writes()] == ["writing"] * 4
    assert [p["status"] for p in written.plans()] == ["writing"]
    assert settle_unfinished(written.ports, lambda book: book == "another") == []
    assert [w["state"] for w in written.writes()] == ["writing"] * 4
    assert settle_unfinished(written.ports, lambda _: True) == []
    states = {w["state"] for w in written.writes()}
    assert states == {"written" if is_known_to_desk else "skipped"}
    assert [p["status"] for p in written.plans()] == ["applied" if is_known_to_desk else "outdated"]
    assert (written.positions() == rows) is not is_known_to_desk
    write_back(written.judge(proven=PROVEN_ALL), written.ports)
    assert written.judge(proven=PROVEN_ALL).differences == ()


def test_a_row_that_moved_after_an_outage_is_judged_anew(
    written: WrittenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("kraken_recon.desk_books.writing.change_rows", lambda *_: None)
        write_back(written.judge(proven=PROVEN_ALL), written.ports)
    written.database.run(
        "update positions set quantity = 1.125 where id = 1; delete from positions where id = 2"
    )
    assert settle_unfinished(written.ports, lambda _: True) == []
    states = {w["asset"]: w["state"] for w in written.writes()}
    # A row that is gone is as it would be after its removal, whoever removed it.
    assert states == {"BTC": "skipped", "ETH": "skipped", "SOL": "written", "USD": "skipped"}


def test_what_cannot_be_found_out_yet_is_told_and_stays(
    written: WrittenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("kraken_recon.desk_books.writing.change_rows", lambda *_: None)
        done = write_back(written.judge(proven=PROVEN_ALL), written.ports)
    assert {one.state for one in done.outcomes} == {WriteState.WRITING}
    written.database.run("alter table positions rename to moved")
    [problem] = settle_unfinished(written.ports, lambda _: True)
    assert "positions" in problem.what
    assert [w["state"] for w in written.writes()] == ["writing"] * 4
    written.database.run("alter table moved rename to positions")
    assert settle_unfinished(written.ports, lambda _: True) == []
    assert {w["state"] for w in written.writes()} == {"skipped"}
