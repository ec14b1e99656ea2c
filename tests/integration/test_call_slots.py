"""Every worker of a key shares one nonce stream and one call budget, whatever happens to the others."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from desks.logins import as_writer
from desks.scripted_server import Answer, ScriptedServer, error
from kraken_recon.database.named_sql import load
from kraken_recon.errors import (
    ConfigurationError,
    LockUnavailableError,
    RateLimitedError,
    SchemaMismatchError,
    StoreError,
)
from kraken_recon.kraken import call_slots
from kraken_recon.kraken.call_slots import PostgresCallSlots, fingerprint
from kraken_recon.kraken.rate_limits import TIERS, CallBudget
from kraken_recon.kraken.slot_sessions import SlotSessions
from kraken_recon.values.task_identity import TaskIdentity
from kraken_recon.values.usage_meter import Use, UseMeter
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from desks.scripted_server import Request

API_KEY = "public-key-of-the-test"
WORKER = Path(__file__).with_name("call_slots_worker.py")
OF_SESSION = {"idle_session_timeout_seconds", "lock_timeout_seconds"}
PLENTY = CallBudget(Decimal(100_000), Decimal(1000))


@pytest.fixture
def database(database_url):
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def slots_of(database_url):
    """Make the slots of a key; they wait for real unless told otherwise."""

    def make(api_key=API_KEY, tier=PLENTY, **options):
        of_session = {name: options.pop(name) for name in OF_SESSION & options.keys()}
        sessions = SlotSessions(as_writer(database_url), application_name="slots_of_test", **of_session)
        return PostgresCallSlots(sessions, api_key=api_key, tier=tier, **options)

    return make


@pytest.fixture
def start_worker(database_url, project_environment):
    workers = []

    def start(mode, url="http://127.0.0.1:9", calls=1, budget=PLENTY):
        arguments = [mode, as_writer(database_url), url, calls, budget.capacity, budget.decay_per_second]
        workers.append(
            subprocess.Popen(
                [sys.executable, str(WORKER), *map(str, arguments)],
                env=project_environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()
        worker.communicate()


def advisory_locks(database) -> int:
    return database.execute(
        "select count(*) from pg_locks where locktype = 'advisory' and granted"
        " and database = (select oid from pg_database where datname = current_database())"
    ).fetchone()[0]


def sessions(database, name="slots_of_test") -> int:
    return database.execute(
        "select count(*) from pg_stat_activity where application_name = %s and datname = current_database()",
        (name,),
    ).fetchone()[0]


# --- order


def test_nonces_are_microseconds_of_the_server_and_rise(slots_of, database):
    with slots_of() as first, slots_of() as second:
        nonces = []
        for slots in (first, second, second, first):
            with slots.take(1) as nonce:
                nonces.append(nonce)
    now = database.execute("select (extract(epoch from clock_timestamp()) * 1000000)::bigint").fetchone()[0]
    assert nonces == sorted(set(nonces))
    assert now - 60_000_000 < nonces[0] < nonces[-1] < now


def test_nonce_rises_although_the_clock_fell_back(slots_of, database):
    with slots_of() as slots:
        slots.needs_check(timedelta(hours=1))
        future = 9_000_000_000_000_000
        database.execute("update trading.api_keys set nonce = %s", (future,))
        with slots.take(1) as nonce:
            assert nonce == future + 1


@dataclass
class StrictKraken:
    """Kraken's rules for one key: each nonce above the last, and a counter that must not pass its maximum."""

    capacity: float
    decay_per_second: float
    outcomes: Counter[str] = field(default_factory=Counter)
    last_nonce: int = 0
    level: float = 0.0
    level_at: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Request) -> Answer:
        with self.lock:
            outcome = self.judge(request)
            self.outcomes[outcome] += 1
        return error(outcome) if outcome.startswith("E") else Answer()

    def judge(self, request: Request) -> str:
        if not request.is_signed():
            return "EAPI:Invalid signature"
        if request.nonce <= self.last_nonce:
            return "EAPI:Invalid nonce"
        self.last_nonce = request.nonce
        now = time.monotonic()
        self.level = max(0.0, self.level - self.decay_per_second * (now - self.level_at)) + 1
        self.level_at = now
        return "EAPI:Rate limit exceeded" if self.level > self.capacity else "accepted"


