"""``OpenPositions`` is read exactly, and refused when it is not what Kraken documents."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from desks.margin_positions import POSITION
from kraken_recon.errors import PayloadInvalidError
from kraken_recon.kraken.parse_margin import parse_open_positions

if TYPE_CHECKING:
    from pathlib import Path


def parse(**changes: Any) -> Any:
    return parse_open_positions({"TF5GVO": POSITION | changes})["TF5GVO"]


def test_every_field_is_read() -> None:
    position = parse()
    assert (position.position_id, position.order_id, position.pair) == (
        "TF5GVO",
        "OLWNFG-LLH4R-D6SFFP",
        "XXBTZUSD",
    )
    assert (position.side, position.order_type) == ("buy", "limit")
    assert position.opened_at == datetime(2020, 11, 13, 15, 8, 17, 829400, tzinfo=UTC)
    assert (position.volume, position.volume_closed) == (Decimal("8.82412861"), Decimal("0.202"))
    assert (position.cost, position.fee, position.margin) == (
        Decimal("104610.52842"),
        Decimal("289.06565"),
        Decimal("20922.10568"),
    )
    assert (position.value, position.net) == (Decimal("258797.5"), Decimal("154186.9728"))
    assert position.terms == "0.0100% per 4 hours"
    assert position.rollover_at == datetime(2021, 3, 25, 11, 43, 57, tzinfo=UTC)
    assert position.volume_left == Decimal("8.62212861")


def test_what_is_counted_on_demand_may_be_absent() -> None:
    left_out = ("value", "net", "terms", "rollovertm", "misc", "oflags", "posstatus")
    bare = {name: value for name, value in POSITION.items() if name not in left_out}
    position = parse_open_positions({"T": bare})["T"]
    assert (position.value, position.net, position.rollover_at, position.terms) == (None, None, None, "")


def test_a_loss_is_negative() -> None:
    assert parse(net="-12.5000").net == Decimal("-12.5")


def test_no_position_is_an_empty_map() -> None:
    assert parse_open_positions({}) == {}


@pytest.mark.parametrize("result", [None, [], [POSITION], "none", {"T": None}, {"T": []}, {"": POSITION}])
def test_another_shape_is_refused(result: object) -> None:
    with pytest.raises(PayloadInvalidError, match="OpenPositions"):
        parse_open_positions(result)


@pytest.mark.parametrize(
    "changes",
    [
        {"vol": 8},
        {"vol": "+8"},
        {"vol": None},
        {"cost": "NaN"},
        {"margin": "1e3"},
        {"vol_closed": "9"},
        {"vol_closed": "-1"},
        {"type": "hold"},
        {"posstatus": "closed"},
        {"posstatus": None},
        {"time": "yesterday"},
        {"ordertxid": ""},
        {"pair": None},
        {"net": "++1"},
        {"net": "+"},
        {"net": 1},
        {"value": "+1"},
        {"rollovertm": "soon"},
    ],
    ids=str,
)
def test_a_field_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PayloadInvalidError):
        parse(**changes)


@pytest.mark.parametrize("name", ["cost", "fee", "vol", "vol_closed", "margin", "time", "type", "pair"])
def test_a_field_that_is_missing_is_refused(name: str) -> None:
    with pytest.raises(PayloadInvalidError, match=name):
        parse_open_positions({"T": {key: value for key, value in POSITION.items() if key != name}})


@pytest.mark.parametrize(
    ("file", "count"),
    [
        ("JKorf__Kraken.Net/Endpoints__Spot__Account__GetOpenPositions.txt", 5),
        ("nautechsystems__nautilus_trader/http_spot_open_positions.json", 1),
    ],
)
def test_recorded_positions_are_read(kraken_data_dir: Path, file: str, count: int) -> None:
    text = (kraken_data_dir / file).read_text()
    result = json.loads(text[text.index("{") :], parse_float=Decimal)["result"]
    positions = parse_open_positions(result)
    assert len(positions) == count
    assert {position.pair for position in positions.values()} == {"XXBTZUSD"}
