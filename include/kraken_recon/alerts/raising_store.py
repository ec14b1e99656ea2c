"""The one place where alerts are raised; its statements are named queries of ``alerts.sql``.

Invariant: raising an alert waits for nobody. A person who looks at an alert in an open transaction must not
hold up the books that it is about; what cannot be written now is put off, and whoever raises alerts next
writes it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from kraken_recon.database.named_sql import load
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from kraken_recon.alerts.alert import Alert
    from kraken_recon.alerts.kinds import AlertKind

QUERIES: Final = {name: sa.text(query) for name, query in load(__file__, "alerts").items()}


def raise_alerts(connection: Connection, alerts: Sequence[Alert], *, is_counted: bool = True) -> None:
    """Open alerts, or see those again that are open, and count them; with them what was put off before."""
    connection.execute(
        QUERIES["raise_alerts"],
        {
            "kinds": [str(alert.kind) for alert in alerts],
            "account_ids": [alert.account_id for alert in alerts],
            "assets": [alert.asset for alert in alerts],
            "wallets": [alert.wallet for alert in alerts],
            "messages": [alert.message for alert in alerts],
            "evidence": [_evidence(alert) for alert in alerts],
            "is_counted": is_counted,
        },
    )


def keep_open(connection: Connection, kind: AlertKind, alerts: Sequence[Alert], now: datetime) -> None:
    """Keep exactly these alerts of a kind open, without counting how often they were looked at."""
    connection.execute(
        QUERIES["resolve_others"],
        {
            "kind": str(kind),
            "account_ids": [alert.account_id for alert in alerts],
            "assets": [alert.asset for alert in alerts],
            "wallets": [alert.wallet for alert in alerts],
            "now": now,
        },
    )
    raise_alerts(connection, alerts, is_counted=False)


def _evidence(alert: Alert) -> str:
    amount = {} if alert.amount is None else {"amount": format_amount(alert.amount)}
    return json.dumps({**alert.evidence, **amount})