def outcomes_of(start_worker, mode, *, budget, workers, calls) -> tuple[Counter[str], float]:
    with ScriptedServer() as server:
        kraken = StrictKraken(float(budget.capacity), float(budget.decay_per_second))
        server.fallback = kraken
        started = time.monotonic()
        running = [start_worker(mode, server.url, calls, budget) for _ in range(workers)]
        for worker in running:
            _, complaint = worker.communicate(timeout=120)
            assert worker.returncode == 0, complaint
        return kraken.outcomes, time.monotonic() - started


def test_eight_processes_keep_order_and_budget(start_worker):
    budget = CallBudget(Decimal(20), Decimal(15))
    outcomes, seconds = outcomes_of(start_worker, "shared", budget=budget, workers=8, calls=10)
    assert outcomes == {"accepted": 80}
    assert seconds >= (80 - 20) / 15


def test_without_sharing_the_same_processes_break_the_order(start_worker):
    """The counterpart of the test above: the strict server does see disorder when there is some."""
    outcomes, _ = outcomes_of(start_worker, "alone", budget=PLENTY, workers=8, calls=10)
    assert outcomes["EAPI:Invalid nonce"] > 0


# --- budget


def test_calls_wait_for_budget(slots_of):
    started = time.monotonic()
    with slots_of(tier=CallBudget(Decimal(3), Decimal(10))) as slots:
        for _ in range(7):
            with slots.take(1):
                pass
    # Two at once below the margin, then ten a second.
    assert 0.5 <= time.monotonic() - started < 5


def test_nobody_waits_for_budget_with_the_lock_held(slots_of, database):
    held = []

    def sleep(seconds):
        held.append(advisory_locks(database))
        time.sleep(seconds)

    with slots_of(tier=CallBudget(Decimal(2), Decimal(10)), sleep=sleep) as slots:
        for _ in range(3):
            with slots.take(1):
                assert advisory_locks(database) == 1
    assert held
    assert set(held) == {0}


def test_call_that_fits_never_waits_and_dear_calls_cost_more(slots_of):
    waits = []
    with slots_of(tier=CallBudget(Decimal(9), Decimal("0.001")), sleep=waits.append) as slots:
        for cost in (4, 0, 4, 0):
            with slots.take(cost):
                pass
        assert waits == []
        with pytest.raises(RateLimitedError, match="no call budget"), slots.take(1):
            pass


def test_unlimited_tier_has_order_but_no_budget(slots_of, database):
    with slots_of(tier="unlimited", sleep=lambda _: pytest.fail("waited")) as slots:
        nonces = []
        for _ in range(100):
            with slots.take(4) as nonce:
                nonces.append(nonce)
                assert advisory_locks(database) == 1
    assert nonces == sorted(set(nonces))


@pytest.mark.parametrize(("tier", "calls"), [("starter", 14), ("intermediate", 19), ("pro", 19)])
def test_burst_of_each_tier_stays_one_below_krakens(slots_of, tier, calls):
    assert TIERS[tier].capacity == calls + 1
    with slots_of(tier=tier, wait_limit_seconds=0) as slots:
        for _ in range(calls):
            with slots.take(1):
                pass
        with pytest.raises(RateLimitedError), slots.take(1):
            pass


def test_exchange_is_believed_when_it_says_the_key_is_over_its_limit(slots_of):
    with slots_of(tier="pro", wait_limit_seconds=0) as slots:
        with pytest.raises(RateLimitedError, match="says Kraken"), slots.take(1):
            raise RateLimitedError("says Kraken")
        with pytest.raises(RateLimitedError, match="no call budget"), slots.take(1):
            pass


def test_cost_that_can_never_be_granted_is_a_mistake(slots_of):
    with slots_of(tier=CallBudget(Decimal(4), Decimal(1))) as slots, pytest.raises(ValueError, match="cost"):
        slots.take(4).__enter__()


