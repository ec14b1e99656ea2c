"""The words of Kraken's ledger: entries, chains, kinds and asset names."""

from __future__ import annotations
