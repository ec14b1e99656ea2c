"""The commands that verify orders and show verdicts."""

from __future__ import annotations

import time
from typing import Final

from kraken_recon.accounts.store import AccountStore
from kraken_recon.cli.arguments import COUNT_MAX, seconds, whole_number
from kraken_recon.cli.command import ACCOUNT, Arguments, Result, argument, command
from kraken_recon.cli.orders import ORDER
from kraken_recon.cli.trading_db import unit_of_work, wired
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
from kraken_recon.wiring import utc_now

WAIT_SECONDS: Final = 30.0


@command(
    "verify",
    ORDER,
    argument("--wait", type=seconds, default=WAIT_SECONDS, metavar="SECONDS", help="for books that lag (30)"),
)
def verify(arguments: Arguments) -> Result:
    """Verify an order that ended, and show every level's figures."""
    wiring = wired()
    ports = wiring.verifying_ports()
    until = time.monotonic() + arguments.wait
    while not verify_order(ports, VerifyingRules(), arguments.order) and time.monotonic() < until:
        wiring.pause(1)
    with unit_of_work() as unit:
        view = verification_view(VerificationStore(unit), arguments.order)
    return view, render_verification(view)


@command(
    "verifications",
    ACCOUNT,
    argument(
        "--most",
        type=whole_number(1, COUNT_MAX),
        default=VERIFICATIONS_SHOWN_MAX,
        metavar="COUNT",
        help="how many orders (50)",
    ),
)
def verifications(arguments: Arguments) -> Result:
    """Show an account's newest verdicts and failure rates."""
    with unit_of_work() as unit:
        AccountStore(unit).find_accounts([arguments.account])
        view = verifications_view(
            VerificationStore(unit), arguments.account, now=utc_now(), most=arguments.most
        )
    return view, render_verifications(view)
