"""Kraken's error strings as the project's errors, by what to do about them.

Source: Kraken's table of spot error messages and its page on rate limits (docs.kraken.com); strings that only
other people's clients report are marked so.
Invariants:
1. A string is matched by its category and text, whatever details, spaces or capitals come with it.
2. Where the outcome of a write would be in doubt, the error is ``ExchangeUnavailableError``; every other
   class means that nothing was executed. A string that nobody knows leaves the outcome in doubt.
3. Warnings (``W...``) are not errors.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from kraken_recon.errors import (
    AuthenticationError,
    ExchangeError,
    ExchangeUnavailableError,
    NonceRejectedError,
    NotNowError,
    RateLimitedError,
    RequestRefusedError,
)
from kraken_recon.plain_text import LINE_CHARACTERS_MAX, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WRITES: Final = frozenset({"AddOrder", "CancelOrder", "AmendOrder"})

KNOWN: Final[Mapping[type[ExchangeError], tuple[str, ...]]] = MappingProxyType(
    {
        NonceRejectedError: ("EAPI:Invalid nonce",),
        RateLimitedError: (
            "EAPI:Rate limit exceeded",
            "EAuth:Rate limit exceeded",
            "EAuth:Too many requests",
            "EGeneral:Too many requests",
            "EOrder:Rate limit exceeded",
            "EOrder:Domain rate limit exceeded",
            "EService:Throttled",
            "EService:Too many requests",  # reported by clients
        ),
        NotNowError: (
            "EService:Market in cancel_only mode",
            "EService:Market in limit_only mode",
            "EService:Market in post_only mode",
            "EService:Market in reduce_only mode",
            "EService:Deadline elapsed",
        ),
        AuthenticationError: (
            "EAPI:Invalid key",
            "EAPI:Invalid signature",
            "EGeneral:Permission denied",
            "EGeneral:Temporary lockout",
            "EAccount:Invalid permissions",
            "EAuth:Account temporary disabled",
            "EAuth:Account unconfirmed",
            # Reported by clients:
            "EAPI:Invalid token",
            "EAPI:Permission denied",
            "EAuth:Failed",
            "EEarnings:Permission denied",
            "ESession:Invalid session",
        ),
        ExchangeUnavailableError: (
            "EGeneral:Internal error",
            "EService:Unavailable",
            # Reported by clients:
            "EDatabase:Internal error",
            "EEarnings:Busy",
            "EService:Busy",
            "EService:Timeout",
        ),
        RequestRefusedError: (
            "EBM:limit exceeded",
            "EFunding:Max fee exceeded",
            "EFunding:No funding method",
            "EFunding:Too many addresses",
            "EGeneral:Invalid arguments",
            "EGeneral:Invalid arguments:Index unavailable",
            "EOrder:Cannot open opposing position",
            "EOrder:Cannot open position",
            "EOrder:Cost minimum not met",
            "EOrder:Insufficient funds",
            "EOrder:Insufficient margin",
            "EOrder:Invalid price",
            "EOrder:Margin allowance exceeded",
            "EOrder:Margin level too low",
            "EOrder:Margin position size exceeded",
            "EOrder:Order minimum not met",
            "EOrder:Orders limit exceeded",
            "EOrder:Positions limit exceeded",
            "EOrder:Reduce only:No position exists",
            "EOrder:Reduce only:Non-PC",
            "EOrder:Reduce only:Position is closed",
            "EOrder:Scheduled orders limit exceeded",
            "EOrder:Tick size check failed",
            "EOrder:Unknown position",
            "EQuery:Unknown asset",
            "EQuery:Unknown asset pair",
            "ETrade:Invalid request",
            # Reported by clients:
            "EAPI:Bad request",
            "EAPI:Feature disabled",
            "EEarnings:Above max",
            "EEarnings:Below min",
            "EEarnings:Insufficient funds",
            "EFunding:Invalid amount",
            "EFunding:Invalid reference id",
            "EFunding:Invalid staking method",
            "EFunding:Unknown asset",
            "EFunding:Unknown reference id",
            "EFunding:Unknown withdraw key",
            "EGeneral:Unknown method",
            "EOrder:Cancel pending",
            "EOrder:Invalid order",
            "EOrder:Post only order",
            "EOrder:Trading agreement required",
            "EOrder:Unknown order",
            "EQuery:Invalid asset pair",
            "ETrade:Locked",
            "ETrade:User Locked",
        ),
    }
)
"""Every string of Kraken's by the reaction that it asks for."""

_COLON = re.compile(r"\s*:\s*")
_NOTE = re.compile(r"\s*\([^()]*\)$")
_MARKET_MODE = re.compile(r"market in [\w -]+ mode")


def _key(code: str) -> tuple[str, ...]:
    """Split a string into category, text and details, without notes in brackets and in one spelling."""
    parts = _COLON.split(code.strip().strip("\ufeff").rstrip(".!;"))
    return tuple(" ".join(_NOTE.sub("", part).lower().replace("_", " ").split()) for part in parts)


