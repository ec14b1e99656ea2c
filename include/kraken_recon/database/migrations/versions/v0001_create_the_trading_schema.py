"""Create the trading schema as ``schema.sql`` tells it.

Nothing was released before it: until the first release ``schema.sql`` is edited in place. Its number is
that of the last of the steps that led here, so that a database which took those is up to date.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0027"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    schema = Path(__file__).parents[1] / "schema.sql"
    op.get_bind().exec_driver_sql(schema.read_text(encoding="utf-8").replace("%", "%%"))


def downgrade() -> None:
    """Take the change back: every table, view and function goes, with all rows."""
    op.execute(
        """
        do $$
        declare
          relation record;
        begin
          for relation in
            select quote_ident(relname) as name, case relkind when 'v' then 'view' else 'table' end as kind
            from pg_class
            where relnamespace = 'trading'::regnamespace and relkind in ('r', 'p', 'v')
              and not relispartition and relname <> 'alembic_version'
          loop
            execute 'drop ' || relation.kind || ' if exists trading.' || relation.name || ' cascade';
          end loop;
          for relation in
            select oid::regprocedure::text as name from pg_proc where pronamespace = 'trading'::regnamespace
          loop
            execute 'drop function if exists ' || relation.name || ' cascade';
          end loop;
        end
        $$
        """
    )
    op.execute("drop function if exists trading.incarnation()")
