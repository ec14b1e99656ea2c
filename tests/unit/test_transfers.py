"""Which deposits and withdrawals under way explain a residual."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from kraken_recon.errors import PayloadInvalidError
from kraken_recon.kraken.parse_funding import parse_transfers
from kraken_recon.ledger.transfers import CONSIDERED_MAX, Transfer, explaining

D = Decimal
OUT = Transfer("W1", False, "USD", D(100), D(5), "pending", datetime(2026, 1, 5, tzinfo=UTC))  # noqa: FBT003
IN = replace(OUT, transfer_id="D1", is_deposit=True, amount=D(40), fee=D(1))


@pytest.mark.parametrize(
    ("residual", "transfers", "names"),
    [
        ("-105", [OUT], ["W1"]),
        ("-100", [OUT], ["W1"]),
        ("-104", [OUT], []),
        ("105", [OUT], []),
        ("40", [IN], ["D1"]),
        ("39", [IN], ["D1"]),
        ("-65", [OUT, IN], ["W1", "D1"]),
        ("-105", [replace(OUT, state="on_hold")], ["W1"]),
        ("-105", [replace(OUT, state="success")], []),
        ("-105", [replace(OUT, state="unheard of")], []),
        ("-105", [replace(OUT, asset="EUR")], []),
        ("-210", [OUT, replace(OUT, transfer_id="W2")], ["W1", "W2"]),
        ("-105", [OUT, replace(OUT, transfer_id="W2")], ["W1"]),
    ],
)
def test_sums_of_transfers_explain_exactly_what_they_come_to(
    residual: str, transfers: list[Transfer], names: list[str]
) -> None:
    found = explaining(D(residual), "USD", transfers)
    assert sorted(one.transfer_id for one in found) == sorted(names)


def test_what_the_ledger_has_explains_nothing_more() -> None:
    assert explaining(D(-105), "USD", [OUT], booked={"W1"}) == ()


def test_many_transfers_are_not_tried_in_every_combination() -> None:
    many = [replace(OUT, transfer_id=f"W{n}") for n in range(CONSIDERED_MAX + 30)]
    assert len(explaining(D(-105) * CONSIDERED_MAX, "USD", many)) == CONSIDERED_MAX
    assert explaining(D(-105) * (CONSIDERED_MAX + 1), "USD", many) == ()


def row(**changes: Any) -> dict[str, Any]:
    usd = {"class": "currency", "name": "ZUSD"}
    return {
        "withdrawal_id": "W1",
        "status": "Pending",
        "amount": {"asset": usd, "amount": "100.00"},
        "fee": {"asset": usd, "amount": "5"},
        "create_time": "2026-01-05T00:00:00Z",
        "method_id": "whatever",
        **changes,
    }


def test_reply_is_read_with_the_names_that_we_use() -> None:
    [read] = parse_transfers({"withdrawals": [row()], "next_cursor": "x"}, endpoint="withdrawals")
    assert read == replace(OUT, amount=D("100.00"))


def test_amount_that_is_not_known_yet_and_a_fee_that_is_not_told_are_no_error() -> None:
    assert parse_transfers({"withdrawals": [row(amount=None)]}, endpoint="withdrawals") == ()
    [read] = parse_transfers({"withdrawals": [row(fee=None)]}, endpoint="withdrawals")
    assert read.changes == (D(-100),)


@pytest.mark.parametrize(
    "reply",
    [
        [],
        {},
        {"withdrawals": {}},
        {"withdrawals": [[]]},
        {"withdrawals": [row(amount={"asset": "USD", "amount": "1"})]},
        {"withdrawals": [row(amount={"asset": {"name": "USD"}, "amount": 1})]},
        {"withdrawals": [row(status=None)]},
        {"withdrawals": [row(create_time="yesterday")]},
        {"withdrawals": [row(create_time=None)]},
        {"withdrawals": [row(withdrawal_id="")]},
    ],
)
def test_what_makes_no_sense_is_refused_by_name(reply: object) -> None:
    with pytest.raises(PayloadInvalidError, match="withdrawals: expected"):
        parse_transfers(reply, endpoint="withdrawals")
