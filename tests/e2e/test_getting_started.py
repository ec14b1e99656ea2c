"""The page for newcomers, tried as one: its commands in its order, and the answers that it promises."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from desks.exports import ENTRIES, LEDGER_HEADERS, write_csv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conftest import Simulator

PAGE = Path(__file__).resolve().parents[2] / "docs/getting-started.md"
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
KEY, SECRET = "desk-key", "ZGVzay1zZWNyZXQ="
MARK = "--- next step ---"
READING_CALLS = {
    "BalanceEx", "GetApiKeyInfo", "Ledgers", "OpenOrders", "OpenPositions", "QueryOrders", "TradesHistory"
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """Commands of the page, and what the page says of their output."""

    commands: str
    promised: str


def steps() -> list[Step]:
    """Pair each shell block with the block of text that follows it before the next."""
    found: list[Step] = []
    for kind, text in BLOCK.findall(PAGE.read_text()):
        if kind == "sh":
            found.append(Step(text, ""))
        else:
            found[-1] = Step(found[-1].commands, found[-1].promised + text)
    return found


def is_kept(promised: str, output: str) -> bool:
    """Tell whether the output holds what was promised, where ``...`` stands for anything."""
    parts = [" +".join(map(re.escape, re.split(" +", part))) for part in promised.strip().split("...")]
    return re.search(".*".join(parts), output, re.DOTALL) is not None


def filled_in(commands: str, values: Mapping[str, str]) -> str:
    """Do what the page asks of its reader: write own values in place of the examples."""
    for example, own in values.items():
        commands = commands.replace(example, own)
    return commands


def ledgers_csv(simulator: Simulator) -> bytes:
    """Export the account's ledger as Kraken does."""
    header = LEDGER_HEADERS[10].split()
    rows = [
        row | {"txid": row["id"], "time": f"{datetime.fromtimestamp(float(row['time']), UTC):%F %T}"}
        for row in simulator.control.get("accounts/desk/statement")["ledger"]
    ]
    return write_csv(header, [[row[column] for column in header] for row in rows])


def test_every_command_of_the_page_does_what_the_page_says(
    simulator: Simulator, database_url: str, project_environment: dict[str, str], tmp_path: Path
) -> None:
    account = {"name": "desk", "api_key": KEY, "api_secret": SECRET, "tier": "unlimited", "entries": ENTRIES}
    simulator.control.post("accounts", account)
    (tmp_path / "ledgers.csv").write_bytes(ledgers_csv(simulator))
    values = {
        "postgresql://trading:secret@127.0.0.1:5432/trading": database_url,
        "PRIVATE-KEY": SECRET,
        "API-KEY": KEY,
        '{"tier": "intermediate"}': f'{{"tier": "unlimited"}}, "host": "{simulator.base_url}"',
    }
    page = steps()
    commands = [filled_in(step.commands, values) for step in page]
    assert all("PRIVATE-KEY" not in text for text in commands)
    assert SECRET in commands[0], "the page has other examples than this test fills in"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"echo {MARK}\n".join(commands)],
        cwd=tmp_path,
        env=project_environment
        | {
            "KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = done.stdout.split(f"{MARK}\n")
    for step, output in zip(page, outputs, strict=True):
        assert is_kept(step.promised, output), f"{step.commands}\nanswers\n{output}\nnot\n{step.promised}"
    assert stat.S_IMODE((tmp_path / "kraken.env").stat().st_mode) == 0o600
    calls = simulator.control.get("accounts/desk/statement")["calls"]
    assert set(calls) <= READING_CALLS, "a page for a key that can only read asked for more"
    assert SECRET not in done.stdout + done.stderr
