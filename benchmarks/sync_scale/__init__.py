"""How the whole of ``position_sync`` grows with the number of accounts."""

from __future__ import annotations
