"""The table of heartbeats; kept equal to the migrations by a test."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from kraken_recon.adapters.postgres.models import TIME, metadata

heartbeats: Final = sa.Table(
    "heartbeats",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("beat_at", TIME, nullable=False),
    sa.Column("limit_minutes", sa.Integer, nullable=False),
    sa.CheckConstraint("limit_minutes > 0", name="limit_is_a_time"),
)
