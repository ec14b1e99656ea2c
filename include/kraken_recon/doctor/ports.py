"""What the doctor needs of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.desk_books.address import DeskAddress
    from kraken_recon.kraken.credentials import KrakenCredentials
    from kraken_recon.kraken.order_reading_client import OrderReadingClient


@dataclass(frozen=True, slots=True)
class DoctorPorts:
    """Ways to everything that is looked at; each of them may fail, and only its own checks with it.

    Attributes:
        environment: settings and connections, as commands read them.
        open_unit_of_work: a short session of the trading database.
        open_audited: the same of an audited server, by the id of its connection.
        own_sessions: says what stands before the trading database; fails where no session can be kept.
        credentials_of: an account's key, by the id of its connection.
        open_key: a client that gives up soon, for the account that the credentials are of.
        address_of: where a desk's database is, by the id of its connection.
    """

    environment: Mapping[str, str]
    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]]
    open_audited: Callable[[str], AbstractContextManager[UnitOfWork]]
    own_sessions: Callable[[], str]
    credentials_of: Callable[[str], KrakenCredentials]
    open_key: Callable[[KrakenCredentials, str], AbstractContextManager[OrderReadingClient]]
    address_of: Callable[[str], DeskAddress]
    clock: Callable[[], datetime]
