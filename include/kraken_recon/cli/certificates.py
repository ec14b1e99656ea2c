"""The commands that prove positions on paper, and check such a proof."""

from __future__ import annotations

import json
from pathlib import Path

from kraken_recon.certificates.certifying import certify, render_summary, summary, verify
from kraken_recon.certificates.store import CertificateStore
from kraken_recon.cli.arguments import moment
from kraken_recon.cli.command import ACCOUNT, Arguments, Result, argument, command
from kraken_recon.cli.trading_db import unit_of_work
from kraken_recon.errors import CertificateError, ConfigurationError
from kraken_recon.wiring import utc_now


@command(
    "certify",
    ACCOUNT,
    argument("--at", type=moment, required=True, metavar="TIME", help="the moment to prove"),
    argument("--output", type=Path, metavar="FILE", help="default: standard output"),
)
def certify_position(arguments: Arguments) -> Result:
    """Prove an account's positions at a moment, as one document."""
    with unit_of_work() as unit:
        document = certify(CertificateStore(unit), arguments.account, arguments.at, now=utc_now())
    text = json.dumps(document, indent=2)
    if arguments.output is None:
        return document, text.splitlines()
    try:
        arguments.output.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write {arguments.output}: {error.strerror}") from error
    view = {**summary(document), "file": str(arguments.output)}
    return view, [*render_summary(view), f"written to {arguments.output}"]


@command("verify-certificate", argument("file", type=Path, metavar="FILE"))
def verify_certificate(arguments: Arguments) -> Result:
    """Check a certificate from its file alone, offline."""
    try:
        text = arguments.file.read_bytes()
    except OSError as error:
        raise CertificateError(f"cannot read {arguments.file}: {error.strerror}") from error
    view = verify(text)
    return view, render_summary(view)