# --- sessions


def test_session_ends_with_the_block_whatever_happens_in_it(slots_of, database):
    with pytest.raises(ZeroDivisionError), slots_of() as slots, slots.take(1):
        _ = 1 / (sessions(database) - 1)
    poll_until(lambda: sessions(database) == 0, timeout_seconds=5)
    assert sessions(database) == 0


def test_one_session_serves_all_calls_and_none_is_opened_before(slots_of, database):
    with slots_of() as slots:
        assert sessions(database) == 0
        pids = set()
        for _ in range(3):
            with slots.take(1):
                pids.add(slots._session.number)  # noqa: SLF001 - no port tells it
    assert len(pids) == 1


def test_no_transaction_is_open_during_the_call(slots_of, database):
    with slots_of() as slots, slots.take(1):
        row = database.execute(
            "select state, backend_xmin, xact_start from pg_stat_activity"
            " where application_name = 'slots_of_test' and datname = current_database()"
        ).fetchone()
    assert row == ("idle", None, None)


def test_lock_is_freed_after_a_failed_call(slots_of, database):
    with slots_of() as slots:
        with pytest.raises(KeyError), slots.take(1):
            raise KeyError
        assert advisory_locks(database) == 0


def test_keys_do_not_wait_for_each_other(slots_of):
    with (
        slots_of("key-a") as first,
        slots_of("key-b", lock_timeout_seconds=0.5) as second,
        first.take(1) as first_nonce,
        second.take(1) as second_nonce,
    ):
        assert first_nonce != second_nonce


def test_busy_key_is_waited_for_only_so_long(slots_of):
    with (
        slots_of() as holder,
        slots_of(lock_timeout_seconds=0.2) as waiter,
        holder.take(1),
        pytest.raises(LockUnavailableError),
        waiter.take(1),
    ):
        pass


def test_killed_holder_frees_the_key_at_once(slots_of, start_worker):
    holder = start_worker("hold")
    first_nonce = int(holder.stdout.readline())
    holder.kill()
    with slots_of(lock_timeout_seconds=5) as slots, slots.take(1) as nonce:
        assert nonce > first_nonce


def test_hung_holder_frees_the_key_when_its_session_is_ended(slots_of):
    with slots_of(idle_session_timeout_seconds=0.5) as hung, slots_of(lock_timeout_seconds=10) as successor:
        with hung.take(1) as stale_nonce, successor.take(1) as nonce:
            # What the hung worker might still send is below what Kraken has seen by then.
            assert stale_nonce < nonce
        # It also finds back by itself.
        with hung.take(1) as later_nonce:
            assert later_nonce > nonce


def test_session_that_idled_away_between_calls_is_replaced(slots_of, database):
    with slots_of(idle_session_timeout_seconds=0.2) as slots:
        with slots.take(1) as first:
            pass
        poll_until(lambda: sessions(database) == 0, timeout_seconds=5)
        with slots.take(1) as second:
            assert second > first


def test_use_outside_the_block_is_a_mistake(slots_of):
    with pytest.raises(RuntimeError, match="with block"):
        slots_of().needs_check(timedelta(1))


# --- sessions that are kept for the next account


@pytest.fixture
def kept(database_url):
    return SlotSessions(as_writer(database_url), application_name="kraken_recon:slots")


def of_account(sessions, number, **options):
    return PostgresCallSlots(sessions, api_key=f"key-{number}", tier=PLENTY, **options)


def test_as_many_sessions_as_ask_at_a_time_serve_all_accounts(kept, database):
    pids = set()

    def ask(number):
        with of_account(kept, number) as slots:
            slots.needs_check(timedelta(hours=24))
            with slots.take(1):
                pids.add(slots._session.number)  # noqa: SLF001 - no port tells it

    with kept.keep_open(4), ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(60)))
        assert advisory_locks(database) == 0
        owners = database.execute(
            "select distinct pool_size, call_site from trading.session_owners"
        ).fetchall()
    assert 1 <= len(pids) <= 4
    assert {(size, "test_call_slots" in place) for size, place in owners} == {(4, True)}
    alive = "select count(*) from pg_stat_activity where pid = any(%s)"
    assert poll_until(lambda: database.execute(alive, [list(pids)]).fetchone() == (0,), timeout_seconds=5)


