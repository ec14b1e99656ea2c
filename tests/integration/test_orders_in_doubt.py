"""Orders whose answer was lost, while some of Kraken's books are late, partial or contradict each other."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from desks.orders import TradingDesk
from kraken_recon.errors import ConfigurationError, PayloadInvalidError, RequestRefusedError
from kraken_recon.kraken.trading_client import TradingClient
from kraken_recon.orders.settling import Settlement, settle_order

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    from conftest import Simulator
    from kraken_recon.orders.rules.reports import ReportedOrder

RESTING = {"type": "limit", "limit_price": "40000", "volume": "0.5"}


@pytest.fixture
def desk(simulator: Simulator, database_url: str) -> Iterator[TradingDesk]:
    desk = TradingDesk(simulator, database_url)
    desk.account()
    desk.prices(XBTUSD="50000")
    desk.sync()
    yield desk
    desk.close()


def lose_the_answer(
    desk: TradingDesk, *, late: tuple[str, ...] = (), seconds: str = "170", **decided: Any
) -> None:
    """Place an order whose answer is lost while some views of Kraken's are late."""
    desk.fault("accept_then_fail", appearance="504", count=1)
    for view in late:
        desk.fault("lag", view=view, seconds=seconds)
    desk.decide(**({"volume": "0.1"} | decided))
    desk.execute_orders()


def hide_client_ids(desk: TradingDesk) -> None:
    for endpoint in ("OpenOrders", "ClosedOrders", "QueryOrders"):
        desk.fault("missing_fields", endpoint=endpoint, fields=["cl_ord_id"])


def alerts(desk: TradingDesk, *, status: str = "open") -> list[str]:
    rows = desk.rows("select kind from trading.alerts where status = %s order by alert_id", status)
    return [row["kind"] for row in rows]


