"""The page about everything that can be configured, from the tables of settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraken_recon import settings as declared
from local_stack.settings import VARIABLES
from reference_pages.markdown import code, page, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kraken_recon.settings import ConnectionSetting, Setting


def settings() -> str:
    """Write the page."""
    return page(
        "Configuration",
        "Every name that the code reads. What a run does is decided by [DAG parameters](dags.md); what "
        "is asked of an "
        "account, by `account set` and `account tolerate` ([command line](command-line.md)).",
        "## Environment variables",
        _table("variable", declared.ENVIRONMENT),
        "`AIRFLOW_CONN_<ID>` gives a connection to Airflow and to the command line, as JSON or as a URI.",
        "## Airflow Variables",
        _table("variable", declared.VARIABLES),
        "## Connections",
        *map(_connection, declared.CONNECTIONS),
        "## Pools and queues",
        _table("pool", (declared.POOL, declared.DESK_POOL)),
        _table("queue", (declared.EXCHANGE_QUEUE, declared.DEFAULT_QUEUE)),
        "## The local stack: make demo, make test",
        table(("variable", "meaning", "default"), ((code(v.name), v.meaning, v.default) for v in VARIABLES)),
    )


def _table(kind: str, listed: Sequence[Setting]) -> str:
    rows = ((code(s.name), s.meaning, s.default, s.read_by) for s in listed)
    return table((kind, "meaning", "default", "read by"), rows)


def _connection(setting: ConnectionSetting) -> str:
    fields = table(("field", "meaning"), setting.fields)
    return f"### {setting.name}\n\nType `{setting.conn_type}`. {setting.meaning}\n\n{fields}"
