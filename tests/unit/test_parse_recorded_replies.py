"""Every recorded reply that our parsers are for goes through them.

The recordings are not part of the project: set KRAKEN_DATA_DIR to their directory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from kraken_recon.errors import (
    AuthenticationError,
    PayloadInvalidError,
    RequestRefusedError,
)
from kraken_recon.kraken import parse_account, parse_ledger
from kraken_recon.ledger.asset_names import parse_kraken_code

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARSERS = {
    "Ledgers": parse_ledger.parse_ledger_page,
    "QueryLedgers": parse_ledger.parse_ledger_entries,
    "BalanceEx": parse_account.parse_balances,
    "AssetPairs": parse_account.parse_pairs,
    "Ticker": parse_account.parse_last_prices,
}
ERRORS = {
    "EGeneral:Invalid arguments": RequestRefusedError,
    "EAPI:Invalid key": AuthenticationError,
    "EOrder:Insufficient funds": RequestRefusedError,
}
# Made by hand from documentation, with bare numbers where Kraken sends strings: refused, as it should be.
HAND_MADE_WITH_NUMBERS = "Endpoints__Spot__Account__GetAvailableBalances.txt"
SAMPLES = {
    "example-ledgerinfo-data.json": "Ledgers",
    "example-ticker-data.json": "Ticker",
    "example-assetpairs-data.json": "AssetPairs",
    "http_ticker.json": "Ticker",
    "http_asset_pairs.json": "AssetPairs",
    "http_asset_pairs_tokenized.json": "AssetPairs",
    "AssetPairs_assets_kraken.json": "AssetPairs",
    "AssetPairs_kraken_pairs.json": "AssetPairs",
    "Endpoints__Spot__Account__GetLedgerInfo.txt": "Ledgers",
    "Endpoints__Spot__Account__GetLedgersEntry.txt": "QueryLedgers",
    "Endpoints__Spot__ExchangeData__GetSymbols.txt": "AssetPairs",
    "JsonResponses__SpotAccount__GetLedgerInfoAsync.txt": "Ledgers",
    "JsonResponses__SpotAccount__GetLedgersEntryAsync.txt": "QueryLedgers",
    "JsonResponses__SpotExchangeData__GetSymbolsAsync.txt": "AssetPairs",
}


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded reply, as the bytes that came over the parse_account."""

    source: str
    endpoint: str
    body: bytes

    def result(self):
        return parse_account.decode_reply(self.body, account="recorded", endpoint=self.endpoint).result


def exchanges(directory: Path) -> Iterator[Recording]:
    """Yield the replies of all cassettes; a number of at most 17 digits survives json's own float."""
    for path in sorted(directory.glob("*/cassettes/*.json")):
        for exchange in json.loads(path.read_text()):
            reply = exchange["response"]["json"]
            if isinstance(reply, dict) and "error" in reply:
                endpoint = urlsplit(exchange["request"]["uri"]).path.rpartition("/")[2]
                yield Recording(path.name, endpoint, json.dumps(reply).encode())


def samples(directory: Path) -> Iterator[Recording]:
    """Yield whole-file samples; some carry request lines above the JSON."""
    for name, endpoint in SAMPLES.items():
        (path,) = directory.glob(f"*/{name}")
        text = path.read_text()
        yield Recording(name, endpoint, text[text.index("{") :].encode())


@pytest.fixture(scope="module")
def recordings(kraken_data_dir) -> list[Recording]:
    return [*exchanges(kraken_data_dir), *samples(kraken_data_dir)]


def test_every_reply_opens_or_raises_its_error(recordings):
    failed = {}
    for recording in recordings:
        codes = json.loads(recording.body)["error"]
        if not codes:
            recording.result()
            continue
        with pytest.raises(ERRORS[codes[0]]) as raised:
            recording.result()
        assert raised.value.codes == tuple(codes)
        failed[recording.source] = codes[0]
    assert set(failed.values()) == set(ERRORS)
    assert len(recordings) > 80


