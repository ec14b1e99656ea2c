"""What a decision says, and when two payloads are the same decision."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kraken_recon.orders.decisions import FIELDS, differing, read_decision

DECIDED = {"account": "desk", "pair": "BTC/USD", "side": "buy", "volume": "0.5", "reason": "momentum"}
UNTIL = {"limit_price": "50000", "time_in_force": "GTD", "expires_at": "2026-01-05T13:00:00+01:00"}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({}, {"volume": "0.50"}),
        ({}, {"type": "market", "source": "manual", "post_only": False, "limit_price": ""}),
        ({}, {"pair": "btc/usd", "account": " desk "}),
        ({}, {"decision_key": "signal-1"}),
        ({"limit_price": "50000"}, {"limit_price": "50000.00", "type": "limit"}),
        (UNTIL, {**UNTIL, "expires_at": "2026-01-05T12:00:00Z"}),
        ({"colour": "red"}, {"colour": "red", "reason": "momentum"}),
    ],
    ids=str,
)
def test_the_same_however_it_is_written(left: dict[str, Any], right: dict[str, Any]) -> None:
    backwards = dict(reversed({**DECIDED, **right}.items()))
    assert differing(json.dumps({**DECIDED, **left}), json.dumps(backwards, indent=1), None) == []


@pytest.mark.parametrize(
    "other",
    [
        {"volume": "0.51"},
        {"side": "sell"},
        {"pair": "ETH/USD"},
        {"account": "other"},
        {"reason": "another"},
        {"validate": True},
        {"expected_price": "1"},
        {"colour": "red"},
    ],
    ids=str,
)
def test_every_field_counts(other: dict[str, Any]) -> None:
    [name] = other
    assert name in differing(json.dumps(DECIDED), json.dumps({**DECIDED, **other}), None)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Account", "account"),
        ("volum", "volume"),
        ("price", "limit_price"),
        ("order_type", "type"),
        ("expectedPrice", "expected_price"),
        ("post-only", "post_only"),
        ("decision_id", "decision_key"),
    ],
)
def test_the_nearest_name_is_suggested(name: str, meant: str) -> None:
    given = {field: value for field, value in DECIDED.items() if field != meant}
    with pytest.raises(ValueError, match=f"{name}: there is no such field; did you mean {meant}?"):
        read_decision(json.dumps({**given, name: "x"}))


@pytest.mark.parametrize(
    "payload", ["[]", "7", "null", '"text"', '{"account": null}', '{"account": ["desk"]}']
)
def test_what_is_no_decision_is_told_as_that(payload: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_decision(payload)
    assert differing(payload, json.dumps(DECIDED), None) != []


def test_a_name_like_no_field_is_answered_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="zzz: there is no such field; it could be one of ") as refused:
        read_decision(json.dumps({**DECIDED, "zzz": "x"}))
    assert all(name in str(refused.value) for name in FIELDS if name not in DECIDED)
