"""Each of Kraken's error strings leads to the right reaction."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from kraken_recon.errors import (
    AuthenticationError,
    ConfigurationError,
    ExchangeUnavailableError,
    NonceRejectedError,
    NotNowError,
    RateLimitedError,
    RequestRefusedError,
)
from kraken_recon.kraken.error_codes import KNOWN, error_class, error_from_codes
from kraken_recon.kraken.parse_account import decode_reply

CODES = {
    NonceRejectedError: ["EAPI:Invalid nonce", "EAPI: Invalid Nonce"],
    RateLimitedError: [
        "EAPI:Rate limit exceeded",
        "EAuth:Rate limit exceeded",
        "EAuth:Too many requests",
        "EGeneral:Too many requests",
        "EOrder:Rate limit exceeded",
        "EOrder:Domain rate limit exceeded",
        "EService: Throttled: 1748300000",
        "EService:Throttled",
        "EService:Throttled:soon",
        "EService:Too many requests",
        "EFunding:Rate limit exceeded",
        "EAuth:Rate limit exceeded.",
        "EAuth: Too_many_requests!",
        "\ufeffEOrder : Rate  limit exceeded ",
    ],
    NotNowError: [
        "EService:Market in cancel_only mode",
        "EService:Market in limit_only mode",
        "EService:Market in post_only mode",
        "EService:Market in reduce_only mode",
        "EService:Market in a_new_one mode",
        "EService:Market in cancel only mode",
        "EService:Market in post-only mode",
        "EOrder:Market in cancel_only mode",
        "EService:Deadline elapsed",
    ],
    AuthenticationError: [
        "EAPI:Invalid key",
        "EAPI:Invalid signature",
        "EAPI:Invalid token",
        "EAPI:Permission denied",
        "EGeneral:Permission denied",
        "EGeneral:Temporary lockout",
        "EAccount:Invalid permissions",
        "EAccount:Invalid permissions:AAPL trading restricted for DE.",
        "EAuth:Account temporary disabled",
        "EAuth:Account unconfirmed",
        "EAuth:Failed",
        "EAuth:Something new",
        "ESession:Invalid session",
        "EEarnings:Permission denied:The user's tier is not high enough",
    ],
    ExchangeUnavailableError: [
        "EService:Unavailable",
        "EService:Busy",
        "EService:Timeout",
        "EService:Something new",
        "EGeneral:Internal error",
        "EGeneral:Internal Error:2c1a",
        "EGeneral:Something new",
        "EAPI:Something new",
        "EDatabase:Internal error",
        "EDatabase:Something new",
        "EEarnings:Busy",
        "EOrder:Internal error",
        # Nobody knows what these say of a write.
        "ENobody:Ever heard of this",
        "E",
    ],
    RequestRefusedError: [
        "EGeneral:Invalid arguments",
        "EGeneral:Invalid arguments:volume",
        "EGeneral:Invalid arguments:Index unavailable",
        "EGeneral:Unknown method",
        "EGeneral:Unknown Method",
        "EAPI:Bad request",
        "EAPI:Feature disabled",
        "EBM:limit exceeded:CAL",
        "EOrder:Cancel pending",
        "EOrder:Cannot open opposing position",
        "EOrder:Cannot open position",
        "EOrder:Cost minimum not met",
        "EOrder:Insufficient funds",
        "EOrder:Insufficient funds (insufficient user funds)",
        "EOrder:Insufficient margin",
        "EOrder:Invalid order",
        "EOrder:Invalid price",
        "EOrder:Invalid price:XBTZUSD price can only be specified up to 1 decimals.",
        "EOrder:Margin allowance exceeded",
        "EOrder:Margin level too low",
        "EOrder:Margin position size exceeded",
        "EOrder:Order minimum not met",
        "EOrder:Orders limit exceeded",
        "EOrder:Positions limit exceeded",
        "EOrder:Post only order",
        "EOrder:Reduce only:No position exists",
        "EOrder:Reduce only:Non-PC",
        "EOrder:Reduce only:Position is closed",
        "EOrder:Scheduled orders limit exceeded",
        "EOrder:Something new",
        "EOrder:Tick size check failed",
        "EOrder:Trading agreement required",
        "EOrder:Unknown order",
        "EOrder:Unknown position",
        "EQuery:Invalid asset pair",
        "EQuery:Unknown asset",
        "EQuery:Unknown asset pair",
        "ETrade:Invalid request",
        "ETrade:Locked",
        "ETrade:User Locked",
        "EFunding:Invalid amount",
        "EFunding:Invalid reference id",
        "EFunding:Invalid staking method",
        "EFunding:Max fee exceeded",
        "EFunding:No funding method",
        "EFunding:Too many addresses",
        "EFunding:Unknown asset",
        "EFunding:Unknown reference id",
        "EFunding:Unknown withdraw key",
        "EEarnings:Above max:100",
        "EEarnings:Below min:0.01",
        "EEarnings:Insufficient funds:1",
    ],
}
REPEATED_READS = {NonceRejectedError, RateLimitedError, NotNowError, ExchangeUnavailableError}


def test_every_known_string_has_its_own_case_here():
    tried = {code for codes in CODES.values() for code in codes}
    for kind, codes in KNOWN.items():
        for code in codes:
            assert any(case.startswith(code) for case in CODES[kind]), code
    assert len(tried) > 80
    assert {kind for kind in KNOWN if kind.retryable} == REPEATED_READS


@pytest.mark.parametrize(
    ("code", "expected"), [(code, expected) for expected, codes in CODES.items() for code in codes]
)
def test_code_leads_to_reaction(code, expected):
    error = error_from_codes([code], account="alpha", endpoint="Ledgers")
    assert type(error) is expected
    assert (error.account, error.endpoint, error.codes) == ("alpha", "Ledgers", (code,))
    assert code in str(error)
    assert "Ledgers" in str(error)


@pytest.mark.parametrize("codes", [[], ["WDatabase:No change"], ["WGeneral:Danger", "WDatabase:No change"]])
def test_warnings_are_not_errors(codes):
    assert error_from_codes(codes, account="alpha", endpoint="Ledgers") is None


def test_warning_has_no_class():
    assert error_class("WDatabase:No change") is None


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["WDatabase:No change", "EAPI:Invalid nonce"], NonceRejectedError),
        (["EOrder:Insufficient funds", "EService:Busy"], ExchangeUnavailableError),
        (["EService:Busy", "EAPI:Invalid key"], AuthenticationError),
        (["EGeneral:Invalid arguments", "EAPI:Rate limit exceeded"], RateLimitedError),
    ],
)
def test_gravest_code_decides(codes, expected):
    error = error_from_codes(codes, account="alpha", endpoint="Ledgers")
    assert type(error) is expected
    assert error.codes == tuple(codes)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["EService:Busy", "EAPI:Invalid key"], ExchangeUnavailableError),
        (["EOrder:Insufficient funds", "ENobody:Ever heard of this"], ExchangeUnavailableError),
        (["WDatabase:No change", "EOrder:Insufficient funds"], RequestRefusedError),
        (["EOrder:Insufficient funds", "EAPI:Invalid nonce"], NonceRejectedError),
    ],
)
def test_a_write_that_may_have_happened_is_in_doubt_whatever_else_is_said(codes, expected):
    assert type(error_from_codes(codes, account="alpha", endpoint="AddOrder")) is expected


@pytest.mark.parametrize(("result", "expected"), [({}, RequestRefusedError), ({"txid": ["O1"]}, None)])
def test_a_write_that_was_refused_and_done_at_once_is_in_doubt(result, expected):
    body = json.dumps({"error": ["EOrder:Insufficient funds"], "result": result}).encode()
    with pytest.raises(expected or ExchangeUnavailableError) as raised:
        decode_reply(body, account="alpha", endpoint="AddOrder")
    assert "Insufficient funds" in str(raised.value)


def test_the_time_to_come_back_is_read_and_told():
    error = error_from_codes(["EService:Throttled: 1748300000"], account="alpha", endpoint="Ledgers")
    assert error.not_before == datetime(2025, 5, 26, 22, 53, 20, tzinfo=UTC)
    assert "not before 2025-05-26T22:53:20+00:00" in str(error)


@pytest.mark.parametrize("detail", ["", ": soon", ": -5", ": 1e9", f": {'9' * 5000}", ": ١٧٤٨٣"])
def test_what_is_no_time_is_no_time_to_come_back(detail):
    error = error_from_codes([f"EService:Throttled{detail}"], account="alpha", endpoint="Ledgers")
    assert (type(error), error.not_before) == (RateLimitedError, None)


def test_a_refused_nonce_is_told_as_a_nonce_with_what_to_do():
    error = error_from_codes(["EAPI:Invalid nonce"], account="alpha", endpoint="Ledgers")
    for words in ("nonce was not greater", "another program", "nonce window"):
        assert words in str(error)


@pytest.mark.parametrize(
    "code", ["E" + "x" * 3_000_000, "EOrder:" + " " * 3_000_000, "EOrder:a\nb\x00\ud800c"]
)
def test_krakens_text_is_kept_as_one_short_line_that_a_row_can_hold(code):
    error = error_from_codes([code] * 1000, account="alpha", endpoint="Ledgers")
    for text in (str(error), *error.codes):
        assert len(text) <= 500
        assert text.isprintable()
        assert "\x00" not in text.encode().decode()
    assert len(error.codes) <= 10
    assert not code.startswith("EOrder:a") or r"EOrder:a\nb\x00\ud800c" in str(error)


def test_our_own_messages_keep_their_lines_and_show_what_a_row_cannot_hold():
    told = str(ConfigurationError("two\nlines of \x00 and \udcff and \x1b[31m"))
    assert told == "two\nlines of \\x00 and \\udcff and \\x1b[31m"
