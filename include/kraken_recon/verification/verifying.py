"""Verify orders that ended: claim, read Kraken's books once per account, judge, record.

Invariants:
1. Nothing here writes an order, or decides on one: a verdict is a row and an alert, and no path of trading
   reads it. What the books show and we lack is brought in by the same service as any fill.
2. A batch is claimed for a time under a token; whoever lost the claim writes nothing. A final verdict is
   written once.
3. No network call happens inside a transaction, and one account's failure delays only its own orders.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from kraken_recon.books.booking_entries import book_entries
from kraken_recon.database.lock_patience import LockPatience
from kraken_recon.database.retrying import repeated
from kraken_recon.errors import AccountsLeftError, KrakenReconError
from kraken_recon.orders.store import OrderStore
from kraken_recon.values.threads import side_by_side
from kraken_recon.verification.alerts import write_verdicts
from kraken_recon.verification.evidence import SeenBooks, evidence_of, read_books
from kraken_recon.verification.rules.judge import Overall, judge_order, unasked
from kraken_recon.verification.run import Case, VerifyingPorts, VerifyingRules
from kraken_recon.verification.store import VerificationStore

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.verification.rules.judge import OrderEvidence
    from kraken_recon.verification.rules.records import ClaimedOrder

log = logging.getLogger(__name__)

# A quick look for orders without a row goes back this far; a claim finds older ones.
ENDED_LATELY: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Pass:
    """What one look at a batch came to: verdicts written, and how many orders are still watched.

    ``latencies`` say, by order, how long after its end each final verdict came; ``failures``, by account, why
    verdicts could not be written. Their orders stay claimed.
    """

    verdicts: Mapping[int, Overall]
    watched: int
    latencies: Mapping[int, timedelta] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)


def claim_orders(
    ports: VerifyingPorts, rules: VerifyingRules, token: str, *, order_ids: Collection[int] | None = None
) -> list[int]:
    """Take orders that ended and are not verified, for the length of a lease; return their ids.

    The same token may claim again and adds to its batch.
    """
    with ports.open_unit_of_work() as unit:
        now = ports.clock()
        VerificationStore(unit).enlist(now=now, deadline=now + rules.deadline, ended_after=None)
        claimed = VerificationStore(unit).claim(
            token, now=now, until=now + rules.lease, most=rules.orders_per_batch, order_ids=order_ids
        )
        unit.commit()
    return claimed


def waiting_orders(ports: VerifyingPorts, *, for_at_least: timedelta) -> int:
    """Count the orders that have been due for so long and that nobody works on."""
    now = ports.clock()
    with ports.open_unit_of_work() as unit:
        return VerificationStore(unit).waiting(
            now=now, due_before=now - for_at_least, ended_after=now - ENDED_LATELY
        )


def new_token(name: str) -> str:
    """Make a token for a batch; the name says who holds it."""
    return f"{name}|{uuid4().hex}"


def look_at(  # noqa: PLR0913 - three by name
    ports: VerifyingPorts,
    rules: VerifyingRules,
    token: str,
    seen: dict[int, SeenBooks] | None = None,
    *,
    order_ids: Collection[int] | None = None,
    brings_in: bool = False,
) -> list[Case]:
    """Read Kraken's books for a claimed batch and judge it, without writing a verdict; the lease is renewed.

    Args:
        ports: the outside world.
        rules: how orders are verified.
        token: of the batch.
        seen: what earlier looks saw that cannot change, by account id; it is added to.
        order_ids: look at these orders of the batch alone.
        brings_in: book what Kraken's books show and ours lack.
    """
    with ports.open_unit_of_work() as unit:
        VerificationStore(unit).renew(token, until=ports.clock() + rules.lease)
        unit.commit()
        claimed = VerificationStore(unit).claimed(token)
    if order_ids is not None:
        claimed = [one for one in claimed if one.order.order_id in order_ids]
    kept = seen if seen is not None else {}
    by_account: dict[int, list[ClaimedOrder]] = {}
    for one in claimed:
        by_account.setdefault(one.account.account_id, []).append(one)

    def look(listed: list[ClaimedOrder]) -> list[Case]:
        books = kept.setdefault(listed[0].account.account_id, SeenBooks())
        return _look_at_account(ports, rules, listed, books, brings_in=brings_in)

    looked = side_by_side(
        list(by_account.values()),
        look,
        concurrency=rules.concurrency,
        stop=ports.stop,
        keep_open=ports.keep_open,
    )
    return [case for cases in looked for case in cases]


def _look_at_account(
    ports: VerifyingPorts,
    rules: VerifyingRules,
    listed: Sequence[ClaimedOrder],
    seen: SeenBooks,
    *,
    brings_in: bool,
) -> list[Case]:
    account = listed[0].account
    orders = [one.order for one in listed]
    try:
        with ports.open_books(account) as books:
            read_books(books, orders, seen)
        cases = _judged(ports, rules, listed, seen)
        lacking = [case.evidence for case in cases if case.verification.awaits_us]
        if lacking and brings_in:
            _bring_in(ports, account, lacking)
            cases = _judged(ports, rules, listed, seen)
    except KrakenReconError as error:
        message, may_pass = f"{type(error).__name__}: {error}", error.retryable
    except Exception as error:
        # A defect met on one account must not keep the others' orders waiting; it is logged in full.
        log.exception("account %s: unexpected failure", account.name)
        message, may_pass = f"unexpected {type(error).__name__}, see the task's log", False
    else:
        return cases
    return [Case(one, evidence_of(one.order), unasked(message, may_pass=may_pass)) for one in listed]


def _bring_in(ports: VerifyingPorts, account: Account, evidences: Sequence[OrderEvidence]) -> None:
    """Book what Kraken's books show of these orders and ours lack, as any fill is booked."""
    fills = {
        trade_id: (evidence.order.order_id, fill)
        for evidence in evidences
        for trade_id, fill in evidence.trades.items()
        if trade_id not in evidence.recorded_fills and fill.kraken_txid == evidence.order.kraken_txid
    }
    entries = {
        entry.ledger_id: entry
        for evidence in evidences
        for entry in evidence.entries
        if entry.refid in evidence.trades and entry.ledger_id not in evidence.recorded_entries
    }

    def write(unit: UnitOfWork) -> None:
        book_entries(unit, {account: tuple(entries.values())}, ports.clock())
        OrderStore(unit).record_fills(account.account_id, fills)
        unit.commit()

    repeated(write, ports.open_unit_of_work)


