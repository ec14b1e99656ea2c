"""Every alert that can be raised is of a declared kind, and every kind has its section in the runbook."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

import pytest

from kraken_recon.alerts import alert, heartbeat_store, kinds
from kraken_recon.alerts import store as alert_store
from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.rules import KIND_RULES

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = ROOT / "docs/runbooks/alerts.md"
# All that writes to `alerts`: its rows, or their kind.
RAISING: tuple[Callable[..., None], ...] = (
    alert_store.AlertStore.raise_alerts,
    alert_store.AlertStore.raise_run_alert,
    alert_store.AlertStore.keep_open,
    heartbeat_store.HeartbeatStore.raise_silent,
)
MISUSE = """
from __future__ import annotations
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.alert import Alert
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
    names = {**vars(kinds), **vars(alert), **vars(inspect.getmodule(raising))}
    names |= {"Sequence": list, "Mapping": dict, "Collection": list}
    hints = get_type_hints(raising, globalns=names, localns={"datetime": object, "RunOfDag": object})
    assert AlertKind in hints.values() or list[Alert] in hints.values(), hints


@pytest.mark.parametrize(
    ("written", "name"),
    [("insert into trading.alerts ", "raise_alerts"), ("set status = 'resolved'", "resolve")],
)
def test_one_statement_raises_alerts_and_one_resolves_them(written: str, name: str) -> None:
    folder = ROOT / "include/kraken_recon"
    found = {
        (path.stem, block.split("\n", 1)[0].strip())
        for path in folder.rglob("*.sql")
        for block in path.read_text().split("-- name: ")[1:]
        if written in block
    }
    assert found == {("alerts", name)}


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
