"""The drill: the server is lost, an older dump restored, and Kraken, which moved on, accounted for again."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest

from conftest import REPOSITORY
from desks.orders import TradingDesk
from kraken_recon.certificates.certifying import certify, verify
from kraken_recon.certificates.store import CertificateStore
from kraken_recon.database.migrate import migrate
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.kraken.call_slots import PostgresCallSlots
from kraken_recon.kraken.slot_sessions import SlotSessions
from kraken_recon.orders.deciding import accept_decisions
from kraken_recon.seals.sealing import head_of, seal_due, verify_seals
from local_stack.binaries import find_programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from conftest import Simulator

SCRIPTS = REPOSITORY / "deploy/backup"
RESTING = {"type": "limit", "limit_price": "40000", "volume": "0.5"}
HOLD_SECONDS = 100


class Server:
    """A database of its own that the scripts for backups are run on, and that may be lost."""

    def __init__(self, admin: psycopg.Connection, url: str, folder: Path) -> None:
        self.admin, self.url, self.name = admin, url, urlsplit(url).path.removeprefix("/")
        self.dumps = folder / "dumps"
        self.dumps.mkdir()
        parts = urlsplit(url)
        password = folder / "password"
        password.write_text(parts.password or "")
        self.variables = {
            "PATH": f"{find_programs()}:{os.environ['PATH']}",
            "PGHOST": parts.hostname or "",
            "PGPORT": str(parts.port),
            "PGUSER": parts.username or "",
            "PGDATABASE": self.name,
            "PASSWORD_FILE": str(password),
            "BACKUP_DIRECTORY": str(self.dumps),
            "BACKUP_KEEP": "2",
        }

    def run(self, script: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPTS / script, *arguments],
            env=self.variables | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def dump(self) -> Path:
        done = self.run("back-up")
        assert done.returncode == 0, done.stderr
        return Path(done.stdout.split()[1].rstrip(","))

    def lose(self) -> None:
        self.admin.execute(f'drop database "{self.name}" with (force)')
        self.admin.execute(f'create database "{self.name}"')

    def restore(self, dump: Path) -> None:
        done = self.run("restore", dump)
        assert done.returncode == 0, done.stderr
        migrate(create_engine(self.url))


@pytest.fixture
def server(postgres_admin: psycopg.Connection, database_url: str, tmp_path: Path) -> Server:
    running = postgres_admin.info.server_version // 10_000
    asked = [find_programs() / "pg_dump", "--version"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    if f" {running}." not in told:
        pytest.skip(f"the server is PostgreSQL {running}, but here is {told}")
    return Server(postgres_admin, database_url, tmp_path)


@pytest.fixture
def desk(simulator: Simulator, server: Server) -> Iterator[TradingDesk]:
    with closing(TradingDesk(simulator, server.url)) as desk:
        desk.account()
        desk.prices(XBTUSD="50000", ETHUSD="2500")
        desk.sync()
        desk.decide(volume="0.1")
        desk.run_until_settled()
        desk.pause(600)
        desk.sync()
        yield desk


def certified(desk: TradingDesk, at: datetime) -> dict[str, Any]:
    with UnitOfWork(desk.engine) as unit:
        return certify(CertificateStore(unit), "desk", at, now=desk.now() + timedelta(days=1))


def nonce(desk: TradingDesk) -> int:
    with (
        PostgresCallSlots(SlotSessions(desk.database_url), api_key="a key", tier="pro") as slots,
        slots.take(1) as taken,
    ):
        return taken


def lose_and_restore(desk: TradingDesk, server: Server, dump: Path) -> None:
    desk.close()
    server.lose()
    server.restore(dump)


def placed(desk: TradingDesk) -> int:
    return len(desk.true_orders())


def test_drill(desk: TradingDesk, server: Server) -> None:
    proven_at = desk.now()
    before = certified(desk, proven_at)
    # Decided before the dump and sent after it: judged but not sent, and still to be judged.
    desk.decide(key="judged", pair="ETH/USD", type="limit", limit_price="2000", volume="1")
    accept_decisions(desk.ports)
    desk.decide(**RESTING)
    nonce(desk)
    assert seal_due(desk.ports.open_unit_of_work) > 10
    kept = head_of(desk.ports.open_unit_of_work)
    dump = server.dump()
    desk.execute_orders()
    # Decided after it: nothing in the dump tells of these.
    desk.decide(key="lost", volume="0.2")
    desk.decide(volume="0.3")
    desk.run_until_settled()
    desk.simulator.control.post("accounts/desk/events", {"kind": "deposit", "asset": "ZUSD", "amount": "75"})
    desk.pause(600)
    desk.sync()
    later, last_nonce, at_kraken = certified(desk, desk.now()), nonce(desk), desk.true_orders()
    lost_positions = desk.positions()
    assert len(at_kraken) == 5
    assert seal_due(desk.ports.open_unit_of_work) > 10
    lost_head = head_of(desk.ports.open_unit_of_work)

    lose_and_restore(desk, server, dump)
    # What the dump holds is verified as before, and what it does not hold is noticed to be lost.
    assert verify_seals(desk.ports.open_unit_of_work, kept)["verified"]
    [lost] = verify_seals(desk.ports.open_unit_of_work, lost_head)["failed"]
    assert lost["what"].startswith(f"the chain ends at {kept.seal_id}: a backup")
    desk.decide(key="lost", volume="0.2")  # whoever had no answer gives it again
    desk.decide(key="new", volume="0.05")
    desk.execute_orders()
    assert placed(desk) == len(at_kraken), "nothing is sent before Kraken's books are known"
    desk.sync()
    assert desk.positions() == lost_positions
    assert nonce(desk) > last_nonce
    desk.pause(HOLD_SECONDS)
    desk.run_until_settled()
    assert placed(desk) == len(at_kraken) + 1, "what is new is sent, and once"
    orders = {row["cl_ord_id"]: row for row in desk.orders()}
    assert orders.keys() == {order["cl_ord_id"] for order in desk.true_orders()}
    assert [orders[order["cl_ord_id"]]["source"] for order in at_kraken] == [*["manual"] * 4, "external"]
    repeated = desk.decide(key="lost", volume="0.2")
    assert desk.rows("select status from trading.order_decisions where decision_id = %s", repeated)[0] == {
        "status": "accepted"
    }
    # What was proved is proved as before, from what Kraken told again where need be.
    desk.sync()
    assert verify(json.dumps(before).encode())["verified"]
    assert verify(json.dumps(later).encode())["verified"]
    assert digests(certified(desk, proven_at)) == digests(before)
    assert digests(later).items() <= links(certified(desk, desk.now()))


def digests(document: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(h["asset"], h["wallet"]): h["digest"] for h in document["holdings"]}


def links(document: dict[str, Any]) -> set[tuple[tuple[str, str], str]]:
    return {
        ((holding["asset"], holding["wallet"]), link)
        for holding in document["holdings"]
        for link in (holding["digest"], *(entry["link"] for entry in holding["entries"]))
    }


def test_a_decision_that_comes_again_with_its_key_is_the_order_that_it_was(
    desk: TradingDesk, server: Server
) -> None:
    dump = server.dump()
    desk.decide(key="lost", volume="0.2", reason="momentum")
    desk.run_until_settled()
    lose_and_restore(desk, server, dump)
    desk.execute_orders()
    [found] = desk.rows("select * from trading.orders where source = 'external'")
    again = desk.decide(key="lost", volume="0.2", reason="momentum")
    other = desk.decide(key="lost", volume="0.1")
    desk.pause(HOLD_SECONDS)
    desk.run_until_settled()
    [judged] = desk.rows("select * from trading.order_decisions where decision_id = %s", again)
    assert (judged["order_id"], judged["status"]) == (found["order_id"], "accepted")
    [order] = desk.rows("select * from trading.orders where order_id = %s", found["order_id"])
    assert (order["source"], order["reason"], order["status"]) == ("manual", "momentum", "closed")
    assert (
        "differs in reason, volume"
        in desk.rows("select refusal from trading.order_decisions where decision_id = %s", other)[0][
            "refusal"
        ]
    )
    assert placed(desk) == 2


def test_a_key_under_which_kraken_has_another_order_is_refused(desk: TradingDesk, server: Server) -> None:
    dump = server.dump()
    desk.decide(key="lost", volume="0.2")
    desk.run_until_settled()
    lose_and_restore(desk, server, dump)
    desk.execute_orders()
    other = desk.decide(key="lost", volume="0.1")
    desk.pause(HOLD_SECONDS)
    desk.run_until_settled()
    [refused] = desk.rows("select refusal from trading.order_decisions where decision_id = %s", other)
    assert "before this database was restored" in refused["refusal"]
    assert placed(desk) == 2


@pytest.mark.parametrize("way", ["another server", "a copy of the database", "the same database"])
def test_nothing_is_sent_while_kraken_cannot_tell_what_was_sent_before(
    desk: TradingDesk, server: Server, way: str
) -> None:
    desk.decide(**RESTING)
    copy = f"recon_copy_{secrets.token_hex(4)}"
    dump = server.dump()
    if way == "a copy of the database":
        desk.close()
        server.admin.execute(f'create database "{copy}" template "{server.name}" strategy file_copy')
    desk.execute_orders()
    desk.close()
    if way == "another server":
        server.lose()
    elif way == "the same database":
        with psycopg.connect(server.url) as connection:
            connection.execute("drop schema trading cascade")
    if way == "a copy of the database":
        server.admin.execute(f'drop database "{server.name}" with (force)')
        server.admin.execute(f'alter database "{copy}" rename to "{server.name}"')
    else:
        server.restore(dump)
    desk.fault("http_error", endpoint="OpenOrders", status=503)
    desk.execute_orders()
    desk.pause(HOLD_SECONDS)
    desk.execute_orders()
    assert placed(desk) == 2
    desk.simulator.control.delete("faults")
    desk.pause(60)
    desk.run_until_settled()
    assert placed(desk) == 2
    assert [row["status"] for row in desk.orders()] == ["closed", "open"]
    assert desk.orders()[1]["volume"] == Decimal("0.5")


def test_backups_are_rotated_checked_and_restored_into_an_empty_database_only(server: Server) -> None:
    old = [server.dumps / f"trading-2026010{day}T000000Z.dump" for day in (1, 2, 3)]
    for path in old:
        path.touch()
    (server.dumps / "trading-20260103T000000Z.dump.unfinished").touch()
    made = server.dump()
    assert sorted(server.dumps.iterdir()) == [old[-1], made]
    assert made.stat().st_mode & 0o077 == 0
    failed = server.run("back-up", PGDATABASE="no_such_database")
    assert failed.returncode != 0
    assert {path for path in server.dumps.iterdir() if path.suffix == ".dump"} == {old[-1], made}
    refused = server.run("restore", made)
    assert refused.returncode == 1
    assert "holds a schema trading" in refused.stderr
    assert server.run("restore", server.dumps / "none").returncode == 2
    server.lose()
    assert server.run("restore", old[-1]).returncode != 0
    server.restore(made)
    with psycopg.connect(server.url) as connection:
        assert connection.execute("select version_num from trading.alembic_version").fetchone()
