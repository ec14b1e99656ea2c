"""Prove and explain the made account with this project, or parse its ledger: ``ours.py prove|parse FILES``.

Proving is what a sync does between reading and writing: chains of every holding, then what they mean for it.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kraken_recon.books.events import RecordedPosition
from kraken_recon.kraken.parse_account import decode_reply
from kraken_recon.kraken.parse_ledger import parse_ledger_page
from kraken_recon.ledger.chain import by_holding, prove_chain
from kraken_recon.ledger.entries import SPOT, Balance, HoldingKey
from kraken_recon.reconciliation.rules.assess import assess
from kraken_recon.reconciliation.rules.evidence import Evidence
from kraken_recon.reconciliation.rules.policy import Policy
from kraken_recon.values.cycle_search import no_cycle_search
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from kraken_recon.ledger.entries import LedgerEntry

AS_OF = datetime(2027, 1, 1, tzinfo=UTC)


def read(body: bytes) -> tuple[LedgerEntry, ...]:
    """Read one reply as the client does."""
    return parse_ledger_page(decode_reply(body, account="made", endpoint="Ledgers").result).entries


def prove(told: dict[str, Any], entries: list[LedgerEntry]) -> dict[str, Any]:
    """Explain how the account came from its opening to its balances."""
    opening = {HoldingKey(asset, SPOT): Decimal(amount) for asset, amount in told["opening"].items()}
    closing = {HoldingKey(asset, SPOT): Decimal(amount) for asset, amount in told["closing"].items()}
    began = time.process_time()
    chains = {
        key: prove_chain(key, listed, known_balance=opening[key])
        for key, listed in by_holding(entries).items()
    }
    assessment = assess(
        Evidence(
            recorded={
                key: RecordedPosition(
                    quantity=held,
                    event_total=held,
                    ledger_total=held,
                    adjustment_total=ZERO,
                    adjusted_at=None,
                )
                for key, held in opening.items()
            },
            ingested={key: chain.entries for key, chain in chains.items()},
            balances={key: Balance(amount, ZERO, ZERO, ZERO) for key, amount in closing.items()},
            coherent=True,
            as_of=AS_OF,
            observations={},
            all_positions=len(opening),
        ),
        Policy(),
    )
    seconds = time.process_time() - began
    refids = {entry.ledger_id: entry.refid for entry in entries}
    explained = {refids[step.ledger_id] for step in assessment.steps if step.ledger_id in refids}
    return {
        "seconds": seconds,
        "dropped": len({entry.refid for entry in entries} - explained),
        "invented": sum(1 for step in assessment.steps if step.ledger_id not in refids),
        "residual_holdings": sum(1 for finding in assessment.findings if finding.residual),
        "gaps": sum(len(chain.gaps) for chain in chains.values()),
    }


def parse(bodies: list[bytes]) -> dict[str, Any]:
    """Read all replies, from their bytes and from what was decoded before."""
    began = time.process_time()
    rows = sum(len(read(body)) for body in bodies)
    from_bytes = time.process_time() - began
    objects = [decode_reply(body, account="made", endpoint="Ledgers").result for body in bodies]
    began = time.process_time()
    for decoded in objects:
        parse_ledger_page(decoded)
    return {"rows": rows, "from_bytes": from_bytes, "from_objects": time.process_time() - began}


def main() -> None:
    """Measure, and print one line of JSON."""
    job, fills, replies = sys.argv[1:]
    bodies = Path(replies).read_bytes().splitlines()
    if job == "parse":
        print(json.dumps(parse(bodies)))
        return
    with no_cycle_search():
        entries = [entry for body in bodies for entry in read(body)]
    print(json.dumps(prove(json.loads(Path(fills).read_text()), entries)))


if __name__ == "__main__":
    main()
