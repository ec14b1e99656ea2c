"""Which accounts there are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """One Kraken API key, held in one Airflow connection."""

    account_id: int
    name: str
    kraken_conn_id: str
    quote_currency: str