def test_every_reply_that_has_a_parser_is_parsed(recordings):
    parsed: dict[str, int] = {}
    for recording in recordings:
        if recording.endpoint in PARSERS:
            count = items_of(PARSERS[recording.endpoint](recording.result()))
            assert count == items_of_result(recording.result()), recording.source
            parsed[recording.endpoint] = parsed.get(recording.endpoint, 0) + count
    assert parsed["Ledgers"] > 70
    assert parsed["QueryLedgers"] > 0
    assert parsed["AssetPairs"] > 1600
    assert parsed["Ticker"] > 10


def items_of(parsed) -> int:
    return len(parsed.entries if hasattr(parsed, "entries") else parsed)


def items_of_result(result) -> int:
    rows = result.get("ledger", result)
    return len([name for name in rows if not name.endswith(".d")])


def test_amounts_keep_every_digit(recordings):
    (ledgers,) = (recording for recording in recordings if recording.source == "ledgers.json")
    rows = ledgers.result()["ledger"]
    for entry in parse_ledger.parse_ledger_page({"ledger": rows}).entries:
        row = rows[entry.ledger_id]
        assert tuple(format(amount, "f") for amount in (entry.amount, entry.fee, entry.balance)) == (
            row["amount"],
            row["fee"],
            row["balance"],
        )
        assert (entry.entry_time - parse_account.EPOCH) / timedelta(seconds=1) == float(row["time"])


def test_ledger_of_a_live_account_is_a_chain(recordings):
    """Parsed amounts, holdings and order are right if every running balance follows from the one before."""
    (ledgers,) = (recording for recording in recordings if recording.source == "ledgers.json")
    balances = {}
    links = 0
    for entry in reversed(parse_ledger.parse_ledger_page(ledgers.result()).entries):
        if entry.key in balances:
            assert entry.balance_before == balances[entry.key], entry.ledger_id
            links += 1
        balances[entry.key] = entry.balance
    assert links == 47


def test_balance_recordings_are_amounts_of_known_assets(recordings, kraken_data_dir):
    """``Balance`` is ``BalanceEx`` without holds: wrap its amounts and read them as such."""
    recorded = [
        recording.result()
        for recording in recordings
        if recording.endpoint == "Balance"
        if not json.loads(recording.body)["error"]
    ]
    for name in ("example-balance-data.json", "http_spot_balance.json", "*GetBalances*.txt"):
        for path in kraken_data_dir.glob(f"*/{name}"):
            text = path.read_text()
            recorded.append(json.loads(text[text.index("{") :])["result"])
    assert len(recorded) >= 6
    for result in recorded:
        rows = {code: {"balance": amount, "hold_trade": "0"} for code, amount in result.items()}
        balances = parse_account.parse_balances(rows)
        assert {key: format(balance.balance, "f") for key, balance in balances.items()} == {
            parse_kraken_code(code): amount for code, amount in result.items()
        }


def test_hand_made_balance_with_bare_numbers_is_refused(kraken_data_dir):
    (path,) = kraken_data_dir.glob(f"*/{HAND_MADE_WITH_NUMBERS}")
    text = path.read_text()
    recording = Recording(path.name, "BalanceEx", text[text.index("{") :].encode())
    with pytest.raises(PayloadInvalidError, match="decimal string"):
        parse_account.parse_balances(recording.result())


def test_prices_of_a_recorded_market(recordings):
    pairs = next(
        r for r in recordings if r.source == "rest__test_assetpairs__test_assetpairs_all.json"
    ).result()
    ticker = next(
        r
        for r in recordings
        if r.source == "test_assetpairs__test_assetpairs_ticker.json" and r.endpoint == "Ticker"
    ).result()
    prices = parse_account.prices_in(
        "EUR", parse_account.parse_pairs(pairs), parse_account.parse_last_prices(ticker)
    )
    assert prices == {"BTC": Decimal(ticker["XXBTZEUR"]["c"][0]), "EUR": Decimal(1)}
