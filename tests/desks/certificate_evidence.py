"""The evidence that a certificate is made of, and the certificate."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from desks.fakes import START, FakeBooks
from kraken_recon.certificates.rules.build_and_check import (
    Adjustment,
    CertificateEvidence,
    HoldingEvidence,
    ProvingRun,
    build_certificate,
)
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.rules.assess import Action, Discrepancy

BTC, USD, EARN = HoldingKey("BTC", "spot"), HoldingKey("USD", "spot"), HoldingKey("BTC", "F")
ZERO = Decimal(0)
RUN_ID, OLDER_RUN_ID = UUID(int=1), UUID(int=2)
HOUR = timedelta(hours=1)


def books() -> FakeBooks:
    """Make the books that the evidence is of."""
    made = FakeBooks()
    made.add("USD", "10000", entry_type="deposit")
    made.add("USD", "-3000", fee="7.8")
    made.add("BTC", "0.05")
    made.add("BTC", "-0.01", entry_type="transfer", at=made.now)
    made.add("BTC", "0.01", wallet="F", entry_type="transfer", at=made.now)
    return made


def evidence(**changes: Any) -> CertificateEvidence:
    """An account whose bitcoin carries a repaired residual and whose dollars carry a tolerated one."""
    made = books()
    finding = Discrepancy(
        USD, Decimal("6992.2"), Decimal("6992.2001"), ZERO, ZERO, Decimal("0.0001"), Action.WITHIN_TOLERANCE
    )
    run = ProvingRun(
        RUN_ID,
        "repair",
        "succeeded",
        "manual",
        START,
        START + HOUR,
        START + HOUR,
        START + HOUR,
        None,
        (finding,),
    )
    read = replace(
        run,
        run_id=OLDER_RUN_ID,
        reported_as_of=START + HOUR / 2,
        reported_head=made.entries[-1].ledger_id,
        findings=(),
    )
    repair = Adjustment(7, START + HOUR / 2, "residual_repaired", Decimal("0.002"), OLDER_RUN_ID)
    holdings = [
        HoldingEvidence(
            key,
            ZERO,
            [entry for entry in made.entries if entry.key == key],
            made.balance_of(key) + (repair.amount if key == BTC else ZERO),
            (repair,) if key == BTC else (),
        )
        for key in (USD, BTC, EARN)
    ]
    whole = CertificateEvidence(
        "desk", START + HOUR, START + 2 * HOUR, "ledger", "1", "0001", (run, read), holdings
    )
    return replace(whole, **changes)


DOCUMENT = build_certificate(evidence())
