"""Seal what was written, verify all that was sealed, and accept what a person vouches for.

Invariants:
1. Whatever is written notes itself to be sealed in its own transaction (a trigger of the schema's); sealing
   takes the note away and adds to the chain in one other. So nothing is missed and nothing sealed twice,
   whoever is killed when.
2. One session at a time adds to the chain; nobody who writes rows ever waits for it.
3. What is verified is one state of the database.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.errors import ConfigurationError
from kraken_recon.seals.rules import NOTHING, ROWS_MAX, Head, Seal
from kraken_recon.seals.store import SealStore
from kraken_recon.values.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from kraken_recon.database.unit_of_work import UnitOfWork

    OpenUnitOfWork: TypeAlias = Callable[[], AbstractContextManager[UnitOfWork]]

ROWS_AT_ONCE: Final = 4 * ROWS_MAX
BATCHES_MAX: Final = 100
"""Of one call, so that the first one after an upgrade ends in time; the next goes on."""
FINDINGS_MAX: Final = 100
ACCEPTED: Final = "accepted as it is by "


def seal_due(open_unit_of_work: OpenUnitOfWork) -> int:
    """Seal what was written since the last time; return how many rows."""
    total = 0
    for _ in range(BATCHES_MAX):
        with open_unit_of_work() as unit:
            store = SealStore(unit)
            head = store.lock_head()
            due = store.take_due(most=ROWS_AT_ONCE)
            # A row that is noted twice is sealed once; what is sealed again comes after what is sealed first.
            listed: dict[tuple[str, str | None], dict[str, None]] = {}
            for subject, note, keys in due:
                listed.setdefault((subject, note), {}).update(dict.fromkeys(keys))
            for (subject, note), found in sorted(listed.items(), key=lambda one: one[0][1] is not None):
                rows = list(found)
                for first in range(0, len(rows), ROWS_MAX):
                    head = _add(store, head, subject, note, rows[first : first + ROWS_MAX])
                total += len(rows)
            unit.commit()
        if not due:
            break
    return total


def _add(store: SealStore, head: Head, subject: str, note: str | None, keys: list[str]) -> Head:
    found = store.digests(subject, keys)
    digests = {key: found.get(key, NOTHING) for key in keys}
    seal = Seal(head.seal_id + 1, subject, digests, store.now(), note, head.digest)
    seal = replace(seal, digest=seal.computed_digest())
    store.add(seal)
    return seal.head


def head_of(open_unit_of_work: OpenUnitOfWork) -> Head:
    """Read the end of the chain, to be kept where nobody who can change the database can change it."""
    with open_unit_of_work() as unit:
        return SealStore(unit).head()


@dataclass(slots=True)
class Findings:
    """What does not hold, in the order in which it was found; at most so many are kept."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    count: int = 0

    def add(self, what: str, *, seal: int | None = None, subject: str = "", row: str | None = None) -> None:
        """Keep one."""
        self.count += 1
        if len(self.kept) < FINDINGS_MAX:
            self.kept.append({"seal": seal, "subject": subject, "row": row, "what": what})


def verify_seals(open_unit_of_work: OpenUnitOfWork, known: Head | None = None) -> dict[str, Any]:
    """Check the chain from its first link on, and every sealed row; ``failed`` names what does not hold.

    Args:
        open_unit_of_work: the way to the database.
        known: an end of the chain that was kept elsewhere; it has to be one of its links.
    """
    with open_unit_of_work() as unit:
        store = SealStore(unit)
        store.begin_snapshot()
        findings, rows, notes = Findings(), Counter[str](), list[dict[str, Any]]()
        for table in store.not_plain():
            findings.add("is no table that shows all its rows", subject=table)
        again, head, met = store.sealed_again(), Head(), known == Head()
        for seal in _chain(store):
            if problem := seal.broken_link(head):
                findings.add(problem, seal=seal.seal_id, subject=seal.subject)
            for key, what in _changed_rows(store, seal, again):
                findings.add(what, seal=seal.seal_id, subject=seal.subject, row=key)
            rows[seal.subject] += len(seal.digests)
            if seal.note is not None:
                notes.append(_told(seal))
            head, met = seal.head, met or seal.head == known
        for place, subject, key in store.sealed_twice(most=FINDINGS_MAX):
            findings.add("is sealed twice, and nothing says why", seal=place, subject=subject, row=key)
        for subject, key in store.never_sealed(most=FINDINGS_MAX):
            findings.add("was never sealed: the schema's triggers were passed by", subject=subject, row=key)
        if known and not met:
            findings.add(_not_met(known, head), seal=known.seal_id)
        return {
            "verified": not findings.count,
            "seals": head.seal_id,
            "rows": dict(sorted(rows.items())),
            "due": store.rows_due(),
            "head": str(head),
            "sealed_again": notes,
            **({"failed": findings.kept, "failed_count": findings.count} if findings.count else {}),
        }


def _chain(store: SealStore) -> Iterator[Seal]:
    place = 0
    while seal := store.after(place):
        yield seal
        place = seal.seal_id


def _changed_rows(
    store: SealStore, seal: Seal, again: Mapping[tuple[str, str], int]
) -> Iterator[tuple[str, str]]:
    """Compare the rows of a link with what they say now, but for those that a later link seals again."""
    now = store.digests(seal.subject, list(seal.digests))
    for key, sealed in seal.digests.items():
        if again.get((seal.subject, key), 0) > seal.seal_id:
            continue
        if sealed == NOTHING and seal.note is None:
            yield key, "was gone before it was sealed"
        elif now.get(key, NOTHING) != sealed:
            what = "was deleted" if key not in now else "was changed"
            yield key, f"{what} after it was sealed" if sealed != NOTHING else "is there again"


def _told(seal: Seal) -> dict[str, Any]:
    return {
        "seal": seal.seal_id,
        "subject": seal.subject,
        "rows": len(seal.digests),
        "sealed_at": plain(seal.sealed_at),
        "note": seal.note,
    }


def _not_met(known: Head, head: Head) -> str:
    if known.seal_id > head.seal_id:
        return f"the chain ends at {head.seal_id}: a backup from before was restored, or it was cut"
    return "the chain has another hash there than the head that was kept: it was written anew"


def accept_changes(open_unit_of_work: OpenUnitOfWork, by: str, note: str) -> dict[str, Any]:
    """Seal again, as they are, all rows that do not hold; the chain says from then on who vouched for them.

    Raises:
        ConfigurationError: the chain itself is broken, which nobody can vouch for.
    """
    view = verify_seals(open_unit_of_work)
    accepted: dict[str, list[str]] = {}
    while failed := view.get("failed"):
        if broken := next((one for one in failed if one["row"] is None), None):
            raise ConfigurationError(
                f"{broken['subject'] or 'seals'}, seal {broken['seal']}: {broken['what']}; only rows can be "
                "accepted: restore trading.seals from a backup (docs/how-to/verify-the-seals.md)"
            )
        by_subject: dict[str, list[str]] = {}
        for one in failed:
            by_subject.setdefault(one["subject"], []).append(one["row"])
        with open_unit_of_work() as unit:
            for subject, keys in sorted(by_subject.items()):
                SealStore(unit).enlist(subject, sorted(set(keys)), f"{ACCEPTED}{by}: {note}")
                accepted.setdefault(subject, []).extend(sorted(set(keys)))
            unit.commit()
        seal_due(open_unit_of_work)
        view = verify_seals(open_unit_of_work)
    return {"accepted": accepted, "head": view["head"]}
