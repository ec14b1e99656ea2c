"""Tell Airflow about the connection type ``kraken``; read by entry point, so nothing here imports Airflow."""

from __future__ import annotations

from typing import Any

from kraken_recon.kraken.credentials import CONNECTION_TYPE, KRAKEN_URL
from kraken_recon.kraken.egress_proxy import EXAMPLE
from kraken_recon.kraken.rate_limits import DEFAULT_TIER, TIERS


def get_provider_info() -> dict[str, Any]:
    """Describe the connection form; the hook is named, not imported, because only the shell knows Airflow."""
    return {
        "package-name": "kraken-recon",
        "name": "Kraken reconciliation",
        "description": "One connection per Kraken account: its API key, and where and how fast it may ask.",
        "connection-types": [
            {
                "connection-type": CONNECTION_TYPE,
                "hook-class-name": "kraken_airflow.hooks.kraken.KrakenHook",
                "hook-name": "Kraken",
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
