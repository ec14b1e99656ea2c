"""Kraken's error strings as the project's errors, by what to do about them.

Invariants:
1. A string is matched by its category and text, up to the second colon: the details after it vary.
2. Where the outcome of a write would be in doubt, the error is ``ExchangeUnavailableError``; every other
   class means that nothing was executed.
3. Warnings (``W...``) are not errors.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from kraken_recon.errors import (
    AuthenticationError,
    ExchangeError,
    ExchangeUnavailableError,
    NonceRejectedError,
    RateLimitedError,
    RequestRefusedError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BY_TEXT: Final[Mapping[str, type[ExchangeError]]] = MappingProxyType(
    {
        "EAPI:Invalid nonce": NonceRejectedError,
        # Not executed, and worth another try later. The last three are about the market or the order's own
        # deadline, but call for the same reaction.
        "EAPI:Rate limit exceeded": RateLimitedError,
        "EGeneral:Too many requests": RateLimitedError,
        "EOrder:Rate limit exceeded": RateLimitedError,
        "EOrder:Domain rate limit exceeded": RateLimitedError,
        "EService:Throttled": RateLimitedError,
        "EService:Deadline elapsed": RateLimitedError,
        "EService:Market in cancel_only mode": RateLimitedError,
        "EService:Market in post_only mode": RateLimitedError,
        # A person must act on the key; asking again prolongs a lockout.
        "EAPI:Invalid key": AuthenticationError,
        "EAPI:Invalid signature": AuthenticationError,
        "EGeneral:Permission denied": AuthenticationError,
        "EGeneral:Temporary lockout": AuthenticationError,
        "EEarnings:Permission denied": AuthenticationError,
        # Kraken itself failed; a write may have happened.
        "EEarnings:Busy": ExchangeUnavailableError,
        "EGeneral:Internal error": ExchangeUnavailableError,
    }
)
_BY_CATEGORY: Final[Mapping[str, type[ExchangeError]]] = MappingProxyType(
    {
        "EService": ExchangeUnavailableError,
        "EDatabase": ExchangeUnavailableError,
        "EAccount": AuthenticationError,
        "EAuth": AuthenticationError,
        "ESession": AuthenticationError,
    }
)
_GRAVEST_FIRST: Final = (
    AuthenticationError,
    ExchangeUnavailableError,
    NonceRejectedError,
    RateLimitedError,
    RequestRefusedError,
)
_HINTS: Final[Mapping[type[ExchangeError], str]] = MappingProxyType(
    {
        NonceRejectedError: "; does another program use this key, or did one use larger nonces before?",
        AuthenticationError: "; check the key, its permissions and its address list at Kraken",
    }
)
_COLON = re.compile(r"\s*:\s*")


def error_class(code: str) -> type[ExchangeError] | None:
    """Sort one of Kraken's strings; None for a warning."""
    if code.startswith("W"):
        return None
    category, *details = _COLON.split(code.strip())
    by_text = _BY_TEXT.get(f"{category}:{details[0]}") if details else None
    return by_text or _BY_CATEGORY.get(category, RequestRefusedError)


def error_from_codes(codes: Sequence[str], *, account: str, endpoint: str) -> ExchangeError | None:
    """Build the gravest error that an ``error`` list stands for; None if it holds no error."""
    classes = {found for code in codes if (found := error_class(code)) is not None}
    for chosen in _GRAVEST_FIRST:
        if chosen in classes:
            return chosen(
                f"{endpoint}: Kraken answered {', '.join(codes)}{_HINTS.get(chosen, '')}",
                account=account,
                endpoint=endpoint,
                codes=tuple(codes),
            )
    return None
