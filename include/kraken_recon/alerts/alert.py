"""One thing that a person must look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from kraken_recon.alerts.kinds import AlertKind


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing a person must look at; ``message`` is for people, without secrets.

    ``amount`` is how much is wrong, signed, so that growth and a change of sign can be told. What is about no
    asset names its subject as ``wallet``, such as ``decision 12``; what is about no account has none.
    """

    kind: AlertKind
    account_id: int | None
    asset: str | None
    wallet: str | None
    message: str
    amount: Decimal | None = None
    evidence: Mapping[str, object] = field(default_factory=dict)
