"""Every decision and order, newest first: what came of it, and why not."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, HTTPException, Query

from kraken_airflow.dashboard.access import Choice, Render, Word, may_read, open_unit
from kraken_airflow.dashboard.downloads import AsciiJSONResponse, add_downloads, every_row, filters_of, plain
from kraken_airflow.dashboard.paging import read_page
from kraken_airflow.dashboard.tables import JSON_ONLY, Column
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.orders.rules.order import OrderStatus, Source
from kraken_recon.reports.page_store import PageStore

EXECUTION_DAG: Final = "order_execution"
SHOWN: Final = 50
PER_READ: Final = 1_000
# A decision that nobody has judged, and one that came before; every other state is an order's.
_DECISION_STATES: Final = ("new", "repeated")
STATES: Final = (
    ("", "any state"),
    *((state, state.replace("_", " ")) for state in (*_DECISION_STATES, *OrderStatus)),
)
SOURCES: Final = (("", "anybody"), *((source.value, source.value) for source in Source))
VERDICTS: Final = (
    ("", "any verdict"),
    *((verdict, verdict) for verdict in ("verified", "mismatch", "inconclusive")),
    ("none", "not judged"),
)
KEY: Final = {"at": datetime, "place": int}
MARKS: Final = {
    **dict.fromkeys(("refused", "rejected", "not_placed", "mismatch"), "bad"),
    **dict.fromkeys(("unknown", "submitting", "new", "inconclusive"), "watch"),
    **dict.fromkeys(("closed", "verified"), "good"),
}

Days = Literal["1", "7", "30"]
DAYS_PRESET: Final = "7"
StateName = OrderStatus | Literal["", "new", "repeated"]
SourceName = Source | Literal[""]
VerdictName = Literal["", "verified", "mismatch", "inconclusive", "none"]
Key = Annotated[str, Query(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, the order it became if it did, and what came of it."""

    at: Annotated[datetime, Column("Decided", "age")]
    decision_id: int | None
    decision_key: str | None
    received_via: str
    order_id: Annotated[int | None, Column("Order")]
    account: Annotated[str | None, Column("Account")]
    source: Annotated[str, Column("By", "wide")]
    pair: str | None
    side: Annotated[str | None, Column("What", "amount wide")]
    order_type: str | None
    volume: str | None
    limit_price: str | None
    state: Annotated[str, Column("State")]
    verdict: Annotated[str | None, Column("Verdict")]
    reason: Annotated[str | None, Column("Reason", "remark wide")]
    place: Annotated[int, JSON_ONLY]


@dataclass(frozen=True, slots=True)
class Wanted(Choice):
    """Which decisions and orders are listed."""

    account: Word = ""
    days: Days = DAYS_PRESET
    state: StateName = ""
    source: SourceName = ""
    verdict: VerdictName = ""


Chosen = Annotated[Wanted, Depends()]


def add_routes(router: APIRouter, _render: Render) -> None:
    """Add the downloads, and the answer for whoever asks by key; the list stands on the page of orders."""
    shown = [may_read(EXECUTION_DAG)]
    add_downloads(router, "decisions", _all, Decided, head=filters_of(Wanted), dependencies=shown)

    @router.get("/api/decision", dependencies=shown)
    def decision_data(key: Key) -> AsciiJSONResponse:
        """Say what came of the decision that a key stands for; 404 where none arrived yet."""
        with open_unit() as unit:
            found = PageStore(unit).rows("decisions.decision_of_key", dict[str, Any], key=key.strip())
        if not found:
            raise HTTPException(404, "no decision came under this key yet; giving it again does no harm")
        return AsciiJSONResponse(plain(found[0]))


def decided_page(
    unit: UnitOfWork, chosen: Wanted, now: datetime, cursor: str, most: int
) -> tuple[list[Decided], str | None]:
    """Read one page of decisions and orders, and the key of the next."""
    return read_page(
        unit,
        "decisions.decided",
        Decided,
        key=KEY,
        cursor=cursor,
        most=most,
        since=now - timedelta(days=int(chosen.days)),
        account=chosen.account,
        state=chosen.state,
        source=chosen.source,
        verdict=chosen.verdict,
    )


def _all(chosen: Chosen) -> Iterator[Decided]:
    now = datetime.now(UTC)
    return every_row(lambda unit, cursor: decided_page(unit, chosen, now, cursor, PER_READ))
