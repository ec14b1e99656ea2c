"""What every store is: the named queries of one capability, inside one unit of work."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kraken_recon.database.unit_of_work import UnitOfWork


class Store:
    """Rows of one capability; it lives as long as the unit of work that it is made of."""

    def __init__(self, unit: UnitOfWork) -> None:
        self._unit = unit
        self._connection = unit.connection
