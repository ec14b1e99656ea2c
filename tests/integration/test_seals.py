"""The chain of seals: whatever the owner of the database changes of what was sealed is found and named."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desks.fake_exchange import Desk
from desks.logins import as_writer
from desks.pooled_sessions import pooled_engine
from kraken_recon.cli.main import main
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import ConfigurationError, StoreError
from kraken_recon.seals.rules import Head
from kraken_recon.seals.sealing import accept_changes, head_of, seal_due, verify_seals
from kraken_recon.seals.store import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection, Engine

    from kraken_recon.seals.sealing import OpenUnitOfWork

PLAN, HELD, RUN = (f"00000000-0000-0000-0000-00000000000{n}" for n in "abc")
ROWS = f"""
insert into trading.accounts (name, kraken_conn_id) values ('desk', 'desk');
insert into trading.orders (account_id, source, pair, base, quote, side, order_type, volume)
values (1, 'manual', 'BTC/USD', 'BTC', 'USD', 'buy', 'market', 1);
insert into trading.repair_plans (
  plan_id, account_id, kind, status, as_of, row_count, run_id, closed_at, applied_at
)
values ('{PLAN}', 1, 'repair', 'applied', now(), 1, '{RUN}', now(), now());
insert into trading.repair_plans (plan_id, account_id, kind, status, as_of, row_count, fingerprint, why)
values ('{HELD}', 1, 'held', 'held', now(), 1, '{RUN}', 'beyond the guard');
insert into trading.repair_plan_rows
values ('{HELD}', 1, 'BTC', 'spot', 0, 1, 'adjustment', 'residual_repaired', 'L1', now(), 50000);
update trading.repair_plans set status = 'approved', decided_by = 'ann', decided_at = now(), note = 'seen'
where plan_id = '{HELD}';
update trading.repair_plans
set status = 'applied', applied_at = now(), closed_at = now(), written_by_run = '{RUN}'
where plan_id = '{HELD}';
insert into trading.position_events (
  account_id, asset, wallet, quantity_before, quantity_after, cause, reason, run_id, effective_at, plan_id
) values
  (1, 'BTC', 'spot', 0, 1, 'adjustment', 'residual_repaired', '{RUN}', now(), '{PLAN}'),
  (1, 'ETH', 'spot', 0, 2.5, 'opening', null, '{RUN}', now(), null);
insert into trading.margin_position_events (
  account_id, position_id, action, is_applied, is_explained, before, after, ledger_ids, run_id, effective_at
) values (1, 'T1', 'opened', true, true, '{{}}', '{{"volume": "1"}}', '{{L1}}', '{RUN}', now());
insert into trading.order_events (order_id, status_before, status_after, what, detail, recorded_by)
values (1, 'decided', 'refused', 'no money', '{{"lacking": "1"}}', 'test'),
  (1, null, 'decided', 'came', '{{}}', 'test');