def test_keys_in_one_session_after_another_keep_what_is_theirs(kept, database):
    with kept.keep_open(1):
        for number in (1, 2, 1):
            with of_account(kept, number) as slots:
                slots.needs_check(timedelta(hours=24))
                if number == 1:
                    slots.mark_checked()
                with slots.take(3):
                    assert advisory_locks(database) == 1
    levels = database.execute("select key_fingerprint, checked_at is null from trading.api_keys").fetchall()
    assert dict(levels) == {fingerprint("key-1"): False, fingerprint("key-2"): True}


def test_what_interrupts_a_call_leaves_no_lock_to_the_next_account(kept, database, monkeypatch):
    """Not even where the lock could not be freed in its session."""

    def fail(*_):
        raise TimeoutError

    with kept.keep_open(1):
        with (
            monkeypatch.context() as broken,
            pytest.raises(TimeoutError),
            of_account(kept, 1) as slots,
            slots.take(1),
        ):
            broken.setattr(PostgresCallSlots, "_unlock", fail)
        with of_account(kept, 1) as slots, slots.take(1):
            assert advisory_locks(database) == 1


def test_kept_sessions_that_the_server_ended_are_replaced(kept, database):
    with kept.keep_open(2):
        with of_account(kept, 1) as one, of_account(kept, 2) as two, one.take(1), two.take(1):
            pass
        database.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where application_name like 'kraken_recon:slots#%%'"
        )
        for number in (1, 2, 3):
            with of_account(kept, number) as slots, slots.take(1) as nonce:
                assert nonce


def test_keys_checked_lately_are_asked_about_once_for_all(kept, database):
    day = timedelta(hours=24)
    for number in range(3):
        with of_account(kept, number) as slots:
            assert slots.needs_check(day)
            slots.mark_checked()
    with kept.keep_open(1):
        with of_account(kept, 0) as slots:
            assert not slots.needs_check(day)
        # What is known by now is not asked again, of any key; a key that is due or new is asked about itself.
        database.execute("update trading.api_keys set checked_at = null")
        with of_account(kept, 1) as slots:
            assert not slots.needs_check(day)
        with of_account(kept, 3) as slots:
            assert slots.needs_check(day)
    with of_account(kept, 1) as slots:
        assert slots.needs_check(day)


def test_a_forked_process_takes_no_session_of_its_parent(kept):
    with kept.keep_open(1):
        with of_account(kept, 1) as slots, slots.take(1):
            parent = slots._session  # noqa: SLF001 - no port tells it
        parent.process_id += 1
        with of_account(kept, 1) as slots, slots.take(1):
            assert slots._session is not parent  # noqa: SLF001
    assert not parent.connection.closed
    parent.connection.close()


# --- what is stored, and what is said


def test_key_itself_is_nowhere_in_the_database(slots_of, database):
    with slots_of() as slots, slots.take(1):
        pass
    (row,) = database.execute("select * from trading.api_keys").fetchall()
    assert row[0] == fingerprint(API_KEY)
    assert API_KEY not in repr(row)


def test_permissions_are_checked_once_in_a_while(slots_of, database):
    day = timedelta(hours=24)
    with slots_of() as slots, slots_of("another key") as other:
        assert slots.needs_check(day)
        slots.mark_checked()
        assert not slots.needs_check(day)
        assert other.needs_check(day)
        database.execute("update trading.api_keys set checked_at = checked_at - interval '25 hours'")
        assert slots.needs_check(day)


def test_missing_table_asks_for_the_migration(slots_of, database):
    database.execute("drop table trading.api_keys")
    with slots_of() as slots, pytest.raises(SchemaMismatchError, match="migrate"), slots.take(1):
        pass
    poll_until(lambda: sessions(database) == 0, timeout_seconds=5)
    assert sessions(database) == 0


