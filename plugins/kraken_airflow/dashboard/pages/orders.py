"""Do my orders do what they say? Verdicts and slippage over time, and every order that did not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse
from pydantic import AfterValidator

from kraken_airflow.dashboard.access import Choice, Cursor, Render, Word, may_read, open_unit
from kraken_airflow.dashboard.charts import Chart, chart
from kraken_airflow.dashboard.downloads import add_downloads, every_row, filters_of
from kraken_airflow.dashboard.pages import Link, airflow_run, decisions
from kraken_airflow.dashboard.paging import read_page
from kraken_airflow.dashboard.tables import AMOUNT, JSON_ONLY, Column
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.desk_books.own_orders.store import OwnOrderStore
from kraken_recon.reports.page_store import PageStore
from kraken_recon.verification.rules.levels import Level

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
LINK: Final = Link(4, "orders", "Do my orders do what they say?")
KEY: Final = {"judged_at": datetime, "order_id": int}

Days = Literal["1", "7", "30"]
LevelName = Level | Literal[""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """An order that did not do what it says, and the levels that failed."""

    judged_at: Annotated[datetime, Column("Judged", "age wide")]
    order_id: Annotated[int, Column("Order")]
    account: Annotated[str, Column("Account")]
    source: Annotated[str, Column("By")]
    pair: str
    side: Annotated[str, Column("What", "amount")]
    volume_executed: Decimal | None
    kraken_txid: str | None
    message: str | None
    levels: Annotated[
        list[dict[str, Any]] | None,
        Column("What differs, level by level", "remark wide", label="What differs"),
    ]
    dag_id: str | None
    dag_run_id: str | None
    judged_by: Annotated[str | None, JSON_ONLY]
    trigger: Annotated[str | None, JSON_ONLY]


@dataclass(frozen=True, slots=True)
class DeskOrderFound:
    """An order of a desk's own table that is not at Kraken what the desk says."""

    changed_at: Annotated[datetime, Column("Changed", "age wide")]
    account: Annotated[str, Column("Account")]
    book: Annotated[str, Column("Desk book")]
    desk_order_id: Annotated[str, Column("Order of the desk's")]
    order_id: int | None
    problem: Annotated[str, Column("Problem")]
    detail: Annotated[str, Column("In words", "remark wide")]


@dataclass(frozen=True, slots=True)
class Slippage:
    """By how many basis points orders of an account and side were worse than expected."""

    account: Annotated[str, Column("Account")]
    side: Annotated[str, Column("Side")]
    orders: Annotated[int, Column("Orders", "number")]
    best: Annotated[Decimal, Column("Best", AMOUNT)]
    median: Annotated[Decimal, Column("Median", AMOUNT)]
    worst_of_95_percent: Annotated[Decimal, Column("Worst of 95 %", AMOUNT)]
    worst: Annotated[Decimal, Column("Worst", AMOUNT)]


@dataclass(frozen=True, slots=True)
class Rate:
    """How many orders were judged in a stretch of time."""

    window_start: datetime
    verified: int
    mismatched: int
    inconclusive: int


@dataclass(frozen=True, slots=True)
class Filters(Choice):
    """Which orders are shown; the level and the pair are of mismatches alone."""

    account: Word = ""
    level: LevelName = ""
    pair: Annotated[Word, AfterValidator(str.upper)] = ""
    days: Days = "7"

    def since(self, now: datetime) -> datetime:
        """Say when the page begins."""
        return now - timedelta(days=int(self.days))


