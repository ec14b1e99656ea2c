"""What one step of a session touches, and whether the order of two steps can matter.

A step is one statement, one commit or rollback, or one call to the exchange. Under read committed what is not
committed is seen by nobody: a reading depends on commits alone, and what locks or writes depends on whatever
else locks, writes or commits the same table. Rows are not told apart, so more is taken to depend than does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

ANYTHING: Final = "*"
EXCHANGE: Final = "exchange"
ADVISORY: Final = "advisory lock"
_NAME: Final = r'"?([a-z_][a-z_0-9]*)"?'
_WRITTEN: Final = re.compile(
    rf"\b(?:insert\s+into|update|delete\s+from|truncate)\s+(?:only\s+)?(?:trading\.)?{_NAME}", re.IGNORECASE
)
_READ: Final = re.compile(
    rf"\b(?:from|join)\s+(?:only\s+)?(?:trading\.)?{_NAME}(?![a-z_0-9]|\s*\()", re.IGNORECASE
)
_LOCKS: Final = re.compile(r"\bfor\s+(?:no\s+key\s+update|update|key\s+share|share)\b", re.IGNORECASE)
_CALLED: Final = re.compile(r"\btrading\.([a-z_]+)\s*\(", re.IGNORECASE)
_COMMENT: Final = re.compile(r"--[^\n]*")
_WORDS_OF_SETTING: Final = ("begin", "set ", "start transaction", "savepoint", "release ", "show ")
# Functions of the schema that write, and what; of any other it is not known.
_WRITING: Final = {
    "respell": ("ledger_entries", "position_events"),
    "correct_entry": ("ledger_entries",),
}
_READING: Final = frozenset({"incarnation", "current_desk_books"})
_NO_TABLES: Final = frozenset(
    {"set", "of", "lateral", "unnest", "select", "skip", "nowait", "jsonb_to_recordset"}
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an actor, by the tables, locks and books that it touches.

    Attributes:
        label: what it is called.
        read: what it looks at, as far as that is committed.
        written: what it locks or writes: whoever wants the same waits.
        let_go: what becomes visible to others, or is no longer locked, with it.
    """

    label: str
    read: frozenset[str] = frozenset()
    written: frozenset[str] = frozenset()
    let_go: frozenset[str] = frozenset()

    @property
    def touches(self) -> bool:
        """Say whether anybody else could notice the step, or be noticed by it."""
        return bool(self.read or self.written or self.let_go)


def step_of(text: str, label: str) -> Step | None:
    """Read a statement; None where it only says how the session works."""
    plain = _COMMENT.sub("", text).strip()
    lowered = plain.lower()
    if lowered.startswith(_WORDS_OF_SETTING):
        return None
    written = {name.lower() for name in _WRITTEN.findall(plain)} - _NO_TABLES
    read = {name.lower() for name in _READ.findall(plain)} - _NO_TABLES - _names_made(plain)
    for called in _CALLED.findall(lowered):
        if called not in _READING:
            written |= {*_WRITING.get(called, (ANYTHING,))}
    if "advisory" in lowered:
        written.add(ADVISORY)
    if _LOCKS.search(plain):
        written |= read
    return Step(label, frozenset(read), frozenset(written))


def _names_made(text: str) -> set[str]:
    """Name what a statement itself defines with ``with``."""
    made = re.findall(rf"{_NAME}\s+as\s+(?:not\s+)?(?:materialized\s+)?\(", text, re.IGNORECASE)
    return {name.lower() for name in made}


def depend(one: Step, other: Step) -> bool:
    """Say whether two steps of different sessions may come to something else in the other order."""
    return (
        _meet(one.written, other.written)
        or _meet(one.let_go, other.read | other.written)
        or _meet(other.let_go, one.read | one.written)
    )


def _meet(some: frozenset[str], others: frozenset[str]) -> bool:
    if (ANYTHING in some and others) or (ANYTHING in others and some):
        return True
    return not some.isdisjoint(others)
