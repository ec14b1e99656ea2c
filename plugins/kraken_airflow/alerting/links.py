"""Where an alert is seen, proved, answered and explained: absolute addresses for messages to people.

Invariants:
1. An address holds names and numbers only: no amount, no text of a message, no secret, no login of a person.
2. Where Airflow does not know its own address (``[api] base_url``) there is none; a message then names the
   command and the runbook's file.
3. Following an address changes nothing: an alert is acknowledged by the form that it leads to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from kraken_airflow.dag_parts.links import DASHBOARD, base_url, runbook_address
from kraken_recon.alerts.kinds import AlertKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kraken_recon.alerts.rules import Standing

RUNBOOK: Final = "alerts"


def links_of(standing: Standing | None) -> dict[str, str]:
    """Say where one alert, or with None all of them, are seen and answered."""
    base = public_address(base_url())
    if standing is None:
        return {"page": f"{base}{DASHBOARD}wants#alerts"} if base else {}
    links: dict[str, str] = {}
    if base:
        page, evidence = PLACES.get(standing.kind, _books)(standing)
        links = {"page": base + page, "evidence": base + evidence}
        if standing.status != "resolved":
            links["acknowledge"] = f"{base}{_dashboard('wants', alert=standing.alert_id)}#alerts"
    runbook = public_address(runbook_address(RUNBOOK))
    return {**links, "runbook": f"{runbook}#{standing.kind}"} if runbook else links


def public_address(address: str) -> str:
    """Return an address without the login that it may hold; empty unless a browser can open it."""
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return ""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")


def _dashboard(page: str, **parameters: object) -> str:
    given = {name: value for name, value in parameters.items() if value not in (None, "")}
    return f"{DASHBOARD}{page}" + (f"?{urlencode(given)}" if given else "")


def _account(standing: Standing) -> str:
    return _dashboard("account", name=standing.account) if standing.account else _dashboard("")


def _found(standing: Standing) -> str:
    run = standing.evidence.get("run_id")
    return _dashboard("differences", account=standing.account, run=run) if run else _account(standing)


def _books(standing: Standing) -> tuple[str, str]:
    return _account(standing), _found(standing)


def _desk_difference(standing: Standing) -> tuple[str, str]:
    book, run = standing.evidence.get("book"), standing.evidence.get("run_id")
    return _account(standing), _dashboard("differences", account=standing.account, run=run, book=book)


def _desk_problem(standing: Standing) -> tuple[str, str]:
    return _dashboard("wants"), _dashboard("differences", book=standing.evidence.get("book"))


def _entries(standing: Standing) -> tuple[str, str]:
    asset, account = standing.asset, _account(standing)
    return account, _dashboard("statement", account=standing.account, asset=asset) if asset else account


def _decision(standing: Standing) -> tuple[str, str]:
    return _dashboard("wants"), _found(standing)


def _order(standing: Standing) -> tuple[str, str]:
    orders = _dashboard("orders", account=standing.account)
    number = standing.evidence.get("order_id")
    return orders, _dashboard("order", id=number) if number else orders


def _run(standing: Standing) -> tuple[str, str]:
    dag = f"/dags/{quote(standing.asset or '', safe='')}"
    run = standing.evidence.get("dag_run_id") or standing.evidence.get("run_id")
    return dag, f"{dag}/runs/{quote(str(run), safe='')}" if run else dag


def _watch(_: Standing) -> tuple[str, str]:
    return _dashboard("wants"), "/dags/session_leak_audit"


def _sessions(_: Standing) -> tuple[str, str]:
    return _dashboard("database"), _dashboard("database")


# Below Airflow's address: the page to work on, and the page that shows what was found.
PLACES: Final[Mapping[str, Callable[[Standing], tuple[str, str]]]] = {
    AlertKind.SYNC_FAILURE: _books,
    AlertKind.STALE_POSITIONS: _books,
    AlertKind.UNEXPLAINED_DISCREPANCY: _books,
    AlertKind.DATABASE_DRIFT: _books,
    AlertKind.MARGIN_DISCREPANCY: _books,
    AlertKind.LEDGER_INCOMPLETE: _books,
    AlertKind.UNKNOWN_ENTRY_KIND: _entries,
    AlertKind.CONVERSION_UNPAIRED: _entries,
    AlertKind.HELD_REPAIR: _decision,
    AlertKind.REPAIR_NOT_CONVERGING: _decision,
    AlertKind.ORDER_REFUSED: _order,
    AlertKind.ORDER_UNKNOWN: _order,
    AlertKind.ORDER_NOT_PLACED: _order,
    AlertKind.ORDER_FOUND_LATE: _order,
    AlertKind.ORDER_EXECUTION_FAILURE: _order,
    AlertKind.VERIFICATION_FAILURE: _order,
    AlertKind.VERIFICATION_INCONCLUSIVE: _order,
    AlertKind.VERIFICATION_RATE: _order,
    AlertKind.COVERAGE_AT_RISK: _run,
    AlertKind.DEADLINE_MISSED: _run,
    AlertKind.RUN_FAILURE: _run,
    AlertKind.WORK_OVERDUE: _run,
    AlertKind.WATCH_SILENT: _watch,
    AlertKind.DESK_DIFFERENCE: _desk_difference,
    AlertKind.DESK_BOOK_UNREADABLE: _desk_problem,
    AlertKind.DESK_ORDER_UNMATCHED: _order,
    AlertKind.SESSION_LEAK: _sessions,
    AlertKind.POOL_PRESSURE: _sessions,
}
