"""Average costs and realised results, from ledger entries alone."""

from __future__ import annotations