Chosen = Annotated[Filters, Depends()]


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page and its downloads."""
    shown = [may_read(ORDERS_DAG)]

    @router.get("/orders", response_class=HTMLResponse, dependencies=shown)
    def orders(
        chosen: Chosen, wanted: decisions.Chosen, before: Cursor = "", decided_before: Cursor = ""
    ) -> str:
        """Answer: do my orders do what they say?"""
        now = datetime.now(UTC)
        with open_unit() as unit:
            page = _page(unit, chosen, wanted, now, before)
            listed, older = decisions.decided_page(unit, wanted, now, decided_before, decisions.SHOWN)
        return render(
            "orders.html",
            page={**page, "decided": listed, "decided_next": older},
            charts=orders_charts(page),
            before=before,
            decided_before=decided_before,
            decided=decisions,
            dag_id=ORDERS_DAG,
        )

    add_downloads(router, "orders", _all, Mismatch, head=_head, name="mismatches", dependencies=shown)
    add_downloads(
        router, "desk_orders", _desk_orders_now, DeskOrderFound, head=filters_of(Filters), dependencies=shown
    )
    add_downloads(router, "slippage", _slippage_now, Slippage, head=filters_of(Filters), dependencies=shown)
    add_downloads(router, "verdicts", _rates_now, Rate, head=filters_of(Filters), dependencies=shown)


def _page(
    unit: UnitOfWork, chosen: Filters, wanted: decisions.Wanted, now: datetime, before: str
) -> dict[str, Any]:
    mismatches, cursor = _mismatches(unit, chosen, now, before, MISMATCHES_SHOWN)
    return {
        **_summary(unit, chosen, now, rows_most=2 * len(BUCKETS) + ACCOUNTS_SHOWN),
        "accounts_shown": ACCOUNTS_SHOWN,
        "mismatches": mismatches,
        "desk_orders": _desk_orders(unit, chosen, MISMATCHES_SHOWN),
        "next": cursor,
        "wanted": wanted,
        "filters": {**chosen.as_query(), **wanted.as_query()},
        "of_judged": chosen.as_query(),
        "of_decided": wanted.as_query(),
        "since": dict(DAYS)[chosen.days],
        "days": DAYS,
        "levels": LEVELS,
        "chosen": chosen,
    }


def orders_charts(page: Mapping[str, Any]) -> dict[str, Chart | None]:
    """Draw the verdicts over time, and how the slippage is spread."""
    rates, buckets = page["rates"], page["slippage_buckets"]
    return {
        "verdicts": chart(
            "Orders judged",
            "orders in each day" if page["chosen"].days == "30" else "orders in each hour",
            [rate.window_start for rate in rates],
            [(name, [getattr(rate, name) for rate in rates]) for name in COUNTS],
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
    judged_since = {"since": chosen.since(now), "account": chosen.account}
    rates = _rates(unit, chosen, now)
    slippage, buckets, slippage_rows = _slippage(unit, chosen, now, rows_most=rows_most)
    totals = {name: sum(getattr(rate, name) for rate in rates) for name in COUNTS}
    judged = totals["verified"] + totals["mismatched"]
    mismatches = PageStore(unit).count("orders.count_mismatches", **judged_since)
    return {
        "totals": totals,
        "verified_percent": f"{100 * totals['verified'] / judged:.2f}" if judged else None,
        "rates": rates,
        "slippage": slippage,
        "slippage_rows": slippage_rows,
        "slippage_buckets": buckets,
        "mismatches_counted": mismatches,
        "refused_counted": PageStore(unit).count("orders.count_refused", **judged_since),
        "level": "bad"
        if mismatches or totals["mismatched"] or _desk_orders(unit, chosen, 1)
        else "good"
        if judged
        else "watch",
    }


def _rates(unit: UnitOfWork, chosen: Filters, now: datetime) -> list[Rate]:
    """Count the verdicts of all accounts or of one in each window of one length, oldest first."""
    return PageStore(unit).rows(
        "orders.rates_over_time",
        lambda window_start, **counts: Rate(window_start, *(int(counts[name]) for name in COUNTS)),
        since=chosen.since(now),
        window_seconds=WINDOW_SECONDS[chosen.days],
        account=chosen.account,
    )


def _slippage(
    unit: UnitOfWork, chosen: Filters, now: datetime, *, rows_most: int | None = None
) -> tuple[list[Slippage], dict[str, list[int]], int]:
    """Read by how many basis points the newest prices were worse than expected.

    By account and side, the worst first; by side and bucket; and how many rows there are of the former. The
    latter are never cut off by ``rows_most``, if it leaves room for two for each bucket.
    """
    rows: list[dict[str, Any]] = PageStore(unit).rows(
        "orders.slippages",
        dict,
        since=chosen.since(now),
        edges=list(EDGES),
        account=chosen.account,
        most=PRICES_MOST,
        rows_most=rows_most,
    )
    buckets = {side: [0] * len(BUCKETS) for side in ("buy", "sell")}
    for row in rows:
        if row["bucket"] is not None:
            buckets[row["side"]][row["bucket"]] = row["orders"]
    of_accounts = [
        Slippage(**{field.name: row[field.name] for field in fields(Slippage)})
        for row in rows
        if row["account"] is not None
    ]
    return of_accounts, buckets, rows[0]["sides_of_accounts"] if rows else 0


def _mismatches(
    unit: UnitOfWork, chosen: Filters, now: datetime, before: str, most: int
) -> tuple[list[Mismatch], str | None]:
    return read_page(
        unit,
        "orders.mismatches",
        _mismatch,
        key=KEY,
        cursor=before,
        most=most,
        since=chosen.since(now),
        account=chosen.account,
        level=chosen.level,
        pair=chosen.pair,
    )


def _mismatch(**row: Any) -> Mismatch:  # noqa: ANN401 - columns
    return Mismatch(**row | judge_of(row["judged_by"]))


def _desk_orders(unit: UnitOfWork, chosen: Filters, most: int) -> list[DeskOrderFound]:
    """Read the orders of desks that are not at Kraken what the desk says, newest first."""
    found = OwnOrderStore(unit).problems(None, chosen.account or None, most=most)
    return [
        DeskOrderFound(
            one.changed_at,
            one.account,
            one.book,
            one.desk_order_id,
            one.order_id,
            one.problem.problem,
            one.problem.detail,
        )
        for one in found
    ]


def _desk_orders_now(chosen: Chosen) -> list[DeskOrderFound]:
    with open_unit() as unit:
        return _desk_orders(unit, chosen, MISMATCHES_PER_READ)


def _all(chosen: Chosen) -> Iterator[Mismatch]:
    now = datetime.now(UTC)
    return every_row(lambda unit, cursor: _mismatches(unit, chosen, now, cursor, MISMATCHES_PER_READ))


def _slippage_now(chosen: Chosen) -> list[Slippage]:
    with open_unit() as unit:
        return _slippage(unit, chosen, datetime.now(UTC))[0]


def _rates_now(chosen: Chosen) -> list[Rate]:
    with open_unit() as unit:
        return _rates(unit, chosen, datetime.now(UTC))


def _head(chosen: Chosen) -> dict[str, object]:
    with open_unit() as unit:
        return {"filters": chosen.as_query(), **_summary(unit, chosen, datetime.now(UTC))}


def judge_of(token: str | None) -> dict[str, str | None]:
    """Name the Airflow run that judged an order by the token under which it was claimed.

    A task's token is its DAG, run, task and try; the command line's has two parts.
    """
    dag_id, *run = (token or "").split("|")
    return airflow_run(token, dag_id, "|".join(run[:-2]))
