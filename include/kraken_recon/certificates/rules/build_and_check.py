"""A certificate of an account's positions at one moment: built from values, checked from its JSON alone.

Invariants:
1. Building is pure: the same facts give the same document, byte by byte.
2. Checking needs nothing but the document: no database, no key, no network. It recomputes every balance, sum,
   residual and digest, and names each thing that does not hold by its holding and entry.
3. Each link of a holding's chain hashes the link before it, so a line cannot be changed, left out, put in or
   moved without changing every link after it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.certificates.rules.format import (
    DIGEST_PREFIX,
    DOCUMENT,
    FORMAT,
    KIND,
    Problem,
    canonical,
    form_problems,
    holding_name,
    read_time,
    write_time,
)
from kraken_recon.ledger.chain import prove_chain
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.rules.assess import Action
from kraken_recon.values.money import ZERO, exact_arithmetic, format_amount, parse_amount

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.ledger.chain import Gap
    from kraken_recon.ledger.entries import LedgerEntry
    from kraken_recon.reconciliation.rules.assess import Discrepancy

_PARTS_OF_DRIFT: Final = ("explained", "database_drift", "residual")
_CHAIN_DOMAIN: Final = "kraken-recon chain 1"
#: Actions after which a finding's residual is in the position, as an adjustment event.
_WRITTEN: Final = frozenset({Action.UPDATE, Action.ADD, Action.REMOVE})


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One event that moved a position without a ledger entry; ``amount`` in units of the asset."""

    event_id: int
    effective_at: datetime
    reason: str
    amount: Decimal
    run_id: UUID | None


@dataclass(frozen=True, slots=True)
class HoldingEvidence:
    """What is on record of one holding up to the moment of a certificate; amounts in units of the asset.

    ``late_ids`` are entries that carry a time which the proving run covers but were recorded after it;
    ``recorded`` is the sum of its events; ``opening_moved_later`` is what became of the opening after
    that run, because an import moved it back.
    """

    key: HoldingKey
    opening: Decimal
    entries: Sequence[LedgerEntry]
    recorded: Decimal
    adjustments: Sequence[Adjustment] = ()
    late_ids: frozenset[str] = frozenset()
    opening_moved_later: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class ProvingRun:
    """A succeeded reconciliation that a certificate rests on."""

    run_id: UUID
    mode: str
    status: str
    trigger: str
    interval_start: datetime
    interval_end: datetime
    recorded_as_of: datetime
    reported_as_of: datetime
    reported_head: str | None
    findings: Sequence[Discrepancy] = ()


@dataclass(frozen=True, slots=True)
class CertificateEvidence:
    """Everything that a certificate is built from; the first of ``runs`` is the newest."""

    account: str
    at: datetime
    issued_at: datetime
    opening_source: str
    code_version: str
    schema_version: str
    runs: Sequence[ProvingRun]
    holdings: Sequence[HoldingEvidence] = field(default_factory=tuple)


class IncompleteChainError(Exception):
    """The entries on record do not connect; ``gaps`` says where."""

    def __init__(self, gaps: Sequence[Gap]) -> None:
        super().__init__("; ".join(map(str, gaps)))
        self.gaps = gaps


# --- digests ---------------------------------------------------------------------------------------------


def _packed(*fields: tuple[str, str]) -> bytes:
    """Write fields so that no two lists of fields share a spelling: type letter, length in bytes, text."""
    return b"".join(
        kind.encode("ascii") + len(raw).to_bytes(8, "big") + raw
        for kind, text in fields
        for raw in (text.encode(),)
    )


def _hashed(packed: bytes) -> str:
    return DIGEST_PREFIX + hashlib.sha256(packed).hexdigest()


def _first_link(account: str, holding: Mapping[str, Any]) -> str:
    names = (_CHAIN_DOMAIN, account, holding["asset"], holding["wallet"])
    return _hashed(_packed(*(("s", name) for name in names), ("d", holding["opening"])))


