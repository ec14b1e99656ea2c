"""Every alert that can be raised is of a declared kind, and every kind has its section in the runbook."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

import pytest

from kraken_recon.adapters.postgres import alert_raising, heartbeat_store, session_store, sync_store
from kraken_recon.domain import alert_kinds, records
from kraken_recon.domain.alert_kinds import AlertKind
from kraken_recon.domain.alerts import KIND_RULES
from kraken_recon.domain.records import Alert
from kraken_recon.service import auditing, heartbeats, ports

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = ROOT / "docs/runbooks/alerts.md"
# All that writes to `alerts`, as the port says it and as Postgres does it: its rows, or their kind.
RAISING: tuple[Callable[..., None], ...] = (
    ports.SyncStore.raise_alerts,
    sync_store.PostgresSyncStore.raise_alerts,
    auditing.SessionRecords.raise_alert,
    session_store.PostgresSessionStore.raise_alert,
    alert_raising.raise_alerts,
    alert_raising.keep_open,
    heartbeats.HeartbeatStore.raise_silent,
    heartbeat_store.PostgresHeartbeatStore.raise_silent,
)
MISUSE = """
from __future__ import annotations
from kraken_recon.domain.alert_kinds import AlertKind
from kraken_recon.domain.records import Alert
Alert(AlertKind.HELD_REPAIR, 1, None, None, "declared")
Alert("no_such_kind", 1, None, None, "not declared")
"""


def test_every_kind_has_its_section_and_every_section_its_kind() -> None:
    sections = {line[3:].strip("` ") for line in RUNBOOK.read_text().splitlines() if line.startswith("## `")}
    assert sections == set(AlertKind), "one section for each kind of AlertKind in docs/runbooks/alerts.md"


def test_rules_are_about_declared_kinds() -> None:
    assert KIND_RULES.keys() <= set(AlertKind)


@pytest.mark.parametrize("raising", RAISING, ids=lambda raising: raising.__qualname__)
def test_whatever_raises_takes_a_declared_kind(raising: Callable[..., None]) -> None:
    names = {**vars(alert_kinds), **vars(records), **vars(inspect.getmodule(raising))}
    names |= {"Sequence": list, "Mapping": dict, "Collection": list}
    hints = get_type_hints(raising, globalns=names, localns={"datetime": object, "Connection": object})
    assert AlertKind in hints.values() or list[Alert] in hints.values(), hints


def test_no_other_statement_writes_alerts() -> None:
    folder = ROOT / "include/kraken_recon/adapters/postgres/sql"
    found = {
        (path.stem, block.split("\n", 1)[0].strip())
        for path in folder.glob("*.sql")
        for block in path.read_text().split("-- name: ")[1:]
        if "insert into trading.alerts " in block
    }
    assert found == {
        ("alerts", "raise_alerts"),
        ("alerts", "raise_run_alert"),
    }


def test_the_type_checker_refuses_an_undeclared_kind(tmp_path: Path) -> None:
    assert {field.name: field.type for field in fields(Alert)}["kind"] == "AlertKind"
    misuse = tmp_path / "misuse.py"
    misuse.write_text(MISUSE)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", "/dev/null", str(misuse)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 1, done.stdout + done.stderr
    assert 'has incompatible type "str"; expected "AlertKind"' in errors[0]
