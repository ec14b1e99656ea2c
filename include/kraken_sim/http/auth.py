"""Who is calling: key, signature over the raw body, rising nonce, lockout, permissions.

Invariants:
1. A refused request never moves the nonce.
2. Enough refusals in a row lock the key out, whatever it sends next.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from kraken_sim.amounts import ZERO
from kraken_sim.errors import ApiError

READ_PERMISSIONS: Final = ("query-funds", "query-open-trades", "query-closed-trades", "query-ledger")
NONCE_MAXIMUM: Final = 2**64 - 1
LOCKOUT_SECONDS: Final = Decimal(900)

#: Any one of these permissions opens the endpoint; an empty set needs none.
REQUIRED: Final[dict[str, frozenset[str]]] = {
    "Balance": frozenset({"query-funds"}),
    "BalanceEx": frozenset({"query-funds"}),
    "TradeBalance": frozenset({"query-open-trades"}),
    "OpenOrders": frozenset({"query-open-trades"}),
    "ClosedOrders": frozenset({"query-closed-trades"}),
    "OpenPositions": frozenset({"query-open-trades"}),
    "QueryOrders": frozenset({"query-open-trades", "query-closed-trades"}),
    "TradesHistory": frozenset({"query-closed-trades"}),
    "QueryTrades": frozenset({"query-closed-trades"}),
    "Ledgers": frozenset({"query-ledger"}),
    "QueryLedgers": frozenset({"query-ledger"}),
    "AddOrder": frozenset({"modify-trades"}),
    "AddOrderBatch": frozenset({"modify-trades"}),
    "AmendOrder": frozenset({"modify-trades"}),
    "EditOrder": frozenset({"modify-trades"}),
    "CancelOrder": frozenset({"modify-trades", "close-trades"}),
    "CancelOrderBatch": frozenset({"modify-trades", "close-trades"}),
    "CancelAll": frozenset({"modify-trades", "close-trades"}),
    "CancelAllOrdersAfter": frozenset({"modify-trades", "close-trades"}),
    "deposits": frozenset({"query-funds"}),
    "withdrawals": frozenset({"query-funds"}),
    "GetApiKeyInfo": frozenset(),
    "GetWebSocketsToken": frozenset({"create-ws-token"}),
}


@dataclass(slots=True)
class ApiKey:
    """One API key as Kraken keeps it; times in unix seconds, zero for unset."""

    name: str
    key: str
    secret: str
    permissions: list[str]
    created: Decimal
    query_from: Decimal = ZERO
    query_to: Decimal = ZERO
    valid_until: Decimal = ZERO
    ip_allowlist: list[str] = field(default_factory=list)
    nonce_window: int = 0
    lockout_after: int = 10
    modified: Decimal = ZERO
    last_used: Decimal = ZERO
    last_nonce: int = 0
    used_nonces: deque[int] = field(default_factory=lambda: deque(maxlen=1000))
    rejects: list[Decimal] = field(default_factory=list)
    locked_until: Decimal = ZERO

    def sees(self, moment: Decimal) -> bool:
        """Tell whether the key's date window shows a row of this time."""
        return self.query_from <= moment and (not self.query_to or moment <= self.query_to)

    def authenticate(  # noqa: PLR0913 - the parts of one request
        self, *, path: str, body: bytes, nonce: str | None, signature: str, address: str, now: Decimal
    ) -> None:
        """Accept or refuse one request.

        Raises:
            ApiError: with Kraken's reason.
        """
        if now < self.locked_until:
            raise ApiError("EGeneral:Temporary lockout")
        if self.valid_until and now > self.valid_until:
            raise ApiError("EAPI:Invalid key")
        if self.ip_allowlist and address not in self.ip_allowlist:
            raise ApiError("EGeneral:Permission denied")
        if nonce is None or not nonce.isdigit() or int(nonce) > NONCE_MAXIMUM:
            self._refuse("EAPI:Invalid nonce", now)
        elif not hmac.compare_digest(sign(self.secret, path, nonce, body), signature):
            self._refuse("EAPI:Invalid signature", now)
        elif not self._accepts(int(nonce)):
            self._refuse("EAPI:Invalid nonce", now)
        else:
            self.last_nonce = max(self.last_nonce, int(nonce))
            self.used_nonces.append(int(nonce))
            self.rejects.clear()
            self.last_used = now

    def permit(self, endpoint: str) -> None:
        """Check the key's rights.

        Raises:
            ApiError: ``EGeneral:Permission denied``.
        """
        required = REQUIRED[endpoint]
        if required and not required.intersection(self.permissions):
            raise ApiError("EGeneral:Permission denied")

    def _accepts(self, nonce: int) -> bool:
        if nonce > self.last_nonce:
            return True
        return nonce > self.last_nonce - self.nonce_window and nonce not in self.used_nonces

    def _refuse(self, code: str, now: Decimal) -> None:
        self.rejects = [moment for moment in self.rejects if now - moment < LOCKOUT_SECONDS] + [now]
        if len(self.rejects) >= self.lockout_after:
            self.locked_until = now + LOCKOUT_SECONDS
            self.rejects.clear()
        raise ApiError(code)


def sign(secret: str, path: str, nonce: str, body: bytes) -> str:
    """Compute API-Sign over the bytes that were received."""
    digest = hashlib.sha256(nonce.encode() + body).digest()
    return base64.b64encode(
        hmac.new(base64.b64decode(secret), path.encode() + digest, hashlib.sha512).digest()
    ).decode()


def is_secret(text: str) -> bool:
    """Tell whether a text is usable as a secret."""
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
