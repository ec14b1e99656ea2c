"""Take a database of 0.2.0 to what ``schema_0_3_0.sql`` tells.

Until 0.3.0 is cut that file is edited in place, as ``schema.sql`` was before 0.2.0.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    change = Path(__file__).parents[1] / "schema_0_3_0.sql"
    op.get_bind().exec_driver_sql(change.read_text(encoding="utf-8").replace("%", "%%"))


def downgrade() -> None:
    """Take the change back: what was sealed is known no more."""
    op.execute("drop function trading.note_added_rows, trading.note_finished_row cascade")
    op.execute("drop table trading.seals, trading.seals_due")
    op.execute("drop function trading.thin_runs")
    op.execute("drop index trading.ix_desk_writes_run_id")
