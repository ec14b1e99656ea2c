"""The command ``contradictions``: what Kraken tells otherwise than it is on record, and how to accept it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kraken_recon.accounts.store import AccountStore
from kraken_recon.errors import ConfigurationError
from kraken_recon.repairs.contradictions import (
    accept,
    contradictions_view,
    find_contradictions,
    render_contradictions,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import TypeAlias

    from kraken_recon.wiring import Wiring

    View: TypeAlias = tuple[dict[str, Any], list[str]]
    Command: TypeAlias = Callable[[str, Callable[[argparse.Namespace], View], str], argparse.ArgumentParser]


def add_contradictions_command(command: Command, wiring: Callable[[], Wiring]) -> None:
    """Add ``contradictions``."""
    added = command(
        "contradictions",
        lambda arguments: _contradictions(arguments, wiring()),
        "Show what Kraken tells otherwise than it is on record, or accept it.",
    )
    added.add_argument("--account", required=True, metavar="NAME")
    added.add_argument("--entry", metavar="ID", help="look around this entry, not around the newest")
    added.add_argument("--accept", metavar="ID", help="take this entry over as Kraken tells it, as a plan")
    added.add_argument("--by", metavar="NAME", help="who decides")
    added.add_argument("--note", metavar="TEXT", help="why; kept with the plan")


def _contradictions(arguments: argparse.Namespace, wiring: Wiring) -> View:
    ports = wiring.sync_ports()
    with ports.open_unit_of_work() as unit:
        account = AccountStore(unit).find_accounts([arguments.account])[0]
    if arguments.accept is None:
        view = contradictions_view(account.name, find_contradictions(account, ports, arguments.entry))
        return view, render_contradictions(view)
    if not (arguments.by and arguments.note):
        raise ConfigurationError("--accept needs --by and --note: who decides, and why")
    plan_id = accept(account, arguments.accept, arguments.by, arguments.note, ports)
    return {"account": account.name, "plan_id": str(plan_id)}, [
        f"{arguments.accept} is on record as Kraken tells it",
        f"to undo: python -m kraken_recon plan undo {plan_id}",
    ]
