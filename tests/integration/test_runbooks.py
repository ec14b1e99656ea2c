"""The SQL that runbooks and how-to pages tell a tired person to paste."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

BLOCK = re.compile(r"```sql\n(.*?)```", re.DOTALL)
RUNBOOKS = sorted(
    path
    for folder in ("runbooks", "how-to")
    for path in (Path(__file__).resolve().parents[2] / "docs" / folder).glob("*.md")
    if BLOCK.search(path.read_text())
)


def statements(runbook: Path, database: str) -> list[str]:
    """Cut the SQL blocks into statements: a run's id for the dots, and our database for theirs."""
    text = "\n".join(BLOCK.findall(runbook.read_text()))
    text = re.sub(r"\bon database (trading|airflow)\b", f"on database {database}", text)
    return [
        statement.replace("'...'", "'00000000-0000-0000-0000-000000000000'").strip()
        for statement in text.split(";")
        if statement.strip()
    ]


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.stem)
def test_the_sql_of_a_runbook_runs(runbook: Path, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        # The desk's role. It is gone in the end, as are those that a page makes: other databases share them.
        connection.execute("create role trading_app")
        for statement in statements(runbook, connection.info.dbname):
            connection.execute(statement.encode())
        connection.execute("set constraints all immediate")
        connection.rollback()
