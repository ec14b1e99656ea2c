"""The command that shows and answers alerts."""

from __future__ import annotations

from kraken_recon.alerts.heartbeat_store import HeartbeatStore
from kraken_recon.alerts.store import AlertStore
from kraken_recon.alerts.telling import alerts_view, render_alerts
from kraken_recon.cli.arguments import row_id
from kraken_recon.cli.command import Arguments, Result, argument, command, either
from kraken_recon.cli.trading_db import unit_of_work
from kraken_recon.errors import ConfigurationError
from kraken_recon.wiring import utc_now


def _named(text: str) -> int | str:
    return row_id(text) if text.isdecimal() else text


@command(
    "alerts",
    argument("--all", action="store_true", help="resolved ones too"),
    either(
        argument(
            "--acknowledge",
            type=_named,
            metavar="ID|KIND",
            help="say that somebody looks after it, or after all of a kind",
        ),
        argument(
            "--resolve", type=_named, metavar="ID|KIND", help="say that it is over, or all of a kind are"
        ),
    ),
    argument("--by", metavar="NAME", help="who answers"),
    argument("--note", metavar="TEXT", help="what to remember of it"),
)
def alerts(arguments: Arguments) -> Result:
    """Show alerts and how fresh each account is; answer an alert."""
    answered = arguments.acknowledge or arguments.resolve
    if answered and not arguments.by:
        raise ConfigurationError("say who answers: --by NAME")
    with unit_of_work() as unit:
        if answered:
            status = "acknowledged" if arguments.acknowledge else "resolved"
            count = AlertStore(unit).answer(answered, status, arguments.by, arguments.note)
            unit.commit()
        now = utc_now()
        jobs = HeartbeatStore(unit).heartbeats(now)
        view = alerts_view(AlertStore(unit), jobs, now, with_resolved=arguments.all)
    done = [f"{count:,} {status}"] if answered else []
    return view, [*done, *render_alerts(view)]
