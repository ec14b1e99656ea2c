"""What is read of a desk's book, and what is said of it.

Quantities are in units of the asset, whatever the desk's column counts in. A *difference* is proven minus
desk, at the precision that the desk's column can hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal


class Explanation(StrEnum):
    """Why a desk's quantity differs from the proven one, in the order of precedence."""

    BEHIND = "behind"
    MISSED = "missed"
    DOUBLED = "doubled"
    FEE_LEFT_OUT = "fee_left_out"
    WRONG_WAY = "wrong_way"
    ROUNDED = "rounded"
    WALLET_LEFT_OUT = "wallet_left_out"
    UNKNOWN_ROW = "unknown_row"
    UNEXPLAINED = "unexplained"


class DeskAction(StrEnum):
    """What is done about a difference (where nothing may be written: what is said of it)."""

    NONE = "none"
    WAITING = "waiting"
    WITHIN_TOLERANCE = "within_tolerance"
    REPORT = "report"
    UPDATE = "update"
    INSERT = "insert"
    REMOVE = "remove"
    HELD = "held"


RIGHTS: Final = ("select", "update", "insert", "delete")
"""What a role may do to a table of the desk's, as all databases call it."""
LOCK: Final = "lock"
"""What a role may do to the account's row of another table, where a declaration names one."""
WRITES: Final = frozenset({DeskAction.UPDATE, DeskAction.INSERT, DeskAction.REMOVE})


@dataclass(frozen=True, slots=True, order=True)
class DeskProblem:
    """Something that keeps a book, or a part of it, from being judged: where, what, and what to do."""

    where: str
    what: str
    remedy: str


class DeskRow(NamedTuple):
    """One row of a desk's table.

    ``key`` are the values of its key columns, as the desk's database gives them; empty for a row of a query.
    ``name`` is the asset as the desk spells it, ``quantity`` None where the desk's value is no number.
    ``columns`` are the other columns that a write would change
    or has to find unchanged, by name, as the database gives them, the column of the quantity among them.
    """

    key: tuple[Any, ...]
    name: str
    quantity: Decimal | None
    columns: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ComparedAsset:
    """One asset of an account whose rows say something else than what is proven, or stand there twice.

    ``difference`` is at the desk's precision; zero where the rows are only doubled. ``rows`` are in the order
    of their keys, none where the desk has no row. ``is_doubled`` says that several rows stand for one thing,
    ``is_cash`` that they are of the table that holds cash.
    """

    asset: str
    proven: Decimal
    desk: Decimal
    difference: Decimal
    rows: tuple[DeskRow, ...] = ()
    is_doubled: bool = False
    is_cash: bool = False


@dataclass(frozen=True, slots=True)
class BookComparison:
    """What the comparison of one account with its rows says.

    ``rows`` and ``agreed`` are counts: of the account's rows, and of assets that agree; an asset that neither
    side holds counts in neither. ``assets`` are those that have rows; of those that are ``unjudged`` a
    quantity is no number. With names that nobody knows, an asset without a row may have one after all.
    ``unclear`` are the problems of rows that nobody can read, without those that only stand there twice.
    """

    rows: int
    agreed: int
    differing: tuple[ComparedAsset, ...] = ()
    doubled: tuple[ComparedAsset, ...] = ()
    problems: tuple[DeskProblem, ...] = ()
    assets: tuple[str, ...] = ()
    has_unknown_names: bool = False
    unjudged: tuple[str, ...] = ()
    unclear: tuple[DeskProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """One explanation that fits exactly, with the ledger entries that it rests on."""

    explanation: Explanation
    ledger_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explained:
    """Why an asset differs: the first answer, what else fits (ten at most), and a remark for people.

    ``oldest_at`` is when the oldest of the answer's entries happened.
    """

    answer: Answer
    alternatives: tuple[Answer, ...] = ()
    remark: str = ""
    oldest_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference with its explanation and what is done about it; a row of ``desk_differences``."""

    compared: ComparedAsset
    explained: Explained
    action: DeskAction
    reason: str = ""

    @property
    def asset(self) -> str:
        """The asset, by our name."""
        return self.compared.asset


@dataclass(frozen=True, slots=True)
class OrderProblem:
    """An order of the desk's that could not be matched, or is not what the desk says.

    ``problem`` is ``ambiguous``, ``unmatched``, ``open`` or ``mismatch``; ``detail`` says it in words.
    """

    order_id: str
    problem: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BookJudgement:
    """What is said of one account in one book; ``rows`` and ``agreed`` are counts.

    ``is_whole`` says that everything that is declared could be looked at; ``agreed_cash`` is the part of
    ``agreed`` that stands in the table which holds cash.
    """

    book: str
    write_back: str
    rows: int = 0
    agreed: int = 0
    differences: tuple[Difference, ...] = ()
    orders: tuple[OrderProblem, ...] = ()
    problems: tuple[DeskProblem, ...] = ()
    is_whole: bool = True
    agreed_cash: int = 0


class WriteKind(StrEnum):
    """What a write does to a row."""

    UPDATE = "update"
    INSERT = "insert"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class RowWrite:
    """What is to be done to one row of the desk's: exactly ``before`` becomes exactly ``after``.

    Both name columns as the desk does; only these change. ``before`` is empty for an insert and ``after`` for
    a removal; ``key`` is None for an insert.
    """

    kind: WriteKind
    asset: str
    key: tuple[Any, ...] | None
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