_BY_KEY: Final[Mapping[tuple[str, ...], type[ExchangeError]]] = MappingProxyType(
    {_key(code): kind for kind, codes in KNOWN.items() for code in codes}
)
# The same words mean the same in a category where nobody has met them yet.
_BY_WORDING: Final[Mapping[str, type[ExchangeError]]] = MappingProxyType(
    {
        "internal error": ExchangeUnavailableError,
        "unavailable": ExchangeUnavailableError,
        "busy": ExchangeUnavailableError,
        "timeout": ExchangeUnavailableError,
        "throttled": RateLimitedError,
        "rate limit exceeded": RateLimitedError,
        "too many requests": RateLimitedError,
        "invalid nonce": NonceRejectedError,
        "permission denied": AuthenticationError,
        "temporary lockout": AuthenticationError,
    }
)
# Categories whose every string is said before anything is executed.
_BY_CATEGORY: Final[Mapping[str, type[ExchangeError]]] = MappingProxyType(
    {
        **dict.fromkeys(("eaccount", "eauth", "esession"), AuthenticationError),
        **dict.fromkeys(("ebm", "eearnings", "efunding", "eorder", "equery", "etrade"), RequestRefusedError),
    }
)
_MILDER_ONES: Final = (NonceRejectedError, RateLimitedError, NotNowError, RequestRefusedError)
# To repeat a read with a refused key prolongs a lockout; a write that may have happened must be looked up.
_GRAVEST_OF_READS: Final = (AuthenticationError, ExchangeUnavailableError, *_MILDER_ONES)
_GRAVEST_OF_WRITES: Final = (ExchangeUnavailableError, AuthenticationError, *_MILDER_ONES)

_ADVICE_BY_KEY: Final[Mapping[tuple[str, ...], str]] = MappingProxyType(
    {
        _key("EGeneral:Temporary lockout"): (
            "Kraken has locked the key out for about 15 minutes after many refused calls; end whatever else "
            "uses it, and wait"
        ),
        _key(
            "EAuth:Account temporary disabled"
        ): "ask Kraken's support: the account is disabled, not the key",
        _key("EAuth:Account unconfirmed"): "confirm the account's address at Kraken",
        _key("EAccount:Invalid permissions"): "this account may not do that at Kraken, whatever its key may",
        _key(
            "EService:Deadline elapsed"
        ): "the request came after its deadline; is this machine's clock right?",
    }
)
_ADVICE: Final[Mapping[type[ExchangeError], str]] = MappingProxyType(
    {
        NonceRejectedError: (
            "the nonce was not greater than the key's last one; does another program use this key, or did "
            "one use greater nonces? Give this project a key of its own, or set a nonce window at Kraken"
        ),
        AuthenticationError: "check the key, its permissions and its address list at Kraken",
    }
)
_UNIX_SECONDS: Final = re.compile(r"[0-9]{1,11}(?:\.[0-9]{1,9})?")


def error_class(code: str) -> type[ExchangeError] | None:
    """Sort one of Kraken's strings; None for a warning."""
    if code.startswith("W"):
        return None
    category, *details = _key(code)
    if not details:
        return _BY_CATEGORY.get(category, ExchangeUnavailableError)
    if _MARKET_MODE.fullmatch(details[0]):
        return NotNowError
    return (
        _BY_KEY.get((category, *details[:2]))
        or _BY_KEY.get((category, details[0]))
        or _BY_WORDING.get(details[0])
        or _BY_CATEGORY.get(category, ExchangeUnavailableError)
    )


def error_from_codes(codes: Sequence[str], *, account: str, endpoint: str) -> ExchangeError | None:
    """Build the gravest error that an ``error`` list stands for; None if it holds no error."""
    cut = [code[:LINE_CHARACTERS_MAX] for code in codes]
    classes = {code: found for code in cut if (found := error_class(code)) is not None}
    for chosen in _GRAVEST_OF_WRITES if endpoint in WRITES else _GRAVEST_OF_READS:
        meant = [code for code, found in classes.items() if found is chosen]
        if meant:
            not_before = _told_time(meant)
            again = f"it wants to be asked not before {not_before.isoformat()}" if not_before else ""
            advice = again or _ADVICE_BY_KEY.get(_key(meant[0])[:2]) or _ADVICE.get(chosen, "")
            return chosen(
                f"{endpoint}: Kraken answered {one_line(', '.join(cut))}{advice and '; '}{advice}",
                account=account,
                endpoint=endpoint,
                codes=tuple(codes),
                not_before=not_before,
            )
    return None


def _told_time(codes: Sequence[str]) -> datetime | None:
    """Read the latest moment of ``EService:Throttled: <unix time>``."""
    times = [
        float(key[2]) for key in map(_key, codes) if key[1:2] == ("throttled",) and _is_unix_time(key[2:])
    ]
    return datetime.fromtimestamp(max(times), UTC) if times else None


def _is_unix_time(details: Sequence[str]) -> bool:
    return len(details) == 1 and bool(_UNIX_SECONDS.fullmatch(details[0]))
