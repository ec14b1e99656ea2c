"""Sessions that desks keep, for speed alone: a new one costs more than most of what a test asks of it."""

from __future__ import annotations

import weakref

import sqlalchemy as sa

from kraken_recon.database.unit_of_work import DRIVER, SessionLimits, begin_within


def pooled_engine(url: str, *, owner: object) -> sa.Engine:
    """Make an engine with the product's limits that keeps its sessions as long as their owner lives."""
    engine = sa.create_engine(url.replace("postgresql://", DRIVER, 1))
    begin_within(engine, SessionLimits())
    weakref.finalize(owner, engine.dispose)
    return engine
