"""Do my orders do what they say? Verdicts and slippage over time, and every order that did not.

This module has no postponed annotations: FastAPI must see the real ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse, StreamingResponse

from kraken_airflow.dashboard.access import Cursor, Render, Text, may_read, open_unit
from kraken_airflow.dashboard.charts import Chart, chart
from kraken_airflow.dashboard.downloads import csv_response, json_response, plain
from kraken_airflow.dashboard.pages import decisions
from kraken_airflow.dashboard.paging import key_of, page_of, rows_of_all_pages
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.reports.order_and_session_pages_store import OrderAndSessionPagesStore
from kraken_recon.verification.rules.judge import Level

ORDERS_DAG: Final = "order_verification"
MISMATCHES_SHOWN: Final = 50
MISMATCHES_PER_READ: Final = 1_000
# What is read of the prices, so that a page of a desk with a million orders comes as fast.
PRICES_MOST: Final = 10_000
ACCOUNTS_SHOWN: Final = 20
# How long ago the page begins, in days, and how long the stretches of its first chart are.
WINDOW_SECONDS: Final = {"1": 3_600, "7": 3_600, "30": 86_400}
DAYS: Final = (("1", "24 hours"), ("7", "7 days"), ("30", "30 days"))
LEVELS: Final = (("", "any level"), *((level.value, level.value) for level in Level))
# Basis points worse than expected between two bars; what is below zero was better.
EDGES: Final = tuple(Decimal(edge) for edge in (-100, -50, -20, -10, -5, 0, 5, 10, 20, 50, 100))
BUCKETS: Final = (
    f"below {EDGES[0]}",
    *(f"{low} to {high}" for low, high in pairwise(EDGES)),
    f"{EDGES[-1]} and more",
)
COUNTS: Final = ("verified", "mismatched", "inconclusive")
MISMATCH_FIELDS: Final = (
    *("judged_at", "order_id", "account", "source", "pair", "side", "volume_executed", "kraken_txid"),
    *("message", "levels", "dag_id", "dag_run_id"),
)
SLIPPAGE_FIELDS: Final = ("account", "side", "orders", "best", "median", "worst_of_95_percent", "worst")

Days = Literal["1", "7", "30"]
LevelName = Level | Literal[""]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which orders are shown; the level and the pair are of mismatches alone."""

    account: str
    level: str
    pair: str
    days: str

    def since(self, now: datetime) -> datetime:
        """Say when the page begins."""
        return now - timedelta(days=int(self.days))

    def as_query(self) -> dict[str, object]:
        """Name what is chosen, for links."""
        return {
            "account": self.account,
            "level": self.level,
            "pair": self.pair,
            "days": "" if self.days == "7" else self.days,
        }


def filters_of(account: Text = "", level: LevelName = "", pair: Text = "", days: Days = "7") -> Filters:
    """Read the filters of a request."""
    return Filters(account.strip(), level, pair.strip().upper(), days)


