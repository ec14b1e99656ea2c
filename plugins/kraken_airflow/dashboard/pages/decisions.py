"""Every decision and order, newest first: what came of it, and why not.

This module has no postponed annotations: FastAPI must see the real ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import JSONResponse, StreamingResponse

from kraken_airflow.dashboard.access import Text, may_read, open_unit
from kraken_airflow.dashboard.downloads import csv_response, json_response, plain
from kraken_airflow.dashboard.paging import key_of, page_of, rows_of_all_pages
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.orders.rules.order import OrderStatus, Source
from kraken_recon.reports.order_and_session_pages_store import OrderAndSessionPagesStore

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
FIELDS: Final = (
    *("at", "decision_id", "decision_key", "received_via", "order_id", "account", "source", "pair", "side"),
    *("order_type", "volume", "limit_price", "state", "verdict", "reason"),
)
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
class Wanted:
    """Which decisions and orders are listed."""

    account: str
    days: str
    state: str
    source: str
    verdict: str

    def as_query(self) -> dict[str, object]:
        """Name what is chosen, for links."""
        return {**asdict(self), "days": "" if self.days == DAYS_PRESET else self.days}


def wanted_of(
    account: Text = "",
    days: Days = DAYS_PRESET,
    state: StateName = "",
    source: SourceName = "",
    verdict: VerdictName = "",
) -> Wanted:
    """Read the filters of a request."""
    return Wanted(account.strip(), days, state, source, verdict)


Chosen = Annotated[Wanted, Depends(wanted_of)]


def add_routes(router: APIRouter) -> None:
    """Add the downloads, and the answer for whoever asks by key."""
    shown = [may_read(EXECUTION_DAG)]

    @router.get("/api/decisions", dependencies=shown)
    def decisions_data(chosen: Chosen) -> StreamingResponse:
        """Give every decision and order that was chosen as JSON."""
        return json_response({"filters": chosen.as_query()}, "decisions", _all(chosen))

    @router.get("/api/decisions.csv", dependencies=shown)
    def decisions_rows(chosen: Chosen) -> StreamingResponse:
        """Give the same as CSV."""
        return csv_response("decisions.csv", _all(chosen), FIELDS)

    @router.get("/api/decision", dependencies=shown)
    def decision_data(key: Key) -> JSONResponse:
        """Say what came of the decision that a key stands for; 404 where none arrived yet."""
        with open_unit() as unit:
            found = OrderAndSessionPagesStore(unit).decision_of_key(key.strip())
        if found is None:
            raise HTTPException(404, "no decision came under this key yet; giving it again does no harm")
        return JSONResponse(plain(found))


def decided_page(
    unit: UnitOfWork, chosen: Wanted, now: datetime, cursor: str, most: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Read one page of decisions and orders, and the key of the next."""
    rows = OrderAndSessionPagesStore(unit).decided(
        now - timedelta(days=int(chosen.days)),
        account=chosen.account or None,
        state=chosen.state or None,
        source=chosen.source or None,
        verdict=chosen.verdict or None,
        before=key_of(cursor, datetime, int),
        most=most + 1,
    )
    found, following = page_of(rows, most, lambda row: (row["at"], row["place"]))
    return [plain(row) for row in found], following


def _all(chosen: Wanted) -> Iterator[Mapping[str, Any]]:
    now = datetime.now(UTC)

    def read(cursor: str | None) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        with open_unit() as unit:
            return decided_page(unit, chosen, now, cursor or "", PER_READ)

    return rows_of_all_pages(read)
