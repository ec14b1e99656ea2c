"""The one database that the properties share.

Every example works on an account of its own, so that no example sees another's rows.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from desks.fake_exchange import Desk
from kraken_recon.database.unit_of_work import SessionLimits, driver_dsn

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg


@pytest.fixture(scope="package")
def desk(postgres_url: str, postgres_admin: psycopg.Connection, template_database: str) -> Iterator[Desk]:
    """Yield a desk on a database for all properties; its sessions are pooled, for speed alone."""
    name = f"recon_properties_{secrets.token_hex(6)}"
    postgres_admin.execute(f'create database "{name}" template "{template_database}" strategy file_copy')
    desk = Desk(urlsplit(postgres_url)._replace(path=f"/{name}").geturl())
    desk.engine = sa.create_engine(driver_dsn(desk.url), connect_args={"options": SessionLimits().options()})
    yield desk
    desk.engine.dispose()
    postgres_admin.execute(f'drop database "{name}" with (force)')