def _next_link(previous: str, entry: Mapping[str, Any]) -> str:
    return _hashed(
        _packed(
            ("h", previous),
            ("s", entry["ledger_id"]),
            ("s", entry["refid"]),
            ("t", entry["time"]),
            ("s", entry["type"]),
            ("s", entry["subtype"]),
            *(("d", entry[name]) for name in ("amount", "fee", "balance")),
        )
    )


def document_digest(document: Mapping[str, Any]) -> str:
    """Hash everything that a document says, but its digest."""
    return _hashed(canonical(document))


# --- building --------------------------------------------------------------------------------------------


def _explained_later(difference: Decimal, late: Decimal) -> Decimal:
    """Say how much of a difference late entries account for: at most all of it, of the same sign."""
    return min(difference, late, key=abs) if difference * late > ZERO else ZERO


def _entry_views(evidence: HoldingEvidence, entries: Sequence[LedgerEntry]) -> list[dict[str, Any]]:
    return [
        {
            "ledger_id": entry.ledger_id,
            "refid": entry.refid,
            "time": write_time(entry.entry_time),
            "type": entry.entry_type,
            "subtype": entry.subtype,
            "amount": format_amount(entry.amount),
            "fee": format_amount(entry.fee),
            "balance": format_amount(entry.balance),
            "late": entry.ledger_id in evidence.late_ids,
        }
        for entry in entries
    ]


def _holding_view(
    account: str, evidence: HoldingEvidence, entries: Sequence[LedgerEntry], unwritten: Decimal
) -> dict[str, Any]:
    outstanding = sum((a.amount for a in evidence.adjustments), ZERO)
    late = sum((e.change for e in entries if e.ledger_id in evidence.late_ids), ZERO)
    # Imported history adds to the entries what it takes from the opening: that explains nothing.
    later = _explained_later(outstanding + unwritten, late + evidence.opening_moved_later)
    head = entries[-1] if entries else None
    view: dict[str, Any] = {
        "asset": evidence.key.asset,
        "wallet": evidence.key.wallet,
        "opening": format_amount(evidence.opening),
        "opening_moved_later": format_amount(evidence.opening_moved_later),
        "entries": _entry_views(evidence, entries),
        "head": {
            "ledger_id": head.ledger_id,
            "time": write_time(head.entry_time),
            "balance": format_amount(head.balance),
        }
        if head
        else None,
        "closing": format_amount(evidence.opening + sum((e.change for e in entries), ZERO)),
        "adjustments": [
            {
                "event_id": str(a.event_id),
                "time": write_time(a.effective_at),
                "reason": a.reason,
                "amount": format_amount(a.amount),
                "run_id": str(a.run_id) if a.run_id else None,
            }
            for a in evidence.adjustments
        ],
        "outstanding_adjustments": format_amount(outstanding),
        "recorded": format_amount(evidence.recorded),
        "unwritten_residual": format_amount(unwritten),
        "explained_later": format_amount(later),
        "residual": format_amount(outstanding + unwritten - later),
    }
    link = _first_link(account, view)
    for entry in view["entries"]:
        entry["link"] = link = _next_link(link, entry)
    view["digest"] = link
    return view


def _run_view(run: ProvingRun) -> dict[str, Any]:
    return {
        "run_id": str(run.run_id),
        "mode": run.mode,
        "status": run.status,
        "trigger": run.trigger,
        "interval_start": write_time(run.interval_start),
        "interval_end": write_time(run.interval_end),
        "recorded_as_of": write_time(run.recorded_as_of),
        "reported_as_of": write_time(run.reported_as_of),
        "reported_head": run.reported_head,
        "findings": [
            {
                "asset": finding.key.asset,
                "wallet": finding.key.wallet,
                "recorded": format_amount(finding.recorded),
                "reported": format_amount(finding.reported),
                "drift": format_amount(finding.drift),
                "explained": format_amount(finding.explained),
                "database_drift": format_amount(finding.database_drift),
                "residual": format_amount(finding.residual),
                "action": str(finding.action),
                "ledger_ids": list(finding.ledger_ids),
            }
            for finding in sorted(run.findings, key=lambda finding: finding.key)
        ],
    }


