"""What people read of amounts keeps every digit that the database holds, also where nothing is booked."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, getcontext
from uuid import UUID

from kraken_recon.accounts.account import Account
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.holdings.pricing import PriceList
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.rules.assess import Action, Discrepancy
from kraken_recon.reconciliation.run_summary import difference_alert

WHOLE = "12345678901234567890.123456789012345678"
ALL_DIGITS = Decimal(WHOLE)
LOST = Decimal(f"-{WHOLE}")
ONE_DOLLAR = PriceList({("USD", "BTC"): (Decimal(1), datetime(2026, 1, 1, tzinfo=UTC))})


def test_an_alert_about_a_difference_keeps_all_digits() -> None:
    assert len(ALL_DIGITS.as_tuple().digits) > getcontext().prec
    found = Discrepancy(
        HoldingKey("BTC", "spot"),
        *(ALL_DIGITS, Decimal(0), Decimal(0), LOST, Decimal(0)),
        Action.UPDATE,
    )
    alert = difference_alert(
        *(AlertKind.DATABASE_DRIFT, "was changed", Account(1, "desk", "desk", "USD"), found),
        run_id=UUID(int=1),
        prices=ONE_DOLLAR,
    )
    evidence = dict(alert.evidence or {})
    assert (evidence["changed_by_hand"], evidence["value"]) == (WHOLE, WHOLE)


def test_what_differences_are_worth_keeps_all_digits_in_either_direction() -> None:
    for change in (ALL_DIGITS, LOST):
        assert ONE_DOLLAR.worth_of_changes("USD", {"BTC": change}).value == ALL_DIGITS
