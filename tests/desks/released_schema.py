"""The schema of the last release with data of its own making, which every later one must take over.

``make release-schema`` records both anew. Once a release is cut, its file stays as it is, and so does the
``schema.sql`` that it names: what comes later is a migration.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg

from conftest import start_simulator, with_database
from desks.logins import make_logins
from desks.orders import TradingDesk
from kraken_recon.certificates.certifying import certify
from kraken_recon.certificates.store import CertificateStore
from kraken_recon.database import migrations
from kraken_recon.database.migrate import migrate
from kraken_recon.database.revision import REVISION
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from local_stack.binaries import find_programs
from local_stack.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    import sqlalchemy as sa

FOLDER: Final = Path(__file__).with_name("releases")
MIGRATIONS: Final = Path(migrations.__file__).parent
BASELINE: Final = (MIGRATIONS / "schema.sql", MIGRATIONS / "versions/v0001_create_the_trading_schema.py")


def digest_of_baseline() -> str:
    """Name what the first migration makes."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in BASELINE)).hexdigest()


@dataclass(frozen=True)
class Release:
    """What a release's database was: its revision, its rows as SQL, and a certificate given out of it."""

    name: str
    revision: str
    baseline: str
    certificate: dict[str, Any]
    rows: str

    @classmethod
    def last(cls) -> Self:
        """Read the newest file."""
        newest = max(FOLDER.glob("*.sql"), key=lambda path: tuple(map(int, path.stem.split("."))))
        told, _, rows = newest.read_text(encoding="utf-8").partition("\n")
        return cls(newest.stem, **json.loads(told.removeprefix("-- ")), rows=rows)


def certificate_of(engine: sa.Engine, desk: str, at: Any, now: Any) -> dict[str, Any]:
    """Give out a certificate."""
    with UnitOfWork(engine) as unit:
        return certify(CertificateStore(unit), desk, at, now=now)


def use(desk: TradingDesk) -> dict[str, Any]:
    """Work on the database as a desk does, and return a certificate of its last proof."""
    desk.account()
    desk.account("other", XXBT="1", ZUSD="5000", XETH="3")
    desk.prices(XBTUSD="50000", ETHUSD="2500")
    desk.sync()
    desk.decide(key="first", volume="0.1", reason="momentum")
    desk.decide(pair="ETH/USD", side="sell", portion="0.5")
    desk.decide(volume="none")
    desk.decide("other", pair="ETH/USD", side="sell", type="limit", limit_price="2400", volume="1")
    desk.run_until_settled()
    desk.decide(key="first", volume="0.1", reason="momentum")
    desk.simulator.control.post(
        "accounts/desk/events",
        {"kind": "manual_order", "pair": "XBTUSD", "side": "sell", "ordertype": "market", "volume": "0.2"},
    )
    desk.simulator.control.post("accounts/other/residual", {"asset": "XXBT", "amount": "0.0005"})
    for _ in range(3):
        desk.pause(900)
        desk.execute_orders()
        desk.sync()
    return certificate_of(desk.engine, "desk", desk.now(), desk.now() + timedelta(days=1))


def record(name: str) -> Path:
    """Make a database of today's schema, use it, and keep its rows as the release of that name."""
    environment = {**os.environ, "PYTHONPATH": "include:plugins"}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place,
        EmbeddedPostgres(Path(place) / "postgres") as server,
    ):
        Path(place).chmod(0o711)
        with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
            admin.execute("create database released")
            url = with_database(server.url("postgres"), "released")
            migrate(create_engine(url))
            make_logins(admin)
        with (
            start_simulator(Path(place) / "simulator.log", environment) as simulator,
            closing(TradingDesk(simulator, url)) as desk,
        ):
            certificate = use(desk)
        dumped = subprocess.run(
            [
                find_programs() / "pg_dump", "--data-only", "--schema=trading", "--inserts",
                "--rows-per-insert=200", "--exclude-table=trading.alembic_version", url,
            ],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    # What a newer pg_dump sets and an older server does not know, and its own remarks, are no data.
    kept = [line for line in dumped.splitlines() if line and not line.startswith(("--", "SET ", "\\"))]
    told = {"revision": REVISION, "baseline": digest_of_baseline(), "certificate": certificate}
    path = FOLDER / f"{name}.sql"
    FOLDER.mkdir(exist_ok=True)
    path.write_text("\n".join([f"-- {json.dumps(told, default=str)}", *kept, ""]), encoding="utf-8")
    return path


if __name__ == "__main__":
    print(f"wrote {record(sys.argv[1])}")  # noqa: T201 - a program