def test_unreachable_database_is_a_store_error_without_the_password():
    dsn = "postgresql://someone:pass-word@127.0.0.1:1/nowhere"
    with (
        PostgresCallSlots(SlotSessions(dsn), api_key=API_KEY, tier="pro") as slots,
        pytest.raises(StoreError) as raised,
        slots.take(1),
    ):
        pass
    assert "pass-word" not in str(raised.value)


@pytest.mark.parametrize(
    "dsn", ["mysql://someone:pass-word@host/db", "postgresql://someone:pass-word%zz@host/db"]
)
def test_unreadable_address_is_refused_without_the_password(dsn):
    with pytest.raises(ConfigurationError) as raised:
        SlotSessions(dsn)
    assert "pass-word" not in "".join(traceback.format_exception(raised.value, limit=0))


def test_named_queries_have_names_and_no_comments():
    queries = load(call_slots.__file__, "call_slots")
    assert {"take_slot", "lock_key", "unlock_key"} <= set(queries)
    assert all(query and "--" not in query and not query.endswith(";") for query in queries.values())


def test_the_session_is_registered_with_its_task(database_url: str) -> None:
    task = TaskIdentity(uuid4(), "position_sync", "a run", "reconcile_accounts", 3, 2)
    sessions = SlotSessions(database_url, application_name="af1|x|2|3|a.b", task=task)
    with PostgresCallSlots(sessions, api_key="registered", tier="pro") as slots:
        with slots.take(1):
            pass
        with psycopg.connect(database_url) as session:
            named = session.execute(
                "select application_name, state from pg_stat_activity where datname = current_database()"
                " and pid <> pg_backend_pid()"
            ).fetchall()
            owners = session.execute(
                "select application_name, dag_id, task_id, map_index, try_number, pool_size, connections_max,"
                " call_site from trading.session_owners"
            ).fetchall()
    [owner] = owners
    assert named == [(owner[0], "idle")]
    assert owner[0].startswith("af1|x|2|3|a.b#")
    assert owner[1:7] == ("position_sync", "reconcile_accounts", 3, 2, 1, 1)
    assert "test_call_slots" in owner[7]


# --- what was used is counted


def test_the_highest_level_and_every_wait_are_counted(slots_of):
    meter, waits = UseMeter(), []
    budget = CallBudget(Decimal(4), Decimal(1))

    def sleep(seconds):
        waits.append(seconds)
        time.sleep(seconds)

    with slots_of(tier=budget, sleep=sleep, meter=meter.of_key("desk")) as slots:
        for _ in range(4):
            with slots.take(1):
                pass
    used = meter.drain().keys["desk"]
    assert used.calls == 4
    # One call of the counter's four is kept free.
    assert used.level_percent == pytest.approx(75, abs=2)
    assert used.room_seconds >= sum(waits) > 0.5
    assert used.turn_seconds < sum(waits)
    assert meter.drain() == Use()


def test_a_wait_for_another_workers_call_is_counted_as_such(slots_of):
    meter, is_inside, may_leave = UseMeter(), threading.Event(), threading.Event()

    def hold():
        with slots_of() as slots, slots.take(1):
            is_inside.set()
            may_leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_inside.wait(10)
    threading.Timer(0.3, may_leave.set).start()
    with slots_of(meter=meter.of_key("desk")) as slots, slots.take(1):
        pass
    holder.join()
    used = meter.drain().keys["desk"]
    assert used.turn_seconds > 0.2
    assert used.room_seconds == 0


def test_a_limit_that_kraken_tells_of_is_counted(slots_of):
    meter = UseMeter()
    with (
        slots_of(meter=meter.of_key("desk")) as slots,
        pytest.raises(RateLimitedError),
        slots.take(1),
    ):
        raise RateLimitedError("EAPI:Rate limit exceeded")
    assert meter.drain().keys["desk"].level_percent == 100


def test_a_key_without_a_limit_has_no_level(slots_of):
    meter = UseMeter()
    with slots_of(tier="unlimited", meter=meter.of_key("desk")) as slots, slots.take(1):
        pass
    used = meter.drain().keys["desk"]
    assert (used.calls, used.level_percent) == (1, None)