insert into trading.order_decisions (decision_key, payload) values ('key', '{{"pair": "BTC/USD"}}');
update trading.order_decisions set status = 'accepted', order_id = 1, judged_at = now();
insert into trading.order_decisions (payload) values ('{{}}');
insert into trading.desk_writes (
  plan_id, book, connection, table_name, account_id, asset, kind, key, before, after, change
) values ('{PLAN}', 'arena', 'arena_db', 'positions', 1, 'BTC', 'update', '{{"id": 1}}', '{{}}', '{{}}', 1);
update trading.desk_writes set state = 'skipped', ended_at = now(), reason = 'changed meanwhile';
"""
SEALED = {
    "approvals": 1,
    "desk_writes": 1,
    "margin_position_events": 1,
    "order_decisions": 1,
    "order_events": 2,
    "position_events": 2,
    "repair_plans": 2,
}
OTHER = {
    "bigint": ("{0} + 7", "7"),
    "integer": ("{0} + 7", "7"),
    "numeric(38,18)": ("{0} + 0.000000000000000001", "1"),
    "text": ("{0} || '.'", "'.'"),
    "text[]": ("{0} || array['.']", "array['.']"),
    "boolean": ("not {0}", "true"),
    "uuid": ("gen_random_uuid()", "gen_random_uuid()"),
    "jsonb": ("jsonb_build_object('was', {0})", "'{}'"),
    "timestamp with time zone": ("{0} + interval '1 microsecond'", "now()"),
}
KEYS = {
    "desk_writes": "write_id",
    "order_decisions": "decision_id",
    "repair_plans": "plan_id",
    "repair_plan_rows": "plan_id",
    "seals": "seal_id",
}


@pytest.fixture
def desk(database_url: str) -> Desk:
    """A database with rows of every kind, as the writer wrote them."""
    desk = Desk(database_url)
    with desk.engine.begin() as connection:
        for statement in ROWS.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    return desk


@pytest.fixture
def owner(desk: Desk) -> Engine:
    """The way in of who owns the database."""
    return pooled_engine(desk.url, owner=desk)


@pytest.fixture
def work(desk: Desk) -> OpenUnitOfWork:
    """The way in of the product."""
    return lambda: UnitOfWork(desk.engine)


@contextmanager
def tampering(owner: Engine) -> Iterator[tuple[Connection, Callable[[], dict[str, Any]]]]:
    """Let the owner change things that are undone afterwards, and the chain be verified meanwhile."""
    with owner.connect().execution_options(isolation_level="REPEATABLE READ") as connection:

        @contextmanager
        def unit() -> Iterator[Any]:
            yield SimpleNamespace(connection=connection)

        connection.exec_driver_sql("set session_replication_role = replica")  # no triggers, no foreign keys
        yield connection, lambda: verify_seals(unit)
        connection.rollback()


def bare(owner: Engine) -> None:
    """Take away what keeps the owner from any edit: constraints and identities."""
    with owner.begin() as connection:
        found = connection.exec_driver_sql(
            "select conrelid::regclass, quote_ident(conname) from pg_constraint c"
            " where connamespace = 'trading'::regnamespace and contype in ('c', 'f', 'p', 'u')"
            " and conparentid = 0"
        ).all()
        if not found:
            return
        for table, constraint in found:
            connection.exec_driver_sql(f"alter table {table} drop constraint if exists {constraint} cascade")
        unique = connection.exec_driver_sql(
            "select indexrelid::regclass from pg_index i join pg_class c on c.oid = i.indexrelid"
            " where indisunique and relnamespace = 'trading'::regnamespace and not relispartition"
        ).scalars()
        for index in unique.all():
            connection.exec_driver_sql(f"drop index {index}")
        for table in TABLES:
            identity = connection.exec_driver_sql(
                f"select attname from pg_attribute where attrelid = 'trading.{table}'::regclass"
                " and attidentity <> ''"
            ).scalars()
            for column in identity:
                connection.exec_driver_sql(f"alter table trading.{table} alter {column} drop identity")


def columns_of(connection: Connection, table: str) -> list[tuple[str, str]]:
    rows = connection.exec_driver_sql(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute"
        f" where attrelid = 'trading.{table}'::regclass and attnum > 0 and not attisdropped"
    )
    return [(name, kind) for name, kind in rows]


def test_what_is_written_is_sealed_once_it_is_finished_and_verifies(
    owner: Engine, work: OpenUnitOfWork
) -> None:
    empty = verify_seals(work)
    assert (empty["verified"], empty["seals"], empty["due"]) == (True, 0, sum(SEALED.values()))
    assert empty["head"] == str(Head())
    assert seal_due(work) == sum(SEALED.values())
    assert seal_due(work) == 0
    view = verify_seals(work)
    assert (view["verified"], view["rows"], view["due"]) == (True, SEALED, 0)
    assert Head.read(view["head"]) == head_of(work)
    with owner.connect() as connection:
        connection.exec_driver_sql("set time zone 'Asia/Kathmandu'")
        connection.exec_driver_sql("set extra_float_digits = 0")
        connection.commit()

        @contextmanager
        def elsewhere() -> Iterator[Any]:
            yield SimpleNamespace(connection=connection)

        assert verify_seals(elsewhere)["verified"], "whatever the session's settings are"


def test_a_change_of_any_column_of_any_covered_row_is_found(owner: Engine, work: OpenUnitOfWork) -> None:
    seal_due(work)
    bare(owner)
    tried = 0
    for table in set(TABLES) - {"seals_due"}:
        with owner.connect() as connection:
            columns = columns_of(connection, table)
        for column, kind in columns:
            if (table, column) == ("seals", "digests"):
                kind = "bytea"  # noqa: PLW2901
            with tampering(owner) as (connection, verify):
                if kind == "bytea":
                    change = f"set_byte({column}, 0, get_byte({column}, 0) # 1)"
                else:
                    changed, instead = OTHER[kind]
                    change = f"coalesce({changed.format(column)}, {instead})"
                key = KEYS.get(table, "event_id")
                first = f"(select {key} from trading.{table} where {key}::text <> '{PLAN}'"
                if table == "order_decisions":
                    first += " and status <> 'new'"
                first += f" order by {key} limit 1)"
                done = connection.exec_driver_sql(
                    f"update trading.{table} set {column} = {change} where {key} = {first}"
                )
                assert done.rowcount == 1, (table, column)
                view = verify()
            assert not view["verified"], (table, column)
            tried += 1
            named = {one["subject"] for one in view["failed"]}
            if table == "seals":
                assert view["failed"][0]["seal"] in {1, 2}, (column, view["failed"])
            elif table in {"repair_plans", "repair_plan_rows"}:
                assert named <= {"repair_plans", "approvals"}, (column, view["failed"])
            else:
                assert named == {table}, (column, view["failed"])
    assert tried > 85
    assert verify_seals(work)["verified"]


DELETE = "delete from trading.{table} where ctid = '{row}'"
INSERT = """
insert into trading.{table}
select *
from jsonb_populate_record(
  null::trading.{table},
  (
    select to_jsonb(t) || jsonb_build_object('{key}', {fresh})
    from trading.{table} t
    where ctid = '{row}'
  )
)
"""
MOVE = """
update trading.{table} t
set {key} = coalesce(two.next, two.first)
from (
  select
    ctid, lead({key}) over (order by {key}) as next,
    first_value({key}) over (order by {key}) as first
  from trading.{table}
  where {decided}
) two
where t.ctid = two.ctid
"""


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_rows_and_links_cannot_be_deleted_added_or_moved(
    owner: Engine, work: OpenUnitOfWork, data: st.DataObject
) -> None:
    seal_due(work)
    bare(owner)
    table = data.draw(
        st.sampled_from([name for name in TABLES if name not in {"seals_due", "repair_plan_rows"}])
    )
    key = KEYS.get(table, "event_id")
    decided = "status <> 'new'" if table == "order_decisions" else "true"
    with tampering(owner) as (connection, verify):
        rows = (
            connection.exec_driver_sql(
                f"select ctid::text from trading.{table} where {decided} order by {key}"
            )
            .scalars()
            .all()
        )
        edit = data.draw(st.sampled_from((DELETE, INSERT, MOVE) if len(rows) > 1 else (DELETE, INSERT)))
        row = data.draw(st.sampled_from(rows[:-1] if table == "seals" and edit is DELETE else rows))
        fresh = "gen_random_uuid()" if key == "plan_id" else "77"
        connection.exec_driver_sql(edit.format(table=table, key=key, row=row, fresh=fresh, decided=decided))
        view = verify()
        assert not view["verified"], (table, edit)
        first = view["failed"][0]
        assert first["seal"] is not None or first["row"] is not None


def test_a_chain_that_was_cut_or_written_anew_is_told_by_a_head_that_was_kept(
    owner: Engine, work: OpenUnitOfWork
) -> None:
    seal_due(work)
    kept = head_of(work)
    assert verify_seals(work, kept)["verified"]
    with owner.begin() as connection:
        connection.exec_driver_sql(
            "update trading.position_events set quantity_after = 9 where asset = 'ETH'"
        )
        again = connection.exec_driver_sql("delete from trading.seals returning subject, keys, note").all()
    cut = verify_seals(work, kept)
    assert any("was never sealed" in one["what"] for one in cut["failed"])
    assert "the chain ends at 0" in cut["failed"][-1]["what"]
    with owner.begin() as connection:
        for row in again:
            connection.execute(
                sa.text("insert into trading.seals_due (subject, keys, note) values (:s, :k, :n)"),
                {"s": row.subject, "k": row.keys, "n": row.note},
            )
    seal_due(work)
    assert verify_seals(work)["verified"], "a forger with the owner's rights makes a whole chain"
    told = verify_seals(work, kept)["failed"]
    assert [(one["seal"], one["what"][:32]) for one in told] == [
        (kept.seal_id, "the chain has another hash there")
    ]


def test_rows_that_a_table_hides_are_told(owner: Engine, work: OpenUnitOfWork) -> None:
    seal_due(work)
    with tampering(owner) as (connection, verify):
        connection.exec_driver_sql("alter table trading.position_events enable row level security")
        assert verify()["failed"][0]["subject"] == "position_events"


def test_sealers_side_by_side_and_killed_ones_miss_nothing_and_seal_nothing_twice(
    desk: Desk, work: OpenUnitOfWork
) -> None:
    class Killed(UnitOfWork):
        def commit(self) -> None:
            self.connection.execute(sa.text("select pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(StoreError):
        seal_due(lambda: Killed(desk.engine))
    assert verify_seals(work)["due"] == sum(SEALED.values())

    def write(number: int) -> None:
        for _ in range(5):
            with work() as unit:
                unit.connection.execute(
                    sa.text(
                        "insert into trading.order_events (order_id, status_after, what, recorded_by)"
                        " select 1, 'open', 'step', :by from generate_series(1, 3)"
                    ),
                    {"by": str(number)},
                )
                unit.commit()

    with ThreadPoolExecutor(4) as threads:
        writers = [threads.submit(write, number) for number in range(2)]
        sealers = [threads.submit(seal_due, work) for _ in range(6)]
    sealed = sum(one.result() for one in sealers) + seal_due(work)
    assert all(one.exception() is None for one in writers)
    assert sealed == sum(SEALED.values()) + 30
    view = verify_seals(work)
    assert (view["verified"], view["rows"]["order_events"], view["due"]) == (True, 32, 0)


def test_commands(
    owner: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(database_url))

    def run(*words: str) -> tuple[int, Any]:
        status = main(["seals", *words, "--json"])
        return status, json.loads(capsys.readouterr().out)

    assert run("now")[1]["sealed"] == sum(SEALED.values())
    _, head = run("head")
    assert run("verify", "--head", head["head"])[0] == 0
    with owner.begin() as connection:
        connection.exec_driver_sql("update trading.order_events set what = 'nothing' where order_id = 1")
        connection.exec_driver_sql(f"delete from trading.repair_plans where plan_id = '{HELD}'")
    status, view = run("verify")
    assert status == 1
    assert {(one["subject"], one["what"].split()[1]) for one in view["failed"]} == {
        ("order_events", "changed"), ("repair_plans", "deleted"), ("approvals", "deleted"),
    }  # fmt: skip
    assert main(["seals", "verify"]) == 1
    assert "NOT verified: 4 thing(s)" in capsys.readouterr().out
    # Somebody vouches for it: from then on the chain says who did.
    status, accepted = run("accept", "--by", "ann", "--note", "put right by hand")
    assert (status, sorted(accepted["accepted"])) == (0, ["approvals", "order_events", "repair_plans"])
    status, view = run("verify", "--head", head["head"])
    assert (status, view["verified"]) == (0, True)
    assert {one["note"] for one in view["sealed_again"]} == {"accepted as it is by ann: put right by hand"}
    assert run("accept", "--by", "ann", "--note", "again")[1]["accepted"] == {}
    # A broken link nobody can vouch for; and what is no head is refused before anything is read.
    with owner.begin() as connection:
        connection.exec_driver_sql("update trading.seals set note = 'x' where seal_id = 2")
    with pytest.raises(ConfigurationError, match="restore"):
        accept_changes(lambda: UnitOfWork(owner), "ann", "no")
    for text in ("12", "x:y", "1:" + "g" * 64):
        with pytest.raises(SystemExit):
            main(["seals", "verify", "--head", text])
