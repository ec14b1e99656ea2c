"""Open margin positions, reconciled like balances."""

from __future__ import annotations
