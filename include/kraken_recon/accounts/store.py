"""What people say about accounts, in Postgres; every statement is a query of ``accounts.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kraken_recon.accounts.account import Account
from kraken_recon.database.store import Store, named_queries
from kraken_recon.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection

    from kraken_recon.accounts.tolerance import Tolerance


class AccountStore(Store):
    """What people say about accounts."""

    queries = named_queries(__file__, "accounts")

    def add(self, name: str, kraken_conn_id: str, quote_currency: str) -> bool:
        """Add an account; False when one has its name or its connection."""
        values = {"name": name, "kraken_conn_id": kraken_conn_id, "quote_currency": quote_currency}
        return self._execute("add_account", **values).one_or_none() is not None

    def namesakes(self, name: str, kraken_conn_id: str) -> list[dict[str, Any]]:
        """Find the accounts that have a name or a connection."""
        rows = self._execute("namesakes", name=name, kraken_conn_id=kraken_conn_id)
        return [row._asdict() for row in rows]

    def change(
        self,
        name: str,
        *,
        is_active: bool | None = None,
        kraken_conn_id: str | None = None,
        freshness_limit_minutes: int | None = None,
    ) -> bool:
        """Change what is given; False when there is no such account."""
        changed = self._execute(
            "change_account",
            name=name,
            is_active=is_active,
            kraken_conn_id=kraken_conn_id,
            freshness_limit_minutes=freshness_limit_minutes,
        )
        return changed.rowcount == 1

    def tolerate(self, name: str, asset: str, tolerance: Tolerance | None) -> bool:
        """Set an asset's tolerance, or take it away; False when there is nothing to set or to take away."""
        if tolerance is None:
            return self._execute("drop_tolerance", name=name, asset=asset).rowcount == 1
        values = {"quantity": tolerance.quantity, "value": tolerance.value}
        return self._execute("set_tolerance", name=name, asset=asset, **values).rowcount == 1

    def every(self) -> list[dict[str, Any]]:
        """List every account, also those that are paused."""
        return self._rows("list_accounts")

    def find_accounts(self, names: Collection[str] | None) -> list[Account]:
        """List active accounts; all of them, or those named."""
        rows = self._execute("find_accounts", names=sorted(names) if names is not None else None)
        found = [Account(**row._asdict()) for row in rows]
        unknown = sorted(set(names or ()) - {account.name for account in found})
        if unknown:
            raise ConfigurationError(
                f"no active account is named {', '.join(unknown)}; see `python -m kraken_recon report`"
            )
        return found
