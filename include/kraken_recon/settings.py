"""Every setting that the project reads, named once; ``docs/reference/configuration.md`` is made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Setting:
    """One named setting.

    Attributes:
        name: as a person writes it.
        meaning: what it decides.
        default: what holds where it is not set.
        read_by: who looks at it.
    """

    name: str
    meaning: str
    default: str = ""
    read_by: str = ""

    def listed(self, environment: Mapping[str, str]) -> list[str]:
        """Read names separated by commas, each once; none where nothing is named."""
        names = (name.strip() for name in environment.get(self.name, "").split(","))
        return list(dict.fromkeys(name for name in names if name))


@dataclass(frozen=True, slots=True)
class ConnectionSetting:
    """One Airflow connection, by its type and the fields that are read; any other field is ignored."""

    name: str
    conn_type: str
    meaning: str
    fields: tuple[tuple[str, str], ...]


DSN: Final = Setting(
    "KRAKEN_RECON_DSN",
    "Address of the trading database, such as `postgresql://user@host:5432/trading`.",
    read_by="command line",
)
DSN_FILE: Final = Setting(
    "KRAKEN_RECON_DSN_FILE",
    "A file that holds that address, so that no password is in a variable. Read where the other is not set.",
    read_by="command line",
)
DIRECT_DSN: Final = Setting(
    "KRAKEN_RECON_DIRECT_DSN",
    "Address of the same database past a pooler that pools by transaction: call slots and what else needs a "
    "session of its own go there.",
    read_by="command line",
)
DIRECT_DSN_FILE: Final = Setting(
    "KRAKEN_RECON_DIRECT_DSN_FILE",
    "A file that holds that address. Read where the other is not set.",
    read_by="command line",
)
ALLOWED_HOSTS: Final = Setting(
    "KRAKEN_RECON_ALLOWED_HOSTS",
    "Hosts to which API keys may be sent, separated by commas. A connection to any other is refused, so that "
    "a changed connection cannot harvest signatures.",
    default="api.kraken.com",
    read_by="tasks, triggerer, Test button, command line",
)
EGRESS_PROXY: Final = Setting(
    "KRAKEN_RECON_EGRESS_PROXY",
    "The proxy by which every call to Kraken leaves, such as `http://proxy.internal:3128`, without a login. "
    "`HTTPS_PROXY` and the like are never looked at.",
    default="none",
    read_by="tasks, triggerer, Test button, command line",
)
ALERT_CHANNELS: Final = Setting(
    "KRAKEN_RECON_ALERT_CHANNELS",
    "Ids of the Airflow connections by which people are told of alerts, separated by commas.",
    default="nobody is told",
    read_by="watch",
)
AUDITED_CONNECTIONS: Final = Setting(
    "KRAKEN_RECON_AUDITED_CONNECTIONS",
    "Ids of the Airflow connections whose sessions are audited, separated by commas. The first leads to the "
    "trading database; others, such as Airflow's own database, are reported on and never touched.",
    default="`trading_db`",
    read_by="`session_leak_audit`",
)
RUNBOOK_URL: Final = Setting(
    "KRAKEN_RECON_RUNBOOK_URL",
    "Where your runbooks are published; `{name}` stands for a runbook's name. DAG descriptions and their "
    "owner's link lead there.",
    default="the dashboard's own copy",
    read_by="DAG files, pages",
)
ANNOUNCED_ACCOUNTS: Final = Setting(
    "KRAKEN_RECON_ANNOUNCED_ACCOUNTS",
    "Accounts whose proofs other DAGs can wait for one by one, separated by commas.",
    default="the first hundred by name",
    read_by="`position_sync`",
)
LINEAGE_DATABASE: Final = Setting(
    "KRAKEN_RECON_LINEAGE_DATABASE",
    "Where the trading database lies as its clients name it, `postgres://host:port/database`: OpenLineage "
    "names tables by it, and nothing connects to it.",
    default="postgres://trading-db:5432/trading",
    read_by="DAG files",
)
MARKET_ORDER_MINUTES: Final = Setting(
    "KRAKEN_RECON_MARKET_ORDER_MINUTES",
    "How old a decision may be when its order leaves, where it does not say so itself: of market, stop-loss "
    "and take-profit orders, and of limit orders that are IOC or FOK. What is older is refused.",
    default="5",
    read_by="`order_execution`, command line",
)
LIMIT_ORDER_MINUTES: Final = Setting(
    "KRAKEN_RECON_LIMIT_ORDER_MINUTES",
    "The same, of limit orders that may rest.",
    default="1440",
    read_by="`order_execution`, command line",
)
PRICE_DEVIATION_PERCENT: Final = Setting(
    "KRAKEN_RECON_PRICE_DEVIATION_PERCENT",
    "By how much the price may be worse than a decision's `expected_price` when it leaves, in percent.",
    default="5",
    read_by="`order_execution`, command line",
)
DESK_BOOKS: Final = Setting(
    "KRAKEN_RECON_DESK_BOOKS",
    "The folder with one YAML file per desk book: which tables of the desk's own are compared with what is "
    "proven.",
    default="`desk_books/` beside `dags/`",
    read_by="`position_sync`, pages, watch, command line",
)
KNOWN_TROUBLE: Final = Setting(
    "KRAKEN_RECON_KNOWN_TROUBLE",
    "Accounts of whose key or connection it is known that it does not work, separated by commas: `doctor` "
    "warns of them, and counts them as nothing wrong.",
    default="none",
    read_by="`doctor`",
)
AIRFLOW_DAYS_KEPT: Final = Setting(
    "KRAKEN_RECON_AIRFLOW_DAYS_KEPT",
    "For how many days Airflow keeps what it records of itself: runs, tries, XComs, its audit log. "
    "`maintenance` deletes what is older, once a day, by `airflow db clean` and the connection "
    "`airflow_db_clean`.",
    default="nothing is deleted",
    read_by="`maintenance`",
)
SYNC_SLOTS: Final = Setting(
    "KRAKEN_RECON_SYNC_SLOTS",
    "How many tasks that reconcile accounts run at a time: the slots of the pool `kraken_api`, or fewer "
    "where the workers have fewer. The forecast of a run is made by it.",
    default="8",
    read_by="`position_sync`, command line",
)
QUIET_RUNS_DAYS_KEPT: Final = Setting(
    "KRAKEN_RECON_QUIET_RUNS_DAYS_KEPT",
    "For how many days every run is kept in which nothing happened; of an older day the last proof of each "
    "account stays, and so does every run that found, wrote or was referred to by something.",
    default="all are kept for ever",
    read_by="`maintenance`",
)
# Every setting above.
ENVIRONMENT: Final = tuple(value for value in tuple(globals().values()) if isinstance(value, Setting))

APPROVAL_HOURS: Final = Setting(
    "repair_approval_hours",
    "How long a person may take to answer about a held repair; no answer in time means no.",
    default="24",
    read_by="`repair_approval`",
)
APPROVERS: Final = Setting(
    "repair_approvers",
    'Who may answer, as a JSON list of user names, such as `["ann", "bob"]`.',
    default="everybody who may edit the DAG",
    read_by="`repair_approval`",
)
VARIABLES: Final = (APPROVAL_HOURS, APPROVERS)

TRADING_DB: Final = ConnectionSetting(
    "trading_db",
    "postgres",
    "The trading database, for tasks, pages and the watch.",
    (
        (
            "host, port",
            "the server, or several separated by commas, each with a port of its own (`a:5432,b:5433`) or "  # noqa: ISC004
            "all with this one; a host that begins with `/` is a socket's directory",
        ),
        ("login, password", "its role"),
        ("schema", "the database's name; required"),
        (
            "extra",
            "what libpq knows, such as `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, "  # noqa: ISC004
            "`target_session_attrs`; anything else is refused by name",
        ),
    ),
)
TRADING_DB_DIRECT: Final = ConnectionSetting(
    "trading_db_direct",
    "postgres",
    "The same database past a pooler that pools by transaction, for what needs a session of its own: call "
    "slots, the wake-ups of verifications, writes to desk books. Needed there alone.",
    (("all", "as of `trading_db`"),),
)
KRAKEN_ACCOUNT: Final = ConnectionSetting(
    "any, named by an account",
    "kraken",
    "One account at Kraken, for tasks and the command line.",
    (
        ("login", "the API key"),
        ("password", "the private key; never shown again, masked in logs"),
        ("host", "empty: Kraken itself; otherwise a host or URL out of `KRAKEN_RECON_ALLOWED_HOSTS`"),
        (
            "extra",
            "`tier`: how often Kraken lets it ask; `proxy` or `none`, `proxy_login`, `proxy_password`",
        ),
    ),
)
AIRFLOW_API: Final = ConnectionSetting(
    "airflow_api",
    "http",
    "Airflow's own REST API, for the session audit to learn which tasks have ended. Optional.",
    (
        ("host, port, schema", "where the API server answers"),
        ("login, password", "a user who may read DAG runs and task instances"),
    ),
)
AIRFLOW_DB_AUDIT: Final = ConnectionSetting(
    "airflow_db_audit",
    "postgres",
    "Airflow's own database, for the session audit to look at; `KRAKEN_RECON_AUDITED_CONNECTIONS` names it. "
    "Optional.",
    (("all", "as of `trading_db`"),),
)
AIRFLOW_DB_CLEAN: Final = ConnectionSetting(
    "airflow_db_clean",
    "postgres",
    "Airflow's own database, for `maintenance` to delete old records from; only where "
    "`KRAKEN_RECON_AIRFLOW_DAYS_KEPT` is set. Its role must own Airflow's tables.",
    (("all", "as of `trading_db`"),),
)
CHANNEL: Final = ConnectionSetting(
    "each named in `KRAKEN_RECON_ALERT_CHANNELS`",
    "smtp, slackwebhook or http",
    "A way to tell people of alerts, for the watch.",
    (
        ("extra of smtp", "`to_email` says who is told, `from_email` by whom"),
        ("password of slackwebhook", "the token of an incoming webhook"),
        ("host, extra of http", "the address, and `path`"),
        ("password of http", "signs each message"),
    ),
)
CONNECTIONS: Final = (
    *(TRADING_DB, TRADING_DB_DIRECT, KRAKEN_ACCOUNT, AIRFLOW_API),
    *(AIRFLOW_DB_AUDIT, AIRFLOW_DB_CLEAN, CHANNEL),
)

POOL: Final = Setting(
    "kraken_api",
    "Tasks that call Kraken take a slot of it: how many may do so at the same time. It must exist.",
    default="8 in the demo and in docker-compose.yaml",
    read_by="every task that calls Kraken",
)
DESK_POOL: Final = Setting(
    "desk_books",
    "Tasks that judge desk books take a slot of it: how many are judged at the same time. It must exist "
    "where a desk book is declared.",
    default="4 in the demo and in docker-compose.yaml",
    read_by="`position_sync`",
)
EXCHANGE_QUEUE: Final = Setting(
    "exchange",
    "Where tasks that call Kraken run, on executors with queues; only its workers need a way out.",
    read_by="every task that calls Kraken",
)
DEFAULT_QUEUE: Final = Setting("default", "Where every other task runs.", read_by="every other task")


def connection_variable(conn_id: str) -> str:
    """Name the environment variable in which Airflow, and the command line, find a connection."""
    return f"AIRFLOW_CONN_{conn_id.upper()}"
