"""Sessions, transactions, named SQL and the schema of the trading database."""

from __future__ import annotations
