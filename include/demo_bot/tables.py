"""The bot's own tables, as such systems have them, and its book in them.

One row for each symbol, read, changed and written back under its lock; several columns that may not be empty
and that nothing fills by itself; truths as words.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

DIGITS: Final = 8
MARKET: Final = "CRYPTO"
# SQLite has no exact numbers; it would warn of each.
_AMOUNT: Final = sa.Numeric(18, DIGITS).with_variant(sa.Numeric(18, DIGITS, asdecimal=False), "sqlite")


class Table(DeclarativeBase):
    """What the tables have in common."""


class Account(Table):
    """One account, with its cash."""

    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(40))
    current_cash: Mapped[Decimal] = mapped_column(_AMOUNT)


class Position(Table):
    """What an account has of one symbol."""

    __tablename__ = "positions"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int]
    symbol: Mapped[str] = mapped_column(sa.String(20))
    name: Mapped[str] = mapped_column(sa.String(40))
    market: Mapped[str] = mapped_column(sa.String(20))
    version: Mapped[str] = mapped_column(sa.String(10))
    quantity: Mapped[Decimal] = mapped_column(_AMOUNT)
    available_quantity: Mapped[Decimal] = mapped_column(_AMOUNT)
    avg_cost: Mapped[Decimal | None] = mapped_column(_AMOUNT)
    is_active: Mapped[str] = mapped_column(sa.String(5))
    updated_at: Mapped[datetime | None]


class Order(Table):
    """One order of the desk's."""

    __tablename__ = "orders"
    order_no: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    account_id: Mapped[int]
    symbol: Mapped[str] = mapped_column(sa.String(20))
    side: Mapped[str] = mapped_column(sa.String(4))
    quantity: Mapped[Decimal] = mapped_column(_AMOUNT)
    filled_quantity: Mapped[Decimal] = mapped_column(_AMOUNT)
    price: Mapped[Decimal | None] = mapped_column(_AMOUNT)
    status: Mapped[str] = mapped_column(sa.String(20))
    updated_at: Mapped[datetime | None]


class Followed(Table):
    """Up to which ledger entry of Kraken's an account was followed."""

    __tablename__ = "followed"
    account_id: Mapped[int] = mapped_column(primary_key=True)
    ledger_id: Mapped[str] = mapped_column(sa.String(40))


def bot_engine(url: str) -> sa.Engine:
    """Reach the bot's database by its libpq address; no connection is kept."""
    return sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)


@dataclass(frozen=True, slots=True)
class TableBook:
    """The book of one account in these tables; each change is a transaction of its own."""

    engine: sa.Engine
    account_id: int = 1
    currency: str = "USD"
    digits: int = DIGITS

    def open_for(self, name: str) -> str | None:
        """Make the tables and the account where there are none; return the last ledger entry that it saw."""
        Table.metadata.create_all(self.engine)
        with Session(self.engine) as session, session.begin():
            if session.get(Account, self.account_id) is None:
                session.add(Account(id=self.account_id, name=name, current_cash=Decimal(0)))
            followed = session.get(Followed, self.account_id)
            return followed.ledger_id if followed else None

    def remember(self, ledger_id: str) -> None:
        """Keep up to where it followed."""
        with Session(self.engine) as session, session.begin():
            session.merge(Followed(account_id=self.account_id, ledger_id=ledger_id))

    def move(self, asset: str, change: Decimal) -> None:
        """Read what there is under its lock, change it, write it back."""
        with Session(self.engine) as session, session.begin():
            if asset == self.currency:
                account = session.get_one(Account, self.account_id, with_for_update=True)
                account.current_cash = _exact(account.current_cash) + change
                return
            mine = sa.select(Position).filter_by(account_id=self.account_id, market=MARKET, symbol=asset)
            row = session.scalars(mine.with_for_update()).first()
            if row is None:
                row = _new_position(self.account_id, asset)
                session.add(row)
            row.quantity = row.available_quantity = _exact(row.quantity) + change
            row.updated_at = datetime.now(UTC).replace(tzinfo=None)


def _new_position(account_id: int, asset: str) -> Position:
    return Position(
        account_id=account_id,
        symbol=asset,
        name=asset,
        market=MARKET,
        version="v1",
        quantity=Decimal(0),
        is_active="true",
    )


def _exact(amount: Decimal | float) -> Decimal:
    return round(Decimal(repr(amount)), DIGITS) if isinstance(amount, float) else amount
