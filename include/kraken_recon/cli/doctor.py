"""The command that says what is wrong with an installation."""

from __future__ import annotations

from kraken_recon.cli.books import desk_address_of
from kraken_recon.cli.command import Arguments, Result, command
from kraken_recon.cli.trading_db import credentials_of, direct_dsn, dsn_of, environment
from kraken_recon.doctor.examining import examine
from kraken_recon.doctor.view import render_examination
from kraken_recon.wiring import doctor_ports


@command("doctor")
def doctor(_: Arguments) -> Result:
    """Say what is wrong with this installation, and what to do."""
    view = examine(doctor_ports(environment(), dsn_of, direct_dsn, credentials_of, desk_address_of))
    return view, render_examination(view)