def watch(desk: TradingDesk, seconds: int) -> None:
    for _ in range(seconds // 40):
        desk.pause(40)
        desk.execute_orders()


@pytest.mark.parametrize(
    "late",
    [("orders", "trades", "ledger"), ("orders", "trades"), ("orders",)],
    ids="+".join,
)
def test_what_any_book_speaks_of_is_not_declared_absent(desk: TradingDesk, late: tuple[str, ...]) -> None:
    lose_the_answer(desk, late=late)
    watch(desk, 160)
    order = desk.order()
    assert (order["status"], order["ended_at"]) == ("unknown", None)
    assert order["status_reason"]
    assert alerts(desk) == ["order_unknown"]
    [alert] = desk.rows("select message, wallet from trading.alerts")
    assert f"order {order['order_id']}" in alert["message"]
    assert "do not decide it again" in alert["message"]
    desk.pause(20)
    desk.run_until_settled()
    assert desk.order()["status"] == "closed"
    assert alerts(desk) == []
    assert alerts(desk, status="resolved") == ["order_unknown"]


def test_a_sync_that_books_the_entries_first_does_not_make_the_order_absent(desk: TradingDesk) -> None:
    lose_the_answer(desk, late=("orders", "trades"))
    desk.pause(30)
    desk.sync()
    assert desk.positions()["BTC"] == Decimal("10.1")
    watch(desk, 120)
    assert desk.order()["status"] == "unknown"
    assert "ledger entry" in desk.order()["status_reason"]
    desk.pause(20)
    desk.run_until_settled()
    assert desk.order()["status"] == "closed"
    assert desk.positions()["BTC"] == Decimal("10.1")


def test_a_movement_that_something_else_hides_in_part_is_doubted_too(desk: TradingDesk) -> None:
    desk.simulator.control.post(
        "accounts/desk/events", {"kind": "deposit", "asset": "ZUSD", "amount": "75000"}
    )
    lose_the_answer(desk, late=("orders", "trades", "ledger"))
    watch(desk, 160)
    assert desk.order()["status"] == "unknown"


def test_money_held_by_an_order_that_is_not_shown_keeps_it_unknown(desk: TradingDesk) -> None:
    lose_the_answer(desk, late=("orders",), **RESTING)
    watch(desk, 160)
    assert desk.order()["status"] == "unknown"
    assert "held by an order" in desk.order()["status_reason"]
    desk.pause(30)
    desk.execute_orders()
    assert desk.order()["status"] == "open"


def test_what_moved_before_the_order_does_not_keep_it_unknown(desk: TradingDesk) -> None:
    """A residual that was there before it was sent is none of its doing."""
    desk.simulator.control.post("accounts/desk/residual", {"asset": "XXBT", "amount": "0.0005"})
    desk.pause(60)
    desk.sync()
    desk.pause(60)
    desk.fault("fail_before_accept", appearance="504", count=1)
    desk.decide(volume="0.1")
    watch(desk, 200)
    assert desk.order()["status"] == "not_placed"
    assert "order_not_placed" in alerts(desk)


def test_books_that_speak_later_correct_the_order_and_its_alert(desk: TradingDesk) -> None:
    lose_the_answer(desk, late=("orders", "trades", "ledger", "balance"), seconds="400")
    watch(desk, 200)
    assert desk.order()["status"] == "not_placed"
    assert alerts(desk) == ["order_not_placed"]
    # Balances, trades and ledger come first, the order itself last.
    desk.simulator.control.delete("faults")
    desk.fault("lag", view="orders", seconds="900")
    watch(desk, 360)
    assert desk.order()["status"] == "unknown"
    assert alerts(desk) == ["order_unknown"]
    desk.simulator.control.delete("faults")
    desk.execute_orders()
    assert desk.order()["status"] == "closed"
    assert alerts(desk) == []


def test_an_order_found_long_after_it_was_given_up_is_found_all_the_same(desk: TradingDesk) -> None:
    lose_the_answer(desk, late=("orders", "trades", "ledger", "balance"), seconds="3000")
    watch(desk, 200)
    assert desk.order()["status"] == "not_placed"
    desk.pause(2900)
    desk.run_until_settled()
    desk.pause(400)
    desk.run_until_settled()
    assert desk.order()["status"] == "closed"
    assert alerts(desk) == ["order_found_late"]
    assert len(desk.orders()) == 1


def test_an_order_that_kraken_executes_and_refuses_is_there_more_than_once_and_each_is_known(
    desk: TradingDesk,
) -> None:
    desk.fault("api_error", text="EOrder:Rate limit exceeded", executed=True, endpoint="AddOrder", count=2)
    desk.decide(volume="0.1")
    watch(desk, 800)
    ours, *more = desk.orders()
    assert [order["status"] for order in (ours, *more)] == ["closed"] * 3
    assert [(order["source"], order["cl_ord_id"]) for order in more] == [("external", None)] * 2
    assert alerts(desk) == ["order_found_late"]
    [alert] = desk.rows("select message, occurrences from trading.alerts")
    assert f"order {ours['order_id']}" in alert["message"]
    assert ("once more" in alert["message"], alert["occurrences"]) == (True, 2)
    desk.sync()
    assert desk.positions()["BTC"] == Decimal("10.3")


def test_an_order_without_its_client_id_is_not_taken_for_somebody_elses(desk: TradingDesk) -> None:
    hide_client_ids(desk)
    lose_the_answer(desk)
    watch(desk, 400)
    assert desk.order()["status"] == "unknown"
    assert alerts(desk) == ["order_unknown"]
    assert desk.order()["kraken_txid"] is None
    desk.simulator.control.delete("faults")
    desk.run_until_settled()
    [order] = desk.orders()
    assert (order["status"], order["source"]) == ("closed", "manual")
    assert alerts(desk) == []


def test_an_order_of_somebody_else_like_ours_is_adopted_once_ours_is_found(desk: TradingDesk) -> None:
    lose_the_answer(desk, late=("orders",), seconds="60")
    desk.simulator.control.post(
        "accounts/desk/events",
        {"kind": "manual_order", "pair": "XBTUSD", "side": "buy", "ordertype": "market", "volume": "0.1"},
    )
    watch(desk, 800)
    assert [(o["source"], o["status"]) for o in desk.orders()] == [
        ("manual", "closed"),
        ("external", "closed"),
    ]
    assert len(desk.true_orders()) == 2
    assert alerts(desk) == []


def adopt_our_order_as_somebody_elses(desk: TradingDesk) -> None:
    """Bring the books to where an earlier release left them: our order stands there twice."""
    lose_the_answer(desk, late=("orders",), seconds="5")
    [true] = desk.true_orders()
    desk.execute(
        "insert into trading.orders (account_id, source, pair, base, quote, side, order_type, volume, status,"
        " kraken_txid, answered_at)"
        " select account_id, 'external', pair, base, quote, side, order_type, volume, 'open', %s, now()"
        " from trading.orders",
        true["txid"],
    )
    desk.simulator.control.delete("faults")
    desk.pause(10)


def test_the_same_order_in_two_rows_is_merged_and_blocks_nothing(desk: TradingDesk) -> None:
    adopt_our_order_as_somebody_elses(desk)
    desk.decide(side="sell", volume="0.2")
    done = desk.execute_orders()
    assert done.failures == {}
    desk.run_until_settled()
    ours, external, later = desk.orders()
    assert (ours["status"], ours["volume_executed"]) == ("closed", Decimal("0.1"))
    assert (external["status"], external["kraken_txid"]) == ("merged", None)
    assert f"order {ours['order_id']}" in external["status_reason"]
    assert later["status"] == "closed"
    assert {row["order_id"] for row in desk.rows("select order_id from trading.fills")} == {
        ours["order_id"],
        later["order_id"],
    }
    assert desk.positions()["BTC"] == Decimal("9.9")
    assert desk.rows(
        "select count(*) as n from trading.orders where status in ('submitting', 'unknown')"
    ) == [{"n": 0}]


def test_rows_that_were_followed_and_verified_are_merged_with_their_fills(desk: TradingDesk) -> None:
    adopt_our_order_as_somebody_elses(desk)
    hide_client_ids(desk)
    desk.execute_orders()
    desk.pause(10)
    desk.execute_orders()
    assert [o["status"] for o in desk.orders()] == ["unknown", "closed"]
    desk.execute(
        "insert into trading.order_verifications"
        " (order_id, account_id, source, enlisted_at, due_at, deadline)"
        " select order_id, account_id, source, now(), now(), now()"
        " from trading.orders where source = 'external'"
    )
    desk.simulator.control.delete("faults")
    desk.run_until_settled()
    ours, external = desk.orders()
    assert (ours["status"], external["status"]) == ("closed", "merged")
    assert [row["order_id"] for row in desk.rows("select order_id from trading.fills")] == [ours["order_id"]]
    assert desk.rows("select order_id from trading.order_verifications") == []
    assert desk.story(external["order_id"])[-1] == f"merged into order {ours['order_id']}"


def test_two_orders_of_ours_under_one_id_stop_no_other(desk: TradingDesk) -> None:
    """Nothing can be merged there; it is told by number, and the rest is worked on."""
    lose_the_answer(desk, late=("orders",), seconds="5")
    [true] = desk.true_orders()
    desk.execute(
        "insert into trading.orders (account_id, source, pair, base, quote, side, order_type, volume, status,"
        " kraken_txid, cl_ord_id, deadline, submitted_at, ended_at, settled_at)"
        " select account_id, 'manual', pair, base, quote, side, order_type, volume, 'closed', %s, 'another',"
        " now(), now(), now(), now() from trading.orders",
        true["txid"],
    )
    desk.simulator.control.delete("faults")
    desk.pause(10)
    stuck = desk.orders()[0]["order_id"]
    desk.decide(side="sell", volume="0.2")
    done = desk.execute_orders()
    assert f"order {stuck}" in done.failures["desk"]
    assert desk.orders()[-1]["status"] == "closed"
    assert alerts(desk) == ["order_execution_failure"]


def test_an_order_that_cannot_be_read_keeps_no_other_from_being_followed(
    desk: TradingDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for side in ("buy", "sell"):
        desk.decide(side=side, type="limit", limit_price="40000" if side == "buy" else "60000", volume="0.5")
    desk.execute_orders()
    first = desk.orders()[0]
    query = TradingClient.query_orders

    def refuse_one(client: TradingClient, txids: Collection[str]) -> dict[str, ReportedOrder]:
        if first["kraken_txid"] in txids:
            raise RequestRefusedError("QueryOrders: Kraken answered EOrder:Invalid order")
        return query(client, txids)

    monkeypatch.setattr(TradingClient, "query_orders", refuse_one)
    desk.prices(XBTUSD="61000")
    done = desk.execute_orders()
    assert [o["status"] for o in desk.orders()] == ["open", "closed"], done
    assert f"order {first['order_id']}" in done.failures["desk"]


def test_each_order_that_came_to_nothing_has_an_alert_of_its_own(desk: TradingDesk) -> None:
    desk.fault("fail_before_accept", appearance="504")
    for volume in ("0.1", "0.2"):
        desk.decide(volume=volume)
    watch(desk, 200)
    rows = desk.rows("select message, occurrences from trading.alerts where kind = 'order_not_placed'")
    ids = [order["order_id"] for order in desk.orders()]
    assert [row["occurrences"] for row in rows] == [1, 1]
    assert all(f"order {order_id}," in row["message"] for order_id, row in zip(ids, rows, strict=True))


def test_an_order_that_is_in_doubt_for_long_keeps_no_newer_one_waiting(
    desk: TradingDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_client_ids(desk)
    lose_the_answer(desk)
    desk.simulator.control.delete("faults")
    desk.pause(7200)
    read = TradingClient.closed_orders

    def closed_orders(client: TradingClient, *, after: datetime) -> dict[str, ReportedOrder]:
        if after < desk.now() - timedelta(hours=1, minutes=30):
            raise PayloadInvalidError("ClosedOrders: expected at most 200 pages")
        return read(client, after=after)

    monkeypatch.setattr(TradingClient, "closed_orders", closed_orders)
    lose_the_answer(desk, side="sell")
    desk.pause(10)
    done = desk.execute_orders()
    old, new = desk.orders()
    assert (old["status"], new["status"]) == ("unknown", "closed")
    assert f"order {old['order_id']}: PayloadInvalidError" in done.failures["desk"]


def test_a_person_settles_what_krakens_books_do_not(desk: TradingDesk) -> None:
    hide_client_ids(desk)
    lose_the_answer(desk)
    desk.decide(side="buy", pair="ETH/USD", volume="1")
    watch(desk, 160)
    order_id = desk.orders()[0]["order_id"]
    txid = desk.true_orders()[0]["txid"]
    other = desk.true_orders()[1]["txid"]
    nobody = Settlement(None, "", "")
    with pytest.raises(ConfigurationError, match="who settles it"):
        settle_order(order_id, nobody, desk.ports)
    with pytest.raises(ConfigurationError, match="Kraken's books speak of"):
        settle_order(order_id, Settlement(None, "Ann", "gone"), desk.ports)
    with pytest.raises(ConfigurationError, match="differs in pair"):
        settle_order(order_id, Settlement(other, "Ann", "mistaken"), desk.ports)
    with pytest.raises(ConfigurationError, match="shows no order"):
        settle_order(order_id, Settlement("OAAAAA-BBBBB-CCCCCC", "Ann", "mistyped"), desk.ports)
    assert desk.orders()[0]["status"] == "unknown"
    settled = settle_order(order_id, Settlement(txid, "Ann", "the only one"), desk.ports)
    assert (settled.status.value, settled.kraken_txid) == ("closed", txid)
    assert any("settled by Ann" in what for what in desk.story(order_id))
    assert alerts(desk) == []
    with pytest.raises(ConfigurationError, match="was closed"):
        settle_order(order_id, Settlement(None, "Ann", "again"), desk.ports)


def test_what_a_person_said_can_be_taken_back(desk: TradingDesk) -> None:
    hide_client_ids(desk)
    lose_the_answer(desk)
    with pytest.raises(ConfigurationError, match="still looked up"):
        settle_order(desk.order()["order_id"], Settlement(None, "Ann", "too early"), desk.ports)
    watch(desk, 160)
    order_id = desk.order()["order_id"]
    said = Settlement(None, "Ann", "support says so", despite_evidence=True)
    assert settle_order(order_id, said, desk.ports).status.value == "not_placed"
    assert alerts(desk) == []
    # It stays so, whatever the books say without its id; the order of Kraken's is then somebody else's.
    watch(desk, 400)
    assert [o["status"] for o in desk.orders()] == ["not_placed", "closed"]
    [txid] = [order["txid"] for order in desk.true_orders()]
    settled = settle_order(order_id, Settlement(txid, "Bob", "it is ours after all"), desk.ports)
    assert settled.status.value == "closed"
    assert [o["status"] for o in desk.orders()] == ["closed", "merged"]
