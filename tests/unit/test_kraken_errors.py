"""Each of Kraken's error strings leads to the right reaction."""

from __future__ import annotations

import pytest

from kraken_recon.adapters.kraken.failures import error_class, error_from_codes
from kraken_recon.errors import (
    AuthenticationError,
    ExchangeUnavailableError,
    NonceRejectedError,
    RateLimitedError,
    RequestRefusedError,
)

CODES = {
    NonceRejectedError: ["EAPI:Invalid nonce"],
    RateLimitedError: [
        "EAPI:Rate limit exceeded",
        "EGeneral:Too many requests",
        "EOrder:Rate limit exceeded",
        "EOrder:Domain rate limit exceeded",
        "EService: Throttled: 1748300000",
        "EService:Throttled",
        "EService:Market in cancel_only mode",
        "EService:Market in post_only mode",
        "EService:Deadline elapsed",
    ],
    AuthenticationError: [
        "EAPI:Invalid key",
        "EAPI:Invalid signature",
        "EGeneral:Permission denied",
        "EGeneral:Temporary lockout",
        "EAccount:Invalid permissions",
        "EAccount:Invalid permissions:AAPL trading restricted for DE.",
        "EAuth:Account temporary disabled",
        "EAuth:Account unconfirmed",
        "EAuth:Rate limit exceeded",
        "EAuth:Too many requests",
        "EAuth:Failed",
        "ESession:Invalid session",
        "EEarnings:Permission denied:The user's tier is not high enough",
    ],
    ExchangeUnavailableError: [
        "EService:Unavailable",
        "EService:Busy",
        "EService:Timeout",
        "EService:Something new",
        "EGeneral:Internal error",
        "EGeneral:Internal error:2c1a",
        "EDatabase:Internal error",
        "EEarnings:Busy",
    ],
    RequestRefusedError: [
        "EGeneral:Invalid arguments",
        "EGeneral:Invalid arguments:volume",
        "EGeneral:Invalid arguments:Index unavailable",
        "EGeneral:Unknown method",
        "EAPI:Bad request",
        "EAPI:Feature disabled",
        "EOrder:Cannot open opposing position",
        "EOrder:Margin level too low",
        "EOrder:Insufficient funds",
        "EOrder:Order minimum not met",
        "EOrder:Cost minimum not met",
        "EOrder:Tick size check failed",
        "EOrder:Orders limit exceeded",
        "EOrder:Positions limit exceeded",
        "EOrder:Scheduled orders limit exceeded",
        "EOrder:Invalid price:XBTZUSD price can only be specified up to 1 decimals.",
        "EOrder:Reduce only:No position exists",
        "EOrder:Unknown order",
        "EOrder:Unknown position",
        "EQuery:Unknown asset pair",
        "ETrade:Invalid request",
        "ETrade:User Locked",
        "ETrade:Locked",
        "EBM:limit exceeded:CAL",
        "EFunding:Max fee exceeded",
        "EFunding:Unknown withdraw key",
        "EEarnings:Below min:0.01",
        "ENobody:Ever heard of this",
        "E",
    ],
}


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