def _judged(
    ports: VerifyingPorts, rules: VerifyingRules, listed: Sequence[ClaimedOrder], seen: SeenBooks
) -> list[Case]:
    evidences = _with_our_rows(ports, listed, seen)
    return [
        Case(one, evidence, judge_order(evidence, rules.tolerances))
        for one, evidence in zip(listed, evidences, strict=True)
    ]


def _with_our_rows(
    ports: VerifyingPorts, listed: Sequence[ClaimedOrder], seen: SeenBooks
) -> list[OrderEvidence]:
    """Put what is recorded here beside what Kraken's books show."""
    account_id = listed[0].account.account_id
    trade_ids = [trade for one in listed for trade in seen.trade_ids_of(one.order)]
    rows = [entry.ledger_id for entry in seen.entries if entry.refid in set(trade_ids)]
    without_rows = set(trade_ids) - {entry.refid for entry in seen.entries}
    without_trade = set(trade_ids) - seen.trades.keys()
    with ports.open_unit_of_work() as unit:
        store = VerificationStore(unit)
        order_ids = [one.order.order_id for one in listed]
        fills, desk_rows = store.fills_of(order_ids), store.desk_rows_of(order_ids)
        recorded = store.recorded(account_id, rows)
        astray = without_rows | without_trade
        booked = store.booked(account_id, sorted(astray)) if astray else None
    now = ports.clock()
    return [
        evidence_of(
            one.order,
            seen,
            fills=fills.get(one.order.order_id, {}),
            recorded=recorded,
            booked=booked,
            desk_rows=desk_rows.get(one.order.order_id, ()),
            is_past_deadline=now >= one.deadline,
        )
        for one in listed
    ]


def verify_claimed(  # noqa: PLR0913 - two by name
    ports: VerifyingPorts,
    rules: VerifyingRules,
    token: str,
    seen: dict[int, SeenBooks] | None = None,
    *,
    order_ids: Collection[int] | None = None,
    keeps_watching: bool = False,
) -> Pass:
    """Look at a claimed batch and write what it came to.

    ``seen`` is what earlier looks saw, as for ``look_at``. With ``order_ids`` only these orders of the batch
    are looked at. With ``keeps_watching`` an order whose books are not there yet stays claimed and is not
    written; without it, it is written as inconclusive and let go until it is due again.
    """
    ports = replace(ports, open_unit_of_work=LockPatience(ports.open_unit_of_work).open)
    cases = look_at(ports, rules, token, seen, order_ids=order_ids, brings_in=True)
    settled = [case for case in cases if not (keeps_watching and case.verification.awaits_kraken)]
    now = ports.clock()
    done, failures = write_verdicts(settled, ports, rules, token, now)
    with ports.open_unit_of_work() as unit:
        watched = VerificationStore(unit).renew(token, until=now + rules.lease)
        unit.commit()
    return Pass(
        {case.order_id: case.verification.verdict for case in done},
        watched,
        {
            case.order_id: max(now - ended_at, timedelta(0))
            for case in done
            if case.verification.verdict is not Overall.INCONCLUSIVE
            and (ended_at := case.claimed.order.ended_at)
        },
        failures,
    )


def verify_order(ports: VerifyingPorts, rules: VerifyingRules, order_id: int) -> bool:
    """Verify one order now, however often it was tried; say whether its verdict is final.

    Raises:
        AccountsLeftError: its verdict could not be written.
    """
    with ports.open_unit_of_work() as unit:
        now = ports.clock()
        VerificationStore(unit).enlist(now=now, deadline=now + rules.deadline, ended_after=None)
        VerificationStore(unit).make_due(order_id, now=now)
        unit.commit()
    token = new_token("one order")
    if not claim_orders(ports, rules, token, order_ids=[order_id]):
        with ports.open_unit_of_work() as unit:
            row = VerificationStore(unit).verification(order_id)
        return row is None or row["due_at"] is None or row["verdict"] in {"verified", "mismatch"}
    done = verify_claimed(ports, rules, token)
    if done.failures:
        raise AccountsLeftError("verdicts not written", accounts=done.failures)
    return done.verdicts.get(order_id) in {Overall.VERIFIED, Overall.MISMATCH}


def let_go(ports: VerifyingPorts, token: str) -> None:
    """Give up a batch, so that others may claim its orders at once."""
    with ports.open_unit_of_work() as unit:
        VerificationStore(unit).let_go(token)
        unit.commit()
