"""A text that no database can hold is refused where it comes in, by its field, and stops nobody else."""

from __future__ import annotations

from decimal import Decimal

import pytest
import sqlalchemy as sa

from desks.orders import SECRET, TRADING, TradingDesk
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import TextRefusedError

ROW = {"id": "LAAAAA-AAAAA-AAAAAA", "refid": "R1", "time": "1767600000", "type": "deposit", "subtype": "",
       "asset": "ZUSD", "amount": "5"}  # fmt: skip


@pytest.fixture
def desk(simulator, database_url):
    desk = TradingDesk(simulator, database_url)
    yield desk
    desk.close()


def open_strange(desk: TradingDesk, field: str, text: str) -> None:
    """Open an account whose ledger has one strange field."""
    rows = [ROW | {"id": "LBBBBB-BBBBB-BBBBBB"}, ROW | {field: text}]
    desk.simulator.control.post(
        "accounts",
        {"name": "strange", "api_key": "key-of-strange", "api_secret": SECRET, "permissions": TRADING,
         "tier": "unlimited", "entries": rows},
    )  # fmt: skip
    desk.execute("insert into trading.accounts (name, kraken_conn_id) values ('strange', 'strange')")


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b", "x" * 3_000], ids=["zero byte", "surrogate", "long"])
@pytest.mark.parametrize("field", ["id", "refid", "type", "subtype", "asset"])
def test_one_strange_text_fails_that_account_by_the_field_and_no_other(desk, field, text):
    open_strange(desk, field, text)
    desk.account("desk", ZUSD="7")
    desk.sync()
    runs = desk.rows(
        "select a.name, r.status, r.error from trading.reconciliation_runs r join trading.accounts a"
        " using (account_id) order by a.name"
    )
    assert [(run["name"], run["status"]) for run in runs] == [("desk", "succeeded"), ("strange", "failed")]
    assert desk.positions("desk") == {"USD": Decimal(7)}
    assert ("asset code" if field == "asset" else "id" if field == "id" else f".{field} ") in runs[1]["error"]
    assert "PayloadInvalidError" in runs[1]["error"]


@pytest.mark.parametrize("text", ["EGeneral:a\x00b\ud800\nc", "EGeneral:" + "x" * 1_000_000])
def test_a_strange_error_of_krakens_is_kept_as_one_short_line(desk, text):
    desk.account("strange", ZUSD="7")
    desk.account("desk", ZUSD="7")
    desk.fault("api_error", text=text, account="strange", endpoint="BalanceEx")
    desk.sync()
    assert desk.positions("desk") == {"USD": Decimal(7)}
    [failed] = desk.rows("select error from trading.reconciliation_runs where status = 'failed'")
    assert len(failed["error"]) < 600
    assert failed["error"].isprintable()


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"], ids=["zero byte", "surrogate"])
def test_a_strange_text_in_a_decision_or_its_key_is_kept_as_an_escape(desk, text):
    desk.account("desk")
    for field in ("account", "pair", "colour"):
        desk.decide(**{"volume": "1", field: text}, key=f"{field} {text}")
    desk.execute_orders()
    rows = desk.rows("select decision_key, status from trading.order_decisions")
    assert {row["status"] for row in rows} == {"refused"}
    assert all("a\\" in row["decision_key"] for row in rows)


def test_a_row_with_strange_numbers_is_refused_and_the_next_is_judged(desk):
    desk.account("desk")
    desk.prices(XBTUSD="50000")
    for number in ("9" * 5_000, "1e400", "0.1"):
        desk.execute(
            "insert into trading.order_decisions (payload) values (%s::jsonb)",
            '{"account": "desk", "pair": "BTC/USD", "side": "buy", "volume": ' + number + "}",
        )
    desk.execute_orders()
    assert [row["status"] for row in desk.rows("select status from trading.order_decisions order by 1")] == [
        "accepted",
        "refused",
        "refused",
    ]


@pytest.mark.parametrize("text", ["a\x00b", "a\udfffb"])
def test_whatever_slips_through_is_an_error_of_ours(desk, text):
    with pytest.raises(TextRefusedError), UnitOfWork(desk.engine) as unit:
        unit.connection.execute(sa.text("select :text"), {"text": text})
