"""Tell Airflow what this project brings: the connection type ``kraken``, operators and the like, links.

Read by entry point in every process, so nothing here imports Airflow: what knows it is named.
"""

from __future__ import annotations

from typing import Any, Final

from kraken_recon.installed import DISTRIBUTION
from kraken_recon.kraken.credentials import CONNECTION_TYPE, KRAKEN_URL
from kraken_recon.kraken.egress_proxy import EXAMPLE
from kraken_recon.kraken.rate_limits import DEFAULT_TIER, TIERS

INTEGRATION: Final = "Kraken"
#: What each kind of part is made of.
MODULES: Final = {
    "operators": (
        "kraken_airflow.operators.desk_books",
        "kraken_airflow.operators.maintenance",
        "kraken_airflow.operators.order_execution",
        "kraken_airflow.operators.position_sync",
        "kraken_airflow.operators.repair_approval",
        "kraken_airflow.operators.session_leak_audit",
    ),
    "sensors": ("kraken_airflow.sensors.order_verification",),
    "hooks": (
        "kraken_airflow.hooks.desk_book",
        "kraken_airflow.hooks.kraken",
        "kraken_airflow.hooks.trading_db",
    ),
    "triggers": (
        "kraken_airflow.triggers.order_verification",
        "kraken_airflow.triggers.orders_ended",
    ),
}


def get_provider_info() -> dict[str, Any]:
    """Describe the parts, and the form of a connection to Kraken."""
    return {
        "package-name": DISTRIBUTION,
        "name": "Kraken reconciliation",
        "description": (
            "Reconciles a desk's positions with Kraken, places and verifies its orders. "
            "One connection per Kraken account: its API key, and where and how fast it may ask."
        ),
        "integrations": [
            {
                "integration-name": INTEGRATION,
                "external-doc-url": "https://docs.kraken.com/api/",
                "tags": ["service"],
            }
        ],
        **{
            kind: [{"integration-name": INTEGRATION, "python-modules": [*modules]}]
            for kind, modules in MODULES.items()
        },
        "extra-links": ["kraken_airflow.dag_parts.links.DashboardLink"],
        "connection-types": [
            {
                "connection-type": CONNECTION_TYPE,
                "hook-class-name": "kraken_airflow.hooks.kraken.KrakenHook",
                "hook-name": INTEGRATION,
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "port", "extra"],
                    "relabeling": {"login": "API key", "password": "Private key", "host": "Base URL"},
                    "placeholders": {
                        "login": "API key, as Kraken shows it",
                        "password": "private key, shown by Kraken once when the key is made",
                        "host": f"empty: {KRAKEN_URL}",
                    },
                },
                "conn-fields": {
                    "tier": {
                        "label": "Tier",
                        "description": (
                            "Verification level of the account; it decides how often Kraken may be asked. "
                            "unlimited is for a simulator only."
                        ),
                        "schema": {"type": "string", "enum": [*TIERS], "default": DEFAULT_TIER},
                    },
                    "proxy": {
                        "label": "Proxy",
                        "description": f"The way out to Kraken, such as {EXAMPLE}; empty: none of its own.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "proxy_login": {"label": "Proxy login", "schema": {"type": ["string", "null"]}},
                    "proxy_password": {
                        "label": "Proxy password",
                        "schema": {"type": ["string", "null"], "format": "password"},
                    },
                },
            }
        ],
    }
