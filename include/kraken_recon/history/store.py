"""What an import needs beyond the rows of ``position_sync``; statements in ``history.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraken_recon.database.store import Store, named_queries
from kraken_recon.history.rules.account_history import AccountHistory
from kraken_recon.history.rules.extending import KnownOpening
from kraken_recon.ledger.entries import HoldingKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class HistoryStore(Store):
    """What an import of Kraken's exports needs beyond the books."""

    queries = named_queries(__file__, "history")

    def account_history(self, account_id: int) -> AccountHistory:
        """Read where an account's recorded history begins."""
        row = self._run("account_history", account_id=account_id)[0]
        return AccountHistory(**row._asdict())

    def lock_account(self, account_id: int) -> bool:
        """Lock the account's row; return whether the account is open by now."""
        return bool(self._run("lock_account", account_id=account_id)[0].is_open)

    def openings(self, account_id: int) -> Mapping[HoldingKey, KnownOpening]:
        """Read what each holding's history begins with, and at which moment."""
        return {
            HoldingKey(row.asset, row.wallet): KnownOpening(row.quantity, row.effective_at)
            for row in self._run("openings", account_id=account_id)
        }

    def set_opening(self, account_id: int, source: str, ledger_floor: datetime | None) -> None:
        """Say where the locked account's history begins from now on."""
        self._execute("set_opening", account_id=account_id, source=source, ledger_floor=ledger_floor)
