"""Add accounts, and say what is asked of each: at rest or not, how fresh, how exact."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.errors import ConfigurationError
from kraken_recon.ledger.asset_names import QUOTE_CURRENCIES, parse_kraken_code
from kraken_recon.ledger.entries import SPOT
from kraken_recon.values.money import format_amount, parse_amount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kraken_recon.accounts.store import AccountStore

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
# What an environment variable can spell: AIRFLOW_CONN_ and the id in capitals.
_CONNECTION: Final = re.compile(r"[A-Za-z0-9_]{1,200}")


def add_account(store: AccountStore, name: str, kraken_conn_id: str, quote_currency: str) -> bool:
    """Add an account; False when exactly this one is there already.

    Raises:
        ConfigurationError: a field is not usable, or another account has the name or the connection.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"expected a name of letters, digits, spaces, . _ and -, was {name!r}")
    connection, quote = checked_connection(kraken_conn_id), quote_of(quote_currency)
    if store.add(name, connection, quote):
        return True
    for other in store.namesakes(name, connection):
        same = (other["name"], other["kraken_conn_id"], other["quote_currency"]) == (name, connection, quote)
        if not same:
            raise ConfigurationError(
                f"account {other['name']} is there already, with connection {other['kraken_conn_id']} and "
                f"{other['quote_currency']}; an account has its own name and its own connection"
            )
    return False


def checked_connection(kraken_conn_id: str) -> str:
    """Return the id of an Airflow connection.

    Raises:
        ConfigurationError: it could not be set by a variable.
    """
    if not _CONNECTION.fullmatch(kraken_conn_id):
        raise ConfigurationError(
            f"expected the id of a connection, of letters, digits and _, was {kraken_conn_id!r}"
        )
    return kraken_conn_id


def asset_of(code: str) -> str:
    """Return an asset's normalised code, whatever of Kraken's spellings was given.

    Raises:
        ConfigurationError: it is empty, or names a wallet.
    """
    key = parse_kraken_code(code.strip().upper())
    if not key.asset.isalnum() or key.wallet != SPOT:
        raise ConfigurationError(f"expected an asset such as USD or BTC, was {code!r}")
    return "BTC" if key.asset == "XBT" else key.asset


def quote_of(code: str) -> str:
    """Return the normalised code of a currency in which Kraken's markets quote.

    Raises:
        ConfigurationError: nothing has a price in it, so that an account would never be valued.
    """
    asset = asset_of(code)
    if asset not in QUOTE_CURRENCIES:
        near = get_close_matches(asset, QUOTE_CURRENCIES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigurationError(
            f"Kraken prices nothing in {asset}; {hint}expected one of {', '.join(QUOTE_CURRENCIES)}"
        )
    return asset


def accounts_view(store: AccountStore) -> dict[str, Any]:
    """Collect every account, with what was set for it."""
    return {"accounts": [_plain(row) for row in store.every()]}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    tolerances = [
        {**t, **{name: format_amount(parse_amount(t[name])) for name in ("quantity", "value") if t[name]}}
        for t in row["tolerances"]
    ]
    opened = row["opened_at"].isoformat() if row["opened_at"] else None
    return {**row, "opened_at": opened, "tolerances": tolerances}


def render_accounts(view: Mapping[str, Any]) -> Sequence[str]:
    """Write the accounts for a terminal."""
    lines = []
    for account in view["accounts"]:
        opened = f"opened {account['opened_at'][:10]}" if account["opened_at"] else "not opened yet"
        state = "active" if account["is_active"] else "paused"
        lines.append(
            f"{account['name']}: {state}, {opened}, connection {account['kraken_conn_id']}, "
            f"{account['quote_currency']}, proven at least every {account['freshness_limit_minutes']} min"
        )
        for tolerance in account["tolerances"]:
            value = f" or {tolerance['value']} {account['quote_currency']}" if tolerance["value"] else ""
            lines.append(f"  {tolerance['asset']}: {tolerance['quantity']}{value} is left alone")
    return lines or ["no account yet: add one with `python -m kraken_recon account add`"]
