"""The orders page of a desk with more accounts than it shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fastapi.testclient import TestClient

from desks.order_rows import add_account, add_orders
from kraken_airflow.dashboard.pages.orders import ACCOUNTS_SHOWN

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_worst_accounts_are_shown_and_all_are_counted(
    api_app: Any, token_of: Callable[[str | None], str], trading_db: str
) -> None:
    names = [f"desk-{number:02}" for number in range(ACCOUNTS_SHOWN + 30)]
    for number, name in enumerate(names):
        add_account(trading_db, name)
        add_orders(trading_db, name, [str(5 * number)])
    client = TestClient(api_app, base_url="https://airflow.test")
    client.headers["Authorization"] = f"Bearer {token_of('VIEWER')}"
    page = client.get("/kraken-recon/orders").text
    table = page.partition("Worst of 95 %")[2].partition("</table>")[0]
    assert re.findall(r">(desk-\d\d)</a>", table) == names[: -ACCOUNTS_SHOWN - 1 : -1]
    assert f"The worst {ACCOUNTS_SHOWN} of {len(names)}." in page
    whole = client.get("/kraken-recon/api/orders").json()
    assert len(whole["slippage"]) == whole["slippage_rows"] == len(names)
    assert sum(whole["slippage_buckets"]["buy"]) == len(names)
