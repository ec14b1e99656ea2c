"""One account at the simulated exchange: its ledger, orders, trades and margin."""

from __future__ import annotations
