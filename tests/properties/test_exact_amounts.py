"""Invariant 1: no amount is ever rounded, and nothing that is not an amount is taken for one."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from desks.fake_exchange import Desk, bring
from desks.fakes import START
from desks.histories import fresh_account, on_database
from kraken_recon.ledger.chain import prove_chain
from kraken_recon.ledger.entries import Balance, HoldingKey, LedgerEntry
from kraken_recon.ledger.plausible import MAGNITUDE_MAX
from kraken_recon.values.money import EXACT, format_amount, parse_amount

storable = st.builds(
    lambda sign, whole, fraction: Decimal(f"{sign}{whole}.{fraction:018d}"),
    st.sampled_from(("", "-")),
    st.integers(0, 10**20 - 1),
    st.integers(0, 10**18 - 1),
)
MOST = Decimal(f"{MAGNITUDE_MAX - 1}." + "9" * 18)
small = st.builds(lambda units: Decimal(f"{units}E-18"), st.integers(-(10**37), 10**37))


def entry(amount: Decimal, fee: Decimal, balance: Decimal, number: int = 1) -> LedgerEntry:
    return LedgerEntry(f"L{number}", "R", START, "trade", "", "BTC", "spot", amount, fee, balance)


@given(st.one_of(st.floats(), st.booleans(), st.none(), st.binary(), st.just(Decimal("NaN"))))
def test_only_text_whole_numbers_and_decimals_are_amounts(value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_amount(value)


@given(
    st.one_of(
        st.decimals(allow_nan=True, allow_infinity=True).map(str),
        st.from_regex(r"-?\d{1,45}(\.\d{1,45})?([eE][-+]?\d{1,8})?", fullmatch=True),
        st.text(max_size=12),
    )
)
def test_text_is_read_to_its_last_digit_or_refused(text: str) -> None:
    try:
        amount = parse_amount(text)
    except ValueError:
        return
    assert math.isfinite(amount)
    assert Fraction(amount) == Fraction(Decimal(text))
    assert Fraction(amount) * 10**18 % 1 == 0
    assert abs(amount) < Decimal(10) ** 20


@given(storable)
def test_every_amount_that_can_be_stored_is_read_and_written_unchanged(amount: Decimal) -> None:
    assert parse_amount(str(amount)) == amount
    assert parse_amount(format_amount(amount)) == amount
    assert "E" not in format_amount(amount)


@given(small, small, small, small)
def test_arithmetic_is_exact(a: Decimal, b: Decimal, c: Decimal, d: Decimal) -> None:
    line = entry(a, b, c)
    assert Fraction(line.change) == Fraction(a) - Fraction(b)
    assert Fraction(line.balance_before) == Fraction(c) - Fraction(a) + Fraction(b)
    assert Fraction(Balance(a, b, c, d).available) == Fraction(a) + Fraction(c) - Fraction(d) - Fraction(b)
    gaps = prove_chain(line.key, [line], known_balance=d).gaps
    missing = sum((Fraction(gap.missing) for gap in gaps), Fraction(0))
    assert missing == Fraction(c) - Fraction(a) + Fraction(b) - Fraction(d)


@st.composite
def running(draw: st.DrawFn) -> tuple[Decimal, Decimal]:
    """Draw an amount and a change of it: these and the sum are less than there may be of any asset."""
    most = int(MOST.scaleb(18, EXACT))
    first = draw(st.integers(-most, most))
    second = draw(st.integers(max(-most, -most - first), min(most, most - first)))
    return Decimal(f"{first}E-18"), Decimal(f"{second}E-18")


@on_database
@example((MOST, Decimal(0)))
@example((MOST, MOST.copy_negate()))
@given(running())
def test_database_keeps_and_sums_to_the_last_digit(desk: Desk, changes: tuple[Decimal, Decimal]) -> None:
    amount, change = changes
    name, books = fresh_account(desk)
    account, key = desk.account_id(name), HoldingKey("BTC", "spot")
    first = books.add("BTC", format_amount(amount))
    second = books.add("BTC", format_amount(change))
    for one in (first, second):
        assert bring(desk.engine, {account: [one]}) == 1
    rows = desk.rows(
        "select * from trading.ledger_entries where account_id = :a order by ledger_id", a=account
    )
    assert [row["amount"] for row in rows] == [first.amount, second.amount]
    total = Fraction(amount) + Fraction(change)
    assert Fraction(desk.positions(name).get(key, Decimal(0))) == total
    assert Fraction(desk.event_totals(name).get(key, Decimal(0))) == total
    desk.sync(name)
    assert desk.run(name)["status"] == "succeeded"
    assert Fraction(desk.positions(name).get(key, Decimal(0))) == total


def test_no_amount_column_takes_what_is_not_a_number(desk: Desk) -> None:
    with psycopg.connect(desk.url, autocommit=True) as connection:
        columns = connection.execute(
            "select table_name, column_name from information_schema.columns"
            " where table_schema = 'trading' and numeric_scale = 18 and is_generated = 'NEVER'"
            " and table_name in (select table_name from information_schema.tables"
            "  where table_schema = 'trading' and table_type = 'BASE TABLE')"
        ).fetchall()
        assert len(columns) >= 15
        for table in {table for table, _ in columns}:
            connection.execute(f"create temp table {table} (like trading.{table} including constraints)")
            for (column,) in connection.execute(
                "select attname from pg_attribute where attrelid = %s::regclass"
                " and attnum > 0 and attnotnull",
                [f"pg_temp.{table}"],
            ).fetchall():
                connection.execute(f"alter table pg_temp.{table} alter {column} drop not null")
            # Rules about several columns, or about sizes, would refuse a row of one number.
            for (rule,) in connection.execute(
                "select conname from pg_constraint where conrelid = %s::regclass"
                " and contype = 'c' and conname not like '%%_is_a_number'",
                [f"pg_temp.{table}"],
            ).fetchall():
                connection.execute(f"alter table pg_temp.{table} drop constraint {rule}")
        for table, column in columns:
            statement = f"insert into pg_temp.{table} ({column}) values (%s::numeric)"
            connection.execute(statement, ["1.000000000000000001"])
            with pytest.raises(psycopg.errors.CheckViolation):
                connection.execute(statement, ["NaN"])
            for beyond in ("Infinity", "-Infinity", "100000000000000000000"):
                with pytest.raises(psycopg.errors.NumericValueOutOfRange):
                    connection.execute(statement, [beyond])
