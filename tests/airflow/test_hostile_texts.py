"""Texts of others stay texts: in every answer of the pages, every download, every command's lines, and logs.

Every text that the trading database holds and that no constraint bounds is made hostile, in every table at
once, so that no place can be forgotten.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import psycopg
import pytest
from fastapi.testclient import TestClient

from desks.logins import as_writer
from desks.page_routes import EXAMPLES, every_route, required
from desks.released_schema import Release
from kraken_airflow.dashboard.downloads import FORMULA_STARTS, NUMBER
from kraken_airflow.operators.maintenance import TidyOperator
from kraken_recon.cli.log_lines import LineFormatter
from kraken_recon.cli.main import main
from local_stack.databases import postgres_connection

if TYPE_CHECKING:
    from collections.abc import Callable

# A formula, a script, a template, a terminal's title and colour, a turned direction, a forged line.
HOSTILE = (
    "=HYPERLINK(\"http://evil.example\",1)<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"
    "{{ 7 * 7 }}\x1b]0;owned\x07\x1b[31m\x9b1m\u202e\r\nFORGED all is well\n"
)
UNBOUND = """
select c.relname, a.attname, format_type(a.atttypid, null)
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
where c.relnamespace = 'trading'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
  and c.relname not in ('alembic_version', 'seals', 'seals_due', 'api_keys')
  and a.atttypid in ('text'::regtype, 'text[]'::regtype, 'jsonb'::regtype)
  and not exists (
    select from pg_constraint k where k.conrelid = c.oid and k.contype = 'c' and a.attnum = any(k.conkey)
      and pg_get_constraintdef(k.oid) ~ 'ARRAY|any'
  )
"""
# Words of Kraken's that decide what is shown; what they may be is checked where they come in.
WORDS = {"quote_currency", "incarnation", "pair", "side", "level", "failed_levels", "source", "wallet"}
CHANGED = {
    "text": "%s || {0}",
    "text[]": "array(select %s || e from unnest({0}) as e)",
    "jsonb": "{0} || case jsonb_typeof({0}) when 'object' then jsonb_build_object('n', %s::text)"
    " else '[]' end",
}
READS = (
    ["report"], ["account", "list"], ["alerts"], ["plan", "list"], ["book", "list"],
    ["verifications", "--account", "{account}"],
    ["explain", "--account", "{account}", "--asset", "{asset}"], ["cost", "--account", "{account}"],
    ["trace", "--order", "1"], ["trace", "--order", "2"], ["doctor"], ["seals", "verify"],
)  # fmt: skip


@pytest.fixture(scope="module")
def hostile_url(new_database: Any) -> Any:
    """A desk that was worked on, whose every text was made hostile by whoever could."""
    with new_database() as url:
        with psycopg.connect(url) as connection:
            connection.execute(Release.last().rows.encode())
            connection.execute("set session_replication_role = replica")
            changed = 0
            for table, column, kind in connection.execute(UNBOUND).fetchall():
                if column in WORDS:
                    continue
                change = CHANGED[kind].format(f'"{column}"')
                update = f'update trading."{table}" set "{column}" = {change} where "{column}" is not null'
                done = connection.execute(update.encode(), [HOSTILE])
                changed += done.rowcount > 0
            assert changed > 30
        yield url


@pytest.fixture
def account(hostile_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB", postgres_connection(as_writer(hostile_url)))
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(hostile_url))
    return f"{HOSTILE}desk"


class Markup(HTMLParser):
    """What a browser would make of a page: elements and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_no_answer_of_the_pages_obeys_a_text(
    account: str, api_app: Any, token_of: Callable[[str | None], str]
) -> None:
    viewer = TestClient(api_app, headers={"Authorization": f"Bearer {token_of('USER')}"})
    examples = EXAMPLES | {
        "name": account,
        "account": account,
        "asset": f"{HOSTILE}BTC",
        "key": f"{HOSTILE}first",
    }
    shown = 0
    for path, route in every_route().items():
        asked = urlencode({name: examples[name] for name in required(route)})
        reply = viewer.get(f"/kraken-recon{path}" + (f"?{asked}" if asked else ""))
        assert reply.status_code in {200, 404}, (path, reply.text[:2_000])
        shown += "FORGED" in reply.text
        if reply.headers["content-type"].startswith("text/csv"):
            for row in csv.reader(io.StringIO(reply.text)):
                for cell in row:
                    is_formula = cell.lstrip(" ").startswith(FORMULA_STARTS) and not NUMBER.fullmatch(cell)
                    assert not is_formula, (path, cell)
        elif reply.headers["content-type"].startswith("application/json"):
            reply.json()
        else:
            markup = Markup(reply.text).found
            assert not {tag for tag, _ in markup} & {"img", "iframe", "object", "base"}, path
            attributes = [(name, value or "") for _, told in markup for name, value in told.items()]
            assert not [name for name, _ in attributes if name.startswith("on")], path
            led = [value for name, value in attributes if name in {"href", "src", "action"}]
            schemes = [to for to in led if re.match(r"\s*(?!https:)[a-z][a-z0-9+.-]*:", to, re.IGNORECASE)]
            assert schemes == [], path
            assert "<script>alert" not in reply.text, path
        assert not re.search("[\x1b\x07\x9b\u202e]", reply.text), path
    assert shown > 20


def test_no_line_of_a_command_moves_the_cursor_or_is_forged(
    account: str, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = 0
    for words in READS:
        given = [word.format(account=account, asset=f"{HOSTILE}BTC") for word in words]
        main(given)
        printed = capfd.readouterr()
        for text in (printed.out, printed.err):
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text), (words, text)
            assert not re.search("^FORGED", text, re.MULTILINE), (words, text)
        shown += "FORGED" in printed.out
        main([*given, "--json"])
        json.loads(capfd.readouterr().out or "{}")
    assert shown > 5


def test_no_line_of_a_log_is_forged(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(TidyOperator, "log", SimpleNamespace(info=lambda _, line: told.append(line)))
    TidyOperator(task_id="tidy").tell([f"{HOSTILE}desk agrees"])
    assert "FORGED" in told[0]
    assert all(line.isprintable() for line in told)
    failure = (ValueError, ValueError(HOSTILE), None)
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "%s", (HOSTILE,), failure)
    written = LineFormatter("%(levelname)s %(message)s").format(record)
    assert not re.search("[\x1b\x07\x9b\u202e\r]", written)
    assert written.splitlines()[0].startswith("ERROR =HYPERLINK")
    assert r"\nFORGED all is well" in written.splitlines()[0]
