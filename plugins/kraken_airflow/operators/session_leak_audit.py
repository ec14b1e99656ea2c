"""The tasks of ``session_leak_audit``: look at sessions and act as the form says; look at the watch."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk.log import mask_secret

from kraken_airflow.hooks.kraken import find_connection
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_airflow.operators.base import TradingDbOperator
from kraken_airflow.telemetry.metrics import metered, set_gauge
from kraken_airflow.watch_rounds import one_round
from kraken_recon.alerts.heartbeats import look_after_watch
from kraken_recon.alerts.silence_rules import Job
from kraken_recon.errors import ConfigurationError, StoreError
from kraken_recon.sessions.airflow_api import AirflowApi, NoAirflow, base_url
from kraken_recon.sessions.auditing import AuditRequest, audit, render_audit
from kraken_recon.sessions.rules.leaks import DEFAULT_ACTIONS, ActionPolicy, Thresholds
from kraken_recon.sessions.rules.records import AuditAction, AuditRule
from kraken_recon.settings import ALERT_CHANNELS, AUDITED_CONNECTIONS, TRADING_DB
from kraken_recon.wiring import source_of, utc_now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from kraken_recon.sessions.auditing import Airflow

GAUGES: Final = (
    "connections",
    "connections_limit",
    "sessions",
    "active",
    "idle",
    "idle_in_transaction",
    "waiting",
    "longest_wait_seconds",
    "unattributed",
    "excess",
    "findings",
)
RULES: Final = [str(rule) for rule in AuditRule]
ACTIONS: Final = [str(action) for action in AuditAction]
THRESHOLDS: Final = ("hold_seconds", "idle_seconds", "transaction_seconds", "wait_seconds")


class AuditSessionsOperator(TradingDbOperator):
    """Audit the sessions of the trading database, and of others; what is found is rows and an alert.

    Args:
        settings: the run's form as JSON; see the params of the DAG.
        airflow_conn_id: connection of type ``http`` to this Airflow's own API; without it the audit does not
            know whose task has ended.
    """

    template_fields = (*TradingDbOperator.template_fields, "settings", "airflow_conn_id")
    page = "database"
    READS = ("session_owners",)
    WRITES = ("session_owners", "session_samples", "session_findings", "session_actions", "alerts")

    def __init__(self, *, settings: str = "{}", airflow_conn_id: str = "airflow_api", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self.airflow_conn_id = airflow_conn_id

    def work(self, context: Context, hook: TradingDbHook) -> dict[str, int]:
        """Audit, log what is open, and return how much was found and done."""
        settings = json.loads(self.settings)
        ti = context["ti"]
        names = settings.get("connections") or [self.trading_conn_id]
        sources = [
            source_of(name, TradingDbHook(name).unit_of_work, is_ours=place == 0)
            for place, name in enumerate(names)
        ]
        with metered(hook.wiring()) as wiring:
            ports = wiring.audit_ports(sources, self._airflow(), acted_by=f"{ti.dag_id} {ti.run_id}")
            view = audit(request_of(settings), ports)
        self.leave_heartbeat(Job.SESSION_LEAK_AUDIT)
        self.tell(render_audit(view))
        _publish(view)
        if view["failed"]:
            raise StoreError(f"not seen: {'; '.join(view['failed'])}")
        return {
            "findings": len(view["findings"]),
            "acted": sum(source["acted"] for source in view["sources"]),
        }

    def _airflow(self) -> Airflow:
        try:
            connection = find_connection(self.airflow_conn_id)
        except ConfigurationError as error:
            self.log.warning("it stays unknown whose task has ended: %s", error)
            return NoAirflow()
        try:
            url = base_url(connection.host, connection.port, connection.schema)
        except ValueError as error:
            raise ConfigurationError(f"connection {self.airflow_conn_id}: {error}") from error
        if connection.password:
            mask_secret(connection.password)
        return AirflowApi(url, connection.login or "", connection.password or "")


def audited_connections(environment: Mapping[str, str]) -> list[str]:
    """Name the connections whose sessions are looked at, the trading database first."""
    return AUDITED_CONNECTIONS.listed(environment) or [TRADING_DB.name]


def request_of(settings: Mapping[str, Any]) -> AuditRequest:
    """Read the form.

    Raises:
        ConfigurationError: it names a rule or an action that does not exist.
    """
    try:
        changed = {
            AuditRule(rule): AuditAction(action) for rule, action in (settings.get("policy") or {}).items()
        }
    except ValueError as error:
        raise ConfigurationError(f"policy: {error}; see docs/runbooks/session_leak_audit.md") from error
    return AuditRequest(
        ActionPolicy(
            most={**DEFAULT_ACTIONS, **changed},
            actions_max=settings.get("actions_max", ActionPolicy().actions_max),
            is_dry_run=settings.get("dry_run", True),
        ),
        Thresholds(**{name: settings[name] for name in THRESHOLDS if name in settings}),
    )


def _publish(view: Mapping[str, Any]) -> None:
    for source in view["sources"]:
        for name in GAUGES:
            if source[name] is not None:
                set_gauge(f"sessions.{name}", source[name], source=source["source"])


class CheckWatchOperator(TradingDbOperator):
    """Look whether the watch is alive; tell people in its place while it is not.

    The watch is what sends alerts, so that its own silence would be a row that nobody is told of. One round
    of its work is done here: two who tell at once do not tell twice.
    """

    page = "wants"
    READS = ("heartbeats",)
    WRITES = ("alerts", "alert_episodes", "alert_notifications")

    def work(self, _: Context, hook: TradingDbHook) -> bool:
        """Look once; return whether the watch is alive."""
        silent = look_after_watch(hook.unit_of_work, utc_now())
        if not silent:
            self.tell(["The watch is alive, or was never started"])
            return True
        channels = ALERT_CHANNELS.listed(os.environ)
        self.log.warning("%s; telling %s in its place", silent[0].message, ", ".join(channels) or "nobody")
        one_round(channels)
        return False
