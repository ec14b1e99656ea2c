"""The one database that the properties share.

Every example works on an account of its own, so that no example sees another's rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from desks.fake_exchange import Desk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import NewDatabase


@pytest.fixture(scope="package")
def desk(new_database: NewDatabase) -> Iterator[Desk]:
    """Yield a desk on a database for all properties."""
    with new_database() as url:
        desk = Desk(url)
        yield desk
        desk.engine.dispose()
