"""Refuse a trading schema that this release was not written for, before anything is read from it.

A release works on one revision of the schema: neither on an older one, which lacks what is read, nor on a
newer one, whose meaning it cannot know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakSet

import sqlalchemy as sa

from kraken_recon.errors import SchemaMismatchError
from kraken_recon.installed import DISTRIBUTION, version

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

# The newest file of migrations/versions, without reading them all in every task.
REVISION: Final = "0028"
_FOUND: Final = sa.text("select version_num from trading.alembic_version")
_CHECKED: Final[WeakSet[Engine]] = WeakSet()


def check_revision(connection: Connection) -> None:
    """Ask once per engine for the schema's revision.

    Raises:
        SchemaMismatchError: it is another; the message names both, and what to do.
    """
    if connection.engine in _CHECKED:
        return
    found = connection.execute(_FOUND).scalar()
    connection.rollback()
    refuse_other(found)
    _CHECKED.add(connection.engine)


def refuse_other(found: str | None, *, may_be_older: bool = False) -> None:
    """Refuse a revision that is not ours; an older one may be meant to be brought up to date."""
    if found is not None and found > REVISION:
        raise SchemaMismatchError(
            f"the trading schema is at revision {found}, and this release ({DISTRIBUTION} {version()}) knows "
            f"none later than {REVISION}: a newer release has migrated it; install that one here, or restore "
            "a backup from before"
        )
    if found != REVISION and not may_be_older:
        raise SchemaMismatchError(
            f"the trading schema is at revision {found or 'none'}, and this release ({DISTRIBUTION} "
            f"{version()}) needs {REVISION}; run `python -m kraken_recon migrate`"
        )
