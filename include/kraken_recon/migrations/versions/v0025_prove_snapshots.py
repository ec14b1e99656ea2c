"""Keep which proof a snapshot rests on; those of before rest on what was proven shortly before them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

PROVEN = """
update trading.asset_snapshots s
set proven_at = p.proven_at
from (
  select n.account_id, n.hour, max(r.reported_as_of) as proven_at
  from trading.asset_snapshots n
  join trading.accounts a using (account_id)
  join trading.reconciliation_runs r
    on r.account_id = n.account_id
    and r.mode = 'repair'
    and r.status = 'succeeded'
    and r.held + r.awaiting = 0
    and r.reported_as_of <= n.taken_at
    and r.reported_as_of >= n.taken_at - make_interval(mins => a.freshness_limit_minutes)
  group by n.account_id, n.hour
) p
where (s.account_id, s.hour) = (p.account_id, p.hour)
"""


def upgrade() -> None:
    """Apply the change."""
    op.add_column(
        "asset_snapshots",
        sa.Column("proven_at", sa.DateTime(timezone=True), nullable=True),
        schema="trading",
    )
    op.add_column(
        "asset_snapshots",
        sa.Column("revised_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        schema="trading",
    )
    op.execute(PROVEN)


def downgrade() -> None:
    """Take the change back."""
    op.drop_column("asset_snapshots", "revised_at", schema="trading")
    op.drop_column("asset_snapshots", "proven_at", schema="trading")
