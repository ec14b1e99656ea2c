"""The commands of ``python -m kraken_recon`` that verify orders and show verdicts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kraken_recon.accounts.store import AccountStore
from kraken_recon.cli.arguments import COUNT_MAX, row_id, seconds, whole_number
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.verification.run import VerifyingRules
from kraken_recon.verification.store import VerificationStore
from kraken_recon.verification.verifying import verify_order
from kraken_recon.verification.view import (
    VERIFICATIONS_SHOWN_MAX,
    render_verification,
    render_verifications,
    verification_view,
    verifications_view,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import TypeAlias

    from kraken_recon.wiring import Wiring

    View: TypeAlias = tuple[dict[str, Any], list[str]]
    Command: TypeAlias = Callable[[str, Callable[[argparse.Namespace], View], str], argparse.ArgumentParser]

WAIT_SECONDS = 30.0


def add_verification_commands(command: Command, wiring: Callable[[], Wiring]) -> None:
    """Add the commands; ``wiring`` is called when one of them runs."""
    verified = command(
        "verify",
        lambda a: _verify(a, wiring()),
        "Verify an order that ended, and show every level's figures.",
    )
    verified.add_argument("--order", type=row_id, required=True, metavar="ID")
    verified.add_argument(
        "--wait", type=seconds, default=WAIT_SECONDS, metavar="SECONDS", help="for books that lag (30)"
    )
    listed = command(
        "verifications", lambda a: _list(a, wiring()), "Show an account's newest verdicts and failure rates."
    )
    listed.add_argument("--account", required=True, metavar="NAME")
    listed.add_argument(
        "--most",
        type=whole_number(1, COUNT_MAX),
        default=VERIFICATIONS_SHOWN_MAX,
        metavar="COUNT",
        help="how many orders (50)",
    )


def _verify(arguments: argparse.Namespace, wiring: Wiring) -> View:
    ports = wiring.verifying_ports()
    until = time.monotonic() + arguments.wait
    while not verify_order(ports, VerifyingRules(), arguments.order) and time.monotonic() < until:
        wiring.pause(1)
    with UnitOfWork(wiring.engine()) as unit:
        view = verification_view(VerificationStore(unit), arguments.order)
    return view, render_verification(view)


def _list(arguments: argparse.Namespace, wiring: Wiring) -> View:
    with UnitOfWork(wiring.engine()) as unit:
        AccountStore(unit).find_accounts([arguments.account])
        view = verifications_view(
            VerificationStore(unit), arguments.account, now=wiring.clock(), most=arguments.most
        )
    return view, render_verifications(view)
