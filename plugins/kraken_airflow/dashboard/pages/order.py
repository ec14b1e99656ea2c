"""One order from the decision to the ledger: its story, its verdict level by level, and what it moved."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from kraken_airflow.dashboard.access import Render, may_read, open_unit
from kraken_airflow.dashboard.downloads import AsciiJSONResponse
from kraken_airflow.dashboard.pages.orders import ORDERS_DAG, judge_of
from kraken_airflow.dashboard.paging import BIGINT_MAX
from kraken_recon.orders.store import OrderStore
from kraken_recon.orders.view import trace
from kraken_recon.verification.store import VerificationStore
from kraken_recon.verification.view import verification_view

LEVEL_OF_VERDICT: Final = {"passed": "good", "verified": "good", "mismatch": "bad", "warning": "watch"}

OrderId = Annotated[int, Query(alias="id", gt=0, le=BIGINT_MAX)]


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page and its JSON."""
    shown = [may_read(ORDERS_DAG)]

    @router.get("/order", response_class=HTMLResponse, dependencies=shown)
    def order(order_id: OrderId) -> str:
        """Show one order's whole trace."""
        page = _page(order_id)
        [claimed] = page["verifications"] or [{}]
        return render(
            "order.html",
            page=page,
            judge=judge_of(claimed.get("judged_by")),
            marks=LEVEL_OF_VERDICT,
            dag_id=ORDERS_DAG,
        )

    @router.get("/api/order", dependencies=shown)
    def order_data(order_id: OrderId) -> AsciiJSONResponse:
        """Give the same as JSON."""
        return AsciiJSONResponse(_page(order_id))


def _page(order_id: int) -> dict[str, Any]:
    with open_unit() as unit:
        told = trace(OrderStore(unit), order_id)
        return {**told, "verification": verification_view(VerificationStore(unit), order_id)}
