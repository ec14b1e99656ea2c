"""Deposits and withdrawals of the Funding (Beta) API into values, as strictly as everything of Kraken's.

A deposit that Kraken has not valued yet has no amount; it explains nothing, and is left out.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kraken_recon.kraken.parse_account import ABSENT, Reader
from kraken_recon.ledger.asset_names import parse_kraken_code
from kraken_recon.ledger.transfers import Transfer
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from decimal import Decimal


def parse_transfers(result: object, *, endpoint: str, account: str = "") -> tuple[Transfer, ...]:
    """Read ``deposits`` or ``withdrawals``, in the order of the reply."""
    read = Reader(account, endpoint)
    rows = read.listing(read.mapping(result, "the reply").get(endpoint, ABSENT), endpoint, "a list")
    found = (_parse_transfer(read, row, f"{endpoint}.{n}") for n, row in enumerate(rows))
    return tuple(transfer for transfer in found if transfer is not None)


def _parse_transfer(read: Reader, value: object, field: str) -> Transfer | None:
    row = read.mapping(value, field)
    kind = read.endpoint.removesuffix("s")
    told = row.get("amount")
    if told is None:
        return None
    asset, amount = _parse_amount(read, told, f"{field}.amount")
    fee = row.get("fee")
    return Transfer(
        transfer_id=read.name(row.get(f"{kind}_id", ABSENT), f"{field}.{kind}_id"),
        is_deposit=kind == "deposit",
        asset=asset,
        amount=abs(amount),
        fee=abs(_parse_amount(read, fee, f"{field}.fee")[1]) if fee is not None else ZERO,
        state=read.name(row.get("status", ABSENT), f"{field}.status").lower(),
        begun_at=_parse_moment(read, row.get("create_time", ABSENT), f"{field}.create_time"),
    )


def _parse_amount(read: Reader, value: object, field: str) -> tuple[str, Decimal]:
    fields: dict[str, Any] = read.mapping(value, field)
    asset = read.mapping(fields.get("asset", ABSENT), f"{field}.asset")
    code = read.name(asset.get("name", ABSENT), f"{field}.asset.name")
    return parse_kraken_code(code).asset, read.amount(fields.get("amount", ABSENT), f"{field}.amount")


def _parse_moment(read: Reader, value: object, field: str) -> datetime:
    text = read.text(value, field)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        read.refuse(field, "a time of RFC 3339", text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