Chosen = Annotated[Filters, Depends(filters_of)]


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page and its downloads."""
    decisions.add_routes(router)
    shown = [may_read(ORDERS_DAG)]

    @router.get("/orders", response_class=HTMLResponse, dependencies=shown)
    def orders(
        chosen: Chosen, wanted: decisions.Chosen, before: Cursor = "", decided_before: Cursor = ""
    ) -> str:
        """Answer: do my orders do what they say?"""
        now = datetime.now(UTC)
        with open_unit() as unit:
            found, cursor = _mismatches(unit, chosen, now, before, MISMATCHES_SHOWN)
            listed, older = decisions.decided_page(unit, wanted, now, decided_before, decisions.SHOWN)
            page = {
                **_summary(unit, chosen, now, rows_most=2 * len(BUCKETS) + ACCOUNTS_SHOWN),
                "accounts_shown": ACCOUNTS_SHOWN,
                "mismatches": found,
                "next": cursor,
                "decided": listed,
                "decided_next": older,
                "wanted": wanted,
                "filters": {**chosen.as_query(), **wanted.as_query()},
                "of_judged": chosen.as_query(),
                "of_decided": wanted.as_query(),
                "since": dict(DAYS)[chosen.days],
                "days": DAYS,
                "levels": LEVELS,
                "chosen": chosen,
            }
        return render(
            "orders.html",
            page=page,
            charts=orders_charts(page),
            before=before,
            decided_before=decided_before,
            decided=decisions,
            dag_id=ORDERS_DAG,
        )

    @router.get("/api/orders", dependencies=shown)
    def orders_data(chosen: Chosen) -> StreamingResponse:
        """Give the same with every mismatch that was chosen as JSON."""
        now = datetime.now(UTC)
        with open_unit() as unit:
            head = _summary(unit, chosen, now)
        return json_response({"filters": chosen.as_query(), **head}, "mismatches", _all(chosen, now))

    @router.get("/api/orders.csv", dependencies=shown)
    def orders_rows(chosen: Chosen) -> StreamingResponse:
        """Give every mismatch that was chosen as CSV."""
        return csv_response("mismatches.csv", _all(chosen, datetime.now(UTC)), MISMATCH_FIELDS)

    @router.get("/api/slippage", dependencies=shown)
    def slippage_data(chosen: Chosen) -> StreamingResponse:
        """Give the slippage of each account and side, in basis points, as JSON."""
        return json_response({"filters": chosen.as_query()}, "slippage", _slippage_now(chosen))

    @router.get("/api/slippage.csv", dependencies=shown)
    def slippage_rows(chosen: Chosen) -> StreamingResponse:
        """Give the same as CSV."""
        return csv_response("slippage.csv", _slippage_now(chosen), SLIPPAGE_FIELDS)

    @router.get("/api/verdicts", dependencies=shown)
    def verdicts_data(chosen: Chosen) -> StreamingResponse:
        """Give how many orders were judged in each stretch of time as JSON."""
        return json_response({"filters": chosen.as_query()}, "verdicts", _rates_now(chosen))

    @router.get("/api/verdicts.csv", dependencies=shown)
    def verdicts_rows(chosen: Chosen) -> StreamingResponse:
        """Give the same as CSV."""
        return csv_response("verdicts.csv", _rates_now(chosen), ("window_start", *COUNTS))


def orders_charts(page: Mapping[str, Any]) -> dict[str, Chart | None]:
    """Draw the verdicts over time, and how the slippage is spread."""
    rates, buckets = page["rates"], page["slippage_buckets"]
    return {
        "verdicts": chart(
            "Orders judged",
            "orders in each day" if page["chosen"].days == "30" else "orders in each hour",
            [datetime.fromisoformat(rate["window_start"]) for rate in rates],
            [(name, [rate[name] for rate in rates]) for name in COUNTS],
        ),
        "slippage": chart(
            "Slippage, worse than expected to the right",
            "orders by basis points",
            BUCKETS,
            [(side, buckets[side]) for side in ("buy", "sell")],
        ),
    }


def _summary(
    unit: UnitOfWork, chosen: Filters, now: datetime, *, rows_most: int | None = None
) -> dict[str, Any]:
    since = chosen.since(now)
    rates = _rates(unit, chosen, now)
    slippage, buckets, slippage_rows = _slippage(unit, chosen, now, rows_most=rows_most)
    totals = {name: sum(rate[name] for rate in rates) for name in COUNTS}
    judged = totals["verified"] + totals["mismatched"]
    mismatches = OrderAndSessionPagesStore(unit).count_mismatches(since, account=chosen.account or None)
    return {
        "totals": totals,
        "verified_percent": f"{100 * totals['verified'] / judged:.2f}" if judged else None,
        "rates": rates,
        "slippage": slippage,
        "slippage_rows": slippage_rows,
        "slippage_buckets": buckets,
        "mismatches_counted": mismatches,
        "refused_counted": OrderAndSessionPagesStore(unit).count_refused(
            since, account=chosen.account or None
        ),
        "level": "bad" if mismatches or totals["mismatched"] else "good" if judged else "watch",
    }


def _rates(unit: UnitOfWork, chosen: Filters, now: datetime) -> list[dict[str, Any]]:
    rows = OrderAndSessionPagesStore(unit).rates_over_time(
        chosen.since(now), window_seconds=WINDOW_SECONDS[chosen.days], account=chosen.account or None
    )
    return [
        {
            "window_start": row["window_start"].isoformat(),
            **{name: int(row[name]) for name in COUNTS},
        }
        for row in rows
    ]


def _rates_now(chosen: Filters) -> list[dict[str, Any]]:
    with open_unit() as unit:
        return _rates(unit, chosen, datetime.now(UTC))


def _slippage(
    unit: UnitOfWork, chosen: Filters, now: datetime, *, rows_most: int | None = None
) -> tuple[list[dict[str, Any]], dict[str, list[int]], int]:
    """Read slippage by account and side, the worst first, by side and bucket, and count its rows."""
    rows = OrderAndSessionPagesStore(unit).slippages(
        chosen.since(now),
        edges=EDGES,
        account=chosen.account or None,
        most=PRICES_MOST,
        rows_most=rows_most,
    )
    buckets = {side: [0] * len(BUCKETS) for side in ("buy", "sell")}
    for row in rows:
        if row["bucket"] is not None:
            buckets[row["side"]][row["bucket"]] = row["orders"]
    of_accounts = [
        plain({name: row[name] for name in SLIPPAGE_FIELDS}) for row in rows if row["account"] is not None
    ]
    return of_accounts, buckets, rows[0]["sides_of_accounts"] if rows else 0


def _slippage_now(chosen: Filters) -> list[dict[str, Any]]:
    with open_unit() as unit:
        return _slippage(unit, chosen, datetime.now(UTC))[0]


def _mismatches(
    unit: UnitOfWork, chosen: Filters, now: datetime, before: str, most: int
) -> tuple[list[dict[str, Any]], str | None]:
    rows = OrderAndSessionPagesStore(unit).mismatches(
        chosen.since(now),
        account=chosen.account or None,
        level=chosen.level or None,
        pair=chosen.pair or None,
        before=key_of(before, datetime, int),
        most=most + 1,
    )
    found, cursor = page_of(rows, most, lambda row: (row["judged_at"], row["order_id"]))
    return [plain({**row, **judge_of(row["judged_by"])}) for row in found], cursor


def _all(chosen: Filters, now: datetime) -> Iterator[Mapping[str, Any]]:
    def read(cursor: str | None) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        with open_unit() as unit:
            return _mismatches(unit, chosen, now, cursor or "", MISMATCHES_PER_READ)

    return rows_of_all_pages(read)


def judge_of(token: str | None) -> dict[str, str | None]:
    """Name the Airflow run that judged an order by the token under which it was claimed.

    A task's token is its DAG, run, task and try; the command line's has two parts.
    """
    dag_id, *run = (token or "").split("|")
    if len(run) < 3:  # noqa: PLR2004 - run, task and try
        return {"dag_id": None, "dag_run_id": None, "trigger": "command line" if token else None}
    return {"dag_id": dag_id, "dag_run_id": "|".join(run[:-2]), "trigger": dag_id}