@exact_arithmetic()
def build_certificate(evidence: CertificateEvidence) -> dict[str, Any]:
    """Write what is on record as a certificate.

    Raises:
        IncompleteChainError: a holding's entries do not connect from its opening on.
    """
    unwritten = {f.key: f.residual for f in evidence.runs[0].findings if f.action not in _WRITTEN}
    gaps: list[Gap] = []
    holdings = []
    for holding in sorted(evidence.holdings, key=lambda holding: holding.key):
        entries: Sequence[LedgerEntry] = ()
        if holding.entries:
            chain = prove_chain(holding.key, holding.entries, known_balance=holding.opening)
            gaps += chain.gaps
            entries = chain.entries
        holdings.append(_holding_view(evidence.account, holding, entries, unwritten.get(holding.key, ZERO)))
    if gaps:
        raise IncompleteChainError(gaps)
    document: dict[str, Any] = {
        "certificate": KIND,
        "format": FORMAT,
        "account": evidence.account,
        "at": write_time(evidence.at),
        "issued_at": write_time(evidence.issued_at),
        "code_version": evidence.code_version,
        "schema_version": evidence.schema_version,
        "opening_source": evidence.opening_source,
        "runs": [_run_view(run) for run in evidence.runs],
        "holdings": holdings,
    }
    document["digest"] = document_digest(document)
    return document


# --- checking --------------------------------------------------------------------------------------------


def _differs(where: str, name: str, stated: str, computed: Decimal | str) -> Iterator[Problem]:
    expected = computed if isinstance(computed, str) else format_amount(computed)
    if stated != expected:
        yield Problem(where, f"{name} is {stated}, but the document's own figures make it {expected}")


def _chain_problems(account: str, holding: Mapping[str, Any], at: datetime) -> Iterator[Problem]:
    """Recompute the running balances and links; each step starts from what the entry before it states."""
    name = holding_name(holding)
    balance, link = parse_amount(holding["opening"]), _first_link(account, holding)
    for entry in holding["entries"]:
        where = f"{name}, entry {entry['ledger_id']}"
        computed = balance + parse_amount(entry["amount"]) - parse_amount(entry["fee"])
        yield from _differs(where, "balance", entry["balance"], computed)
        yield from _differs(where, "link", entry["link"], _next_link(link, entry))
        balance, link = parse_amount(entry["balance"]), entry["link"]
        if read_time(entry["time"]) > at:
            yield Problem(where, "it is later than the moment that is certified")
    for earlier, later in pairwise(holding["entries"]):
        if earlier["time"] > later["time"]:
            yield Problem(f"{name}, entry {later['ledger_id']}", "it is earlier than the entry before it")
    yield from _differs(name, "digest", holding["digest"], link)
    head = holding["entries"][-1] if holding["entries"] else None
    stated = holding["head"]
    if (head is None) != (stated is None):
        yield Problem(name, "the head is not its last entry")
    elif head is not None and any(stated[part] != head[part] for part in ("ledger_id", "time", "balance")):
        yield Problem(name, f"the head is not its last entry, {head['ledger_id']}")


def _sum_problems(holding: Mapping[str, Any], unwritten: Decimal, at: datetime) -> Iterator[Problem]:
    name = holding_name(holding)
    changes = {e["ledger_id"]: parse_amount(e["amount"]) - parse_amount(e["fee"]) for e in holding["entries"]}
    late = sum((changes[e["ledger_id"]] for e in holding["entries"] if e["late"]), ZERO)
    outstanding = sum((parse_amount(a["amount"]) for a in holding["adjustments"]), ZERO)
    closing = parse_amount(holding["opening"]) + sum(
        (parse_amount(e["amount"]) - parse_amount(e["fee"]) for e in holding["entries"]), ZERO
    )
    late += parse_amount(holding["opening_moved_later"])
    later = _explained_later(outstanding + unwritten, late)
    yield from _differs(name, "closing", holding["closing"], closing)
    yield from _differs(name, "outstanding_adjustments", holding["outstanding_adjustments"], outstanding)
    yield from _differs(name, "recorded", holding["recorded"], closing + outstanding)
    yield from _differs(name, "unwritten_residual", holding["unwritten_residual"], unwritten)
    yield from _differs(name, "explained_later", holding["explained_later"], later)
    yield from _differs(name, "residual", holding["residual"], outstanding + unwritten - later)
    for adjustment in holding["adjustments"]:
        if read_time(adjustment["time"]) > at:
            where = f"{name}, adjustment {adjustment['event_id']}"
            yield Problem(where, "it is later than the moment that is certified")


