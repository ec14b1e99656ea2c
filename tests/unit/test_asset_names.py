"""Kraken's asset codes become our names, and back, without guessing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken_recon.ledger.asset_names import LEGACY_NAMES, parse_kraken_code
from kraken_recon.ledger.entries import SPOT, HoldingKey

if TYPE_CHECKING:
    from pathlib import Path

SNAPSHOTS = (
    "rotki__rotki/Assets_assets_only_kraken.json",
    "maurobaraldi__cripto-history-data/kraken_assets.json",
)


@pytest.mark.parametrize(
    ("code", "asset", "wallet"),
    [
        ("XXBT", "BTC", "spot"),
        ("XBT", "BTC", "spot"),
        ("BTC", "BTC", "spot"),
        ("XBT.F", "BTC", "F"),
        ("XXDG", "DOGE", "spot"),
        ("XDG", "DOGE", "spot"),
        ("ZEUR", "EUR", "spot"),
        ("EUR.HOLD", "EUR", "HOLD"),
        ("EUR.M", "EUR", "M"),
        ("DOT.P", "DOT", "P"),
        ("DOT28.S", "DOT", "28.S"),
        ("KSM07.S", "KSM", "07.S"),
        ("ETH2", "ETH2", "spot"),
        ("ETH2.S", "ETH2", "S"),
        ("FLOWH.S", "FLOWH", "S"),
        ("KFEE", "KFEE", "spot"),
        ("FEE", "KFEE", "spot"),
        ("AAPLx", "AAPLx", "spot"),
        ("AAPLx.T", "AAPLx", "T"),
        # Not legacy ids, however much they look like it.
        ("XTZ", "XTZ", "spot"),
        ("XTZ.S", "XTZ", "S"),
        ("XCN", "XCN", "spot"),
        ("ZRX", "ZRX", "spot"),
        ("XZEC", "ZEC", "spot"),
        ("ZEC", "ZEC", "spot"),
        # Numbers that belong to the name, not bonding terms.
        ("C98.S", "C98", "S"),
        ("BANANAS31.B", "BANANAS31", "B"),
        ("SPX6900.S", "SPX6900", "S"),
        # Not known: passed on as they are.
        ("XTSTCUR", "XTSTCUR", "spot"),
        ("FOO.X", "FOO.X", "spot"),
        (".S", ".S", "spot"),
    ],
)
def test_parse_code(code, asset, wallet):
    assert parse_kraken_code(code) == HoldingKey(asset, wallet)


def snapshot_assets(directory: Path, name: str):
    return json.loads((directory / name).read_text())["result"].items()


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_id_and_altname_of_every_recorded_asset_agree(kraken_data_dir, name):
    differing = {
        code: parse_kraken_code(code)
        for code, asset in snapshot_assets(kraken_data_dir, name)
        if parse_kraken_code(code) != parse_kraken_code(asset["altname"])
    }
    assert differing == {}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_no_two_recorded_assets_become_one_holding(kraken_data_dir, name):
    codes = [code for code, _ in snapshot_assets(kraken_data_dir, name)]
    assert len({parse_kraken_code(code) for code in codes}) == len(codes) > 200


def altname_of(key: HoldingKey) -> str:
    asset = {"BTC": "XBT", "DOGE": "XDG"}.get(key.asset, key.asset)
    if key.wallet == SPOT:
        return asset
    return f"{asset}{'' if key.wallet[0].isdigit() else '.'}{key.wallet}"


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_every_recorded_asset_is_written_back_as_its_altname(kraken_data_dir, name):
    written = {
        code: altname_of(parse_kraken_code(code)) for code, _ in snapshot_assets(kraken_data_dir, name)
    }
    assert written == {
        code: "KFEE" if code == "KFEE" else asset["altname"]
        for code, asset in snapshot_assets(kraken_data_dir, name)
    }


def test_legacy_names_are_normalised_names():
    assert [name for name in LEGACY_NAMES.values() if parse_kraken_code(name) != HoldingKey(name, SPOT)] == []


CODES = st.one_of(
    st.text(min_size=1, max_size=12),
    st.from_regex(r"[A-Z0-9]{1,8}x?(\.(S|M|B|F|P|T|HOLD))?", fullmatch=True),
    st.sampled_from(sorted(LEGACY_NAMES)),
)


@given(CODES)
def test_parsing_a_parsed_code_changes_nothing(code):
    key = parse_kraken_code(code)
    assert parse_kraken_code(str(key)) == key


@given(st.from_regex(r"[A-Z0-9]{1,8}(\.(S|M|B|F|P|T|HOLD))?", fullmatch=True))
def test_written_code_reads_back_as_the_same_holding(code):
    key = parse_kraken_code(code)
    assert parse_kraken_code(altname_of(key)) == key
