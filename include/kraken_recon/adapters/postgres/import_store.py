"""What an import needs beyond the rows of ``position_sync``; statements in ``sql/importing.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from kraken_recon.adapters.postgres.named_sql import load
from kraken_recon.domain.history import KnownOpening
from kraken_recon.domain.ledger import HoldingKey
from kraken_recon.domain.records import AccountHistory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection, Row

QUERIES: Final = {name: sa.text(query) for name, query in load("importing").items()}


class PostgresImportStore:
    """Satisfies ``service.importing.ImportStore`` over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _rows(self, query: str, **values: object) -> Sequence[Row[Any]]:
        return self._connection.execute(QUERIES[query], values).all()

    def account_history(self, account_id: int) -> AccountHistory:
        """Read where an account's recorded history begins."""
        row = self._rows("account_history", account_id=account_id)[0]
        return AccountHistory(**row._asdict())

    def lock_account(self, account_id: int) -> bool:
        """Lock the account's row; return whether the account is open by now."""
        return bool(self._rows("lock_account", account_id=account_id)[0].is_open)

    def openings(self, account_id: int) -> Mapping[HoldingKey, KnownOpening]:
        """Read what each holding's history begins with, and at which moment."""
        return {
            HoldingKey(row.asset, row.wallet): KnownOpening(row.quantity, row.effective_at)
            for row in self._rows("openings", account_id=account_id)
        }

    def set_opening(self, account_id: int, source: str, ledger_floor: datetime | None) -> None:
        """Say where the locked account's history begins from now on."""
        self._connection.execute(
            QUERIES["set_opening"], {"account_id": account_id, "source": source, "ledger_floor": ledger_floor}
        )
