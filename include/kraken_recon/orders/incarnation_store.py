"""Orders of a restored database in Postgres; every statement is a named query of ``incarnations.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kraken_recon.database.store import Store, named_queries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

# Of a decision: what says which order it is, and what only it can say of the order.
_DECIDED: Final = (
    *("account_id", "cl_ord_id", "pair", "side", "order_type", "volume", "portion", "limit_price"),
    *("trigger_price", "source", "reason", "expected_price", "ai_model", "ai_prompt_sha256", "ai_answer"),
)


class IncarnationStore(Store):
    """What orders need once the database is another than it was."""

    queries = named_queries(__file__, "incarnations")

    def held_since_restore(self, account_id: int, now: datetime) -> tuple[datetime, datetime] | None:
        """Say since when an account of a restored database is held, and until when its orders are known."""
        self._execute("note_incarnation", account_id=account_id, now=now)
        row = self._execute("held_since_restore", account_id=account_id).one_or_none()
        return None if row is None else (row.restored_at, row.known_until)

    def release_after_restore(self, account_id: int, restored_at: datetime) -> None:
        """Let the orders of an account go on, unless the database was restored again."""
        self._execute("release_after_restore", account_id=account_id, restored_at=restored_at)

    def give_decision(self, values: Mapping[str, Any]) -> int | None:
        """Make an order found at Kraken, with the id of a decision that means the same, its order."""
        row = self._execute("give_decision", **{name: values.get(name) for name in _DECIDED}).one_or_none()
        return None if row is None else int(row.order_id)
