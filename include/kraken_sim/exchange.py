"""The whole simulated exchange: market, clock, accounts, faults.

Invariant: everything random follows from one seed, per account and per fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kraken_sim.account.account import Account
from kraken_sim.account.ledger import Ledger
from kraken_sim.amounts import ZERO
from kraken_sim.clock import Clock
from kraken_sim.errors import ControlError
from kraken_sim.faults.named import Faults
from kraken_sim.http.auth import ApiKey, is_secret
from kraken_sim.http.call_budgets import TIERS, Budget
from kraken_sim.identifiers import Identifiers
from kraken_sim.market.reference import Reference

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

    from kraken_sim.account.account import Transfer
    from kraken_sim.account.order import Order


class Exchange:
    """All state of the program."""

    def __init__(self, seed: int, reference_directory: Path | None = None) -> None:
        self.seed = seed
        self.reference_directory = reference_directory
        self.reset()

    def reset(self) -> None:
        """Forget everything but the seed."""
        self.reference = Reference(self.reference_directory)
        self.clock = Clock()
        self.faults = Faults(str(self.seed))
        self.accounts: dict[str, Account] = {}
        self.by_key: dict[str, Account] = {}
        self.system_status = "online"
        self.published: list[dict[str, Any]] = []
        #: Who followed a redirect to where no client has business.
        self.landed: list[dict[str, Any]] = []

    def account(self, name: str) -> Account:
        """Find an account.

        Raises:
            ControlError: when there is none of this name.
        """
        if name not in self.accounts:
            raise ControlError(f"expected an account out of {sorted(self.accounts)}, was {name!r}")
        return self.accounts[name]

    def open_account(  # noqa: PLR0913 - the parts of one account
        self,
        *,
        name: str,
        api_key: str,
        api_secret: str,
        permissions: list[str],
        tier: str = "intermediate",
        history_cost: int = 4,
        opening: dict[str, Decimal] | None = None,
    ) -> Account:
        """Register an account and its key.

        Raises:
            ControlError: when the name or key is taken, or the secret is not base64.
        """
        if name in self.accounts or api_key in self.by_key:
            raise ControlError(f"expected a new account and key, was {name!r}")
        if not is_secret(api_secret):
            raise ControlError(f"expected a base64 secret for account {name!r}")
        if tier not in TIERS:
            raise ControlError(f"expected a tier out of {sorted(TIERS)}, was {tier!r}")
        identifiers = Identifiers(f"{self.seed}:{name}")
        created = self.clock.now()
        key = ApiKey(name, api_key, api_secret, permissions, created, modified=created)
        account = Account(
            name=name,
            key=key,
            clock=self.clock,
            ledger=Ledger(self.reference, identifiers),
            identifiers=identifiers,
            reference=self.reference,
            budget=Budget(TIERS[tier], history_cost),
            faults=self.faults,
            neighbours=self.accounts,
        )
        account.ledger.open_with(opening or {})
        self.accounts[name] = self.by_key[api_key] = account
        return account

    def close_account(self, name: str) -> None:
        """Remove an account and its key."""
        account = self.account(name)
        del self.accounts[name]
        del self.by_key[account.key.key]

    def rotate_key(self, account: Account, api_key: str | None, api_secret: str | None) -> None:
        """Give an account another key or secret; a new key starts its nonces afresh."""
        if api_secret is not None:
            if not is_secret(api_secret):
                raise ControlError(f"expected a base64 secret for account {account.name!r}")
            account.key.secret = api_secret
        if api_key is not None and api_key != account.key.key:
            if api_key in self.by_key:
                raise ControlError("expected a new key, was one in use")
            del self.by_key[account.key.key]
            account.key.key, account.key.last_nonce = api_key, 0
            account.key.created = account.clock.now()
            account.key.used_nonces.clear()
            account.key.rejects.clear()
            account.key.locked_until = ZERO
            self.by_key[api_key] = account
        account.key.modified = account.clock.now()

    def clock_of(self, account_name: str | None) -> Clock:
        """Find a clock; an account that is named gets one of its own."""
        if account_name is None:
            return self.clock
        account = self.account(account_name)
        if not account.has_own_clock:
            account.clock = Clock(account.clock.mode, account.clock.virtual_now)
            account.has_own_clock = True
        return account.clock

    def statement(self, account: Account) -> dict[str, Any]:
        """Tell the truth about one account, whatever its key or the faults show."""
        now = account.clock.now()
        decimals = account.reference.decimals
        account.expire_orders(now)
        balances, holds = account.cash(now), account.holds(now)
        return {
            "account": account.name,
            "now": str(now),
            "ledger": [{"id": entry.ledger_id} | entry.wire() for entry in account.ledger.entries],
            "visible_entries": account.ledger.visible(now),
            "balances": {asset: f"{amount:.{decimals(asset)}f}" for asset, amount in balances.items()},
            "holds": {asset: f"{amount:.{decimals(asset)}f}" for asset, amount in holds.items()},
            "transfers": [_transfer(transfer) for transfer in account.transfers.values()],
            "residuals": {asset: str(amount) for asset, amount in account.residuals.items()},
            "orders": [_outcome(order) for order in account.orders.values()],
            "calls": dict(sorted(account.calls.items())),
            "refusals": dict(sorted(account.refusals.items())),
        }


def _transfer(transfer: Transfer) -> dict[str, Any]:
    return {
        "refid": transfer.refid,
        "kind": transfer.kind,
        "asset": transfer.asset,
        "amount": str(transfer.amount),
        "fee": str(transfer.fee),
        "state": transfer.state,
    }


def _outcome(order: Order) -> dict[str, Any]:
    return {
        "txid": order.order_id,
        "source": order.source,
        "status": order.status(order.closed or order.opened),
        "description": order.describe(),
        "userref": order.userref,
        "cl_ord_id": order.client_id,
        "executed": str(order.executed),
        "cost": str(sum((trade.cost for trade in order.trades), ZERO)),
        "fee": str(sum((trade.fee for trade in order.trades), ZERO)),
        "trades": [trade.trade_id for trade in order.trades],
    }
