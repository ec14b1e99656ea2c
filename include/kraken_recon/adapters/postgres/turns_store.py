"""Which accounts come first, from Postgres; the statement is a named query of ``sql/turns.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from kraken_recon.adapters.postgres.named_sql import load
from kraken_recon.domain.turns import Need

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy.engine import Connection

QUERIES: Final = {name: sa.text(query) for name, query in load("turns").items()}


class PostgresTurnsStore:
    """Satisfies ``service.ports.TurnsStore`` over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def needs(self, account_ids: Collection[int], since: datetime) -> list[Need]:
        """Read why accounts may have to come before others; differences older than ``since`` do not count."""
        rows = self._connection.execute(QUERIES["needs"], {"account_ids": list(account_ids), "since": since})
        return [Need(**row._asdict()) for row in rows]