def _repeated(names: Sequence[str], kind: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield Problem(f"{kind} {name}", "it is listed twice")
        seen.add(name)


def _finding_problems(run: Mapping[str, Any]) -> Iterator[Problem]:
    for finding in run["findings"]:
        where = f"run {run['run_id']}, {holding_name(finding)}"
        drift = parse_amount(finding["reported"]) - parse_amount(finding["recorded"])
        parts = sum((parse_amount(finding[part]) for part in _PARTS_OF_DRIFT), ZERO)
        yield from _differs(where, "drift", finding["drift"], drift)
        if parts != drift:
            yield Problem(where, f"explained, database_drift and residual add up to {format_amount(parts)}")


def _run_problems(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Check that the runs can carry the proof: they succeeded by then, and saw what is listed."""
    runs = document["runs"]
    listed = {entry["ledger_id"] for holding in document["holdings"] for entry in holding["entries"]}
    if not runs:
        yield Problem("runs", "no run proves this")
    for run in runs:
        where = f"run {run['run_id']}"
        if (run["status"], run["mode"]) != ("succeeded", "repair"):
            yield Problem(where, f"a run that {run['status']} in mode {run['mode']} proves nothing")
        if run["reported_as_of"] > document["at"]:
            yield Problem(where, "it asked the exchange after the moment that is certified")
        if run["reported_head"] is not None and run["reported_head"] not in listed:
            yield Problem(where, f"its newest entry {run['reported_head']} is not among the entries")
        yield from _finding_problems(run)
    for newer, older in pairwise(runs):
        if newer["reported_as_of"] < older["reported_as_of"]:
            yield Problem(f"run {older['run_id']}", "the newest run must come first")
    if document["at"] > document["issued_at"]:
        yield Problem("at", "it is later than the certificate itself")


def _content_problems(document: Mapping[str, Any]) -> Iterator[Problem]:
    at = read_time(document["at"])
    holdings = document["holdings"]
    findings = document["runs"][0]["findings"] if document["runs"] else []
    unwritten = {
        (finding["asset"], finding["wallet"]): parse_amount(finding["residual"])
        for finding in findings
        if finding["action"] not in _WRITTEN
    }
    yield from _run_problems(document)
    yield from _repeated([e["ledger_id"] for h in holdings for e in h["entries"]], "entry")
    yield from _repeated([a["event_id"] for h in holdings for a in h["adjustments"]], "adjustment")
    yield from _repeated([str(HoldingKey(h["asset"], h["wallet"])) for h in holdings], "holding")
    for holding in holdings:
        found = unwritten.pop((holding["asset"], holding["wallet"]), ZERO)
        yield from _chain_problems(document["account"], holding, at)
        yield from _sum_problems(holding, found, at)
    for (asset, wallet), residual in sorted(unwritten.items()):
        if residual:
            where = f"holding {HoldingKey(asset, wallet)}"
            yield Problem(where, f"the run found {format_amount(residual)} there, but it is not listed")
    yield from _differs("", "the document's digest", document["digest"], document_digest(document))


@exact_arithmetic()
def check_certificate(document: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Recompute everything that a certificate says, and name each thing that does not hold.

    Args:
        document: what ``format.read_document`` read.
    """
    # Figures are recomputed only where every one of them can be read.
    return tuple(form_problems(document, DOCUMENT)) or tuple(_content_problems(document))
