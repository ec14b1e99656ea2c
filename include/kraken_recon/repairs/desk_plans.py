"""Plans that write to a desk's book: write what a person approved, and take back what was written.

Invariants:
1. What was approved is written by an ordinary judgement of the book, after the account is proved anew.
2. An undo changes a row only while it is what the plan left, all rows of the plan or none.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kraken_recon.desk_books.declaring import folder_of, read_books
from kraken_recon.desk_books.run import reconcile_book
from kraken_recon.desk_books.taking_back import take_back
from kraken_recon.errors import PlanRefusedError
from kraken_recon.reconciliation.plans.store import PlanStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from kraken_recon.desk_books.declaring import DeclaredBook
    from kraken_recon.desk_books.diffing import DeskBookPorts


@dataclass(frozen=True, slots=True)
class DeskBooks:
    """The books that are declared here, and the way to their databases.

    ``are_seen`` says whether their folder is there at all: without it nobody can say that a book is gone.
    """

    declared: Sequence[DeclaredBook]
    ports: DeskBookPorts
    are_seen: bool = True

    @classmethod
    def here(cls, ports: DeskBookPorts, environment: Mapping[str, str] = os.environ) -> DeskBooks:
        """Read the folder of declarations.

        Raises:
            ConfigurationError: it cannot be listed.
        """
        folder = folder_of(environment)
        return cls(read_books(folder), ports, folder.is_dir())

    @property
    def are_whole(self) -> bool:
        """Say whether a book that is not among them is gone; a file with mistakes may declare any."""
        return self.are_seen and all(one.book for one in self.declared)

    def find(self, name: str) -> DeclaredBook | None:
        """Find a book by its name."""
        return next((one for one in self.declared if one.name == name), None)


def write_approved(plan: Mapping[str, Any], run_ids: Sequence[UUID], books: DeskBooks) -> None:
    """Judge the book of an approved plan by what these runs proved, and write what still stands of it."""
    declared = books.find(plan["book"])
    if declared is None:
        if not books.are_whole:
            return
        with books.ports.open_unit_of_work() as unit:
            PlanStore(unit).outdate(plan["plan_id"], f"book {plan['book']} is no longer declared")
            unit.commit()
        return
    reconcile_book(declared, run_ids, books.ports)


def undo_in_book(plan: Mapping[str, Any], by: str, books: DeskBooks, now: datetime) -> tuple[UUID, bool]:
    """Write the plan that takes another back from a desk's rows; return its id, and whether it is new.

    Raises:
        PlanRefusedError: a row is gone or has moved on, or the book is not declared any more.
        PlanNotWrittenError: it is not known yet whether it was written.
    """
    declared = books.find(plan["book"])
    if declared is None or declared.book is None:
        raise PlanRefusedError(
            f"plan {plan['plan_id']} wrote to book {plan['book']}, which is not declared here any more: "
            "declare it again to undo it"
        )
    return take_back(plan, declared.book, by, books.ports, now)
