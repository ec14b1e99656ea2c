"""Certify an account's positions as of a moment, and check a certificate without anything but its file.

Invariants:
1. Everything in a certificate is read in one snapshot of the database.
2. No certificate is handed out that does not pass its own check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kraken_recon.certificates.rules.build_and_check import (
    CertificateEvidence,
    HoldingEvidence,
    IncompleteChainError,
    build_certificate,
    check_certificate,
)
from kraken_recon.certificates.rules.format import read_document, write_time
from kraken_recon.errors import CertificateError
from kraken_recon.installed import version
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.values.cycle_search import no_cycle_search
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from kraken_recon.certificates.store import CertificateStore
    from kraken_recon.reconciliation.rules.assess import Discrepancy


@no_cycle_search()
def certify(records: CertificateStore, account: str, at: datetime, *, now: datetime) -> dict[str, Any]:
    """Write the certificate of an account's positions as of ``at``.

    Raises:
        CertificateError: what is on record proves nothing of that moment; the message says why.
        ConfigurationError: there is no such account.
    """
    if at > now:
        raise CertificateError(f"nothing can be proved of {write_time(at)}: it is still to come")
    records.begin_snapshot()
    account_id, opening_source = records.account(account)
    runs = records.proving_runs(account_id, at)
    if opening_source is None or not runs:
        raise CertificateError(
            f"no reconciliation of {account} succeeded at or before {write_time(at)}; run "
            f"`python -m kraken_recon sync --account {account}`, or ask for a later moment"
        )
    evidence = CertificateEvidence(
        account=account,
        at=at,
        issued_at=now,
        opening_source=opening_source,
        code_version=version(),
        schema_version=records.schema_version(),
        runs=runs,
        holdings=_with_findings(records.holdings(account_id, at, runs[0]), runs[0].findings),
    )
    try:
        document = build_certificate(evidence)
    except IncompleteChainError as error:
        raise CertificateError(f"the entries on record do not connect: {error}") from error
    problems = check_certificate(document)
    if problems:
        raise CertificateError("what is on record does not add up: " + "; ".join(map(str, problems)))
    return document


def _with_findings(
    holdings: Sequence[HoldingEvidence], findings: Sequence[Discrepancy]
) -> list[HoldingEvidence]:
    """Add the holdings that only the exchange knows: nothing is on record of them but what the run found."""
    known = {holding.key for holding in holdings}
    unknown = sorted({finding.key for finding in findings} - known)
    return [*holdings, *(HoldingEvidence(key, ZERO, (), ZERO) for key in unknown)]


@no_cycle_search()
def verify(text: bytes) -> dict[str, Any]:
    """Check a certificate from its file's content alone; ``failed`` names what does not hold, if anything.

    Raises:
        CertificateError: this is no certificate.
    """
    try:
        document = read_document(text)
    except ValueError as error:
        raise CertificateError(f"this is no certificate: {error}") from error
    problems = check_certificate(document)
    view: dict[str, Any] = {"verified": not problems}
    if problems:
        return {**view, "failed": [{"where": p.where, "what": p.what} for p in problems]}
    return {**view, **summary(document)}


def summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """Say in short what a certificate states."""
    return {
        "account": document["account"],
        "at": document["at"],
        "issued_at": document["issued_at"],
        "proven_at": document["runs"][0]["reported_as_of"],
        "entries": sum(len(holding["entries"]) for holding in document["holdings"]),
        "holdings": [
            {name: holding[name] for name in ("asset", "wallet", "closing", "residual", "digest")}
            for holding in document["holdings"]
        ],
        "digest": document["digest"],
    }


def render_summary(view: Mapping[str, Any]) -> list[str]:
    """Write a summary, or what does not hold, as lines for people."""
    if not view.get("verified", True):
        places = [f"{f['where']}: {f['what']}" if f["where"] else f["what"] for f in view["failed"]]
        return [f"NOT verified: {len(places)} thing(s) do not hold", *(f"  {place}" for place in places)]
    names = [str(HoldingKey(h["asset"], h["wallet"])) for h in view["holdings"]]
    width = max(map(len, names), default=0)
    return [
        *(["verified"] if "verified" in view else []),
        f"{view['account']} at {view['at']}: {len(names)} holdings, {view['entries']} ledger entries",
        f"last compared with Kraken at {view['proven_at']}",
        *(
            f"  {name:<{width}}  {h['closing']}"
            + (f"  and {h['residual']} that no entry explains" if h["residual"] != "0" else "")
            for name, h in zip(names, view["holdings"], strict=True)
        ),
        f"digest {view['digest']}",
    ]
